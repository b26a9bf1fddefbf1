"""Ray: a head on the control rank, a node on every other, and the body on the head once all have joined."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..gang import GangHandle
from . import environment, programs
from .base import FrameworkMissing, Site
from .daemons import beside, check, environment_of, watched
from .programs import Program
from .standby import over, wait_until_over

_LONGEST = 40
"""Ray's sockets lie some 65 characters below its folder, and the path of a socket may have 107."""
_WHAT = "Ray"
_POLL = 0.05
_GRACE = 3.0
_OVERLOADED = "timed out during startup"
"""What a node says that was not up within 30 s, which no setting of Ray's changes. A busy machine needs longer."""

_WAIT_FOR_NODES = """
import sys, time, ray
wanted, limit = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
ray.init(log_to_driver=False, logging_level="ERROR")
while True:
    there = sum(1 for node in ray.nodes() if node["Alive"])
    if there >= wanted:
        break
    if time.monotonic() > limit:
        sys.exit(f"only {there} of {wanted} nodes joined the Ray cluster")
    time.sleep(0.1)
"""


class _RayFramework:
    on_control_only = True

    def require(self, options: Mapping[str, Any]) -> None:
        if importlib.util.find_spec("ray") is None:
            raise FrameworkMissing(
                "@metaflow_ray: this Python has no ray: install it on every node, as with `pip install ray`"
            )

    @contextmanager
    def boot(self, site: Site) -> Iterator[Mapping[str, Any]]:
        if site.gang.rank:
            yield {}
            return
        gang = site.gang
        port = _port(site)
        address = f"{_host(gang.members[0].address)}:{port}"
        client = _port(site, own=True)
        role = f"--head --port={port} --ray-client-server-port={client} --include-dashboard=false"
        with _node(site, role, address) as head:
            check(head, _WHAT)
            gang.broadcast(address)
            _wait_for_nodes(gang, site, head)
            with watched(gang, {_WHAT: head}):
                yield {"ray_storage_path": site.storage}
            ray = sys.modules.get("ray")
            if ray is not None and ray.is_initialized():
                ray.shutdown()
            over(gang)

    def stand_by(self, site: Site) -> None:
        address = str(site.gang.broadcast())
        with _node(site, f"--address={address}", address) as node:
            wait_until_over(site.gang, lambda: check(node, _WHAT))


def _port(site: Site, own: bool = False) -> int:
    given = site.options.get("main_port")
    if given and not own:
        return int(given)
    with environment.free_ports(environment.bindable(site.gang)) as (port,):
        return port


@contextmanager
def _node(site: Site, role: str, address: str) -> Iterator[Program]:
    """Run this rank's part of Ray; only what was started here is ended afterwards."""
    gang = site.gang
    folder = os.path.join(site.folder, "ray")
    elsewhere = len(folder) > _LONGEST
    if elsewhere:
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    else:
        os.mkdir(folder, 0o700)
    token = os.path.join(site.folder, "ray-token")
    with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(gang.secret("ray").hex())
    values = {
        "PATH": programs.search_path(),
        **environment.defaults(site),
        "RAY_ADDRESS": address,
        # Whoever does not know the token is refused; a path in the environment gives nothing away.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": folder,
        # How often, once a second, a node asks for the head's, which joins its own cluster only after it listens.
        "RAY_NUM_REDIS_GET_RETRIES": str(int(site.patience)),
    }
    values.setdefault("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    member = gang.members[gang.rank]
    words = [sys.executable, "-m", "ray.scripts.scripts", "start", *role.split(), "--block"]
    words += [f"--node-ip-address={member.address}", f"--temp-dir={folder}"]
    # 0: any free port. Nothing may be fixed, because other gangs, and other Rays, may share the host.
    words += ["--disable-usage-stats", "--min-worker-port=0", "--max-worker-port=0"]
    words += ["--dashboard-agent-listen-port=0", *_resources(site)]
    with programs.variables(values), open(os.devnull, "wb") as nowhere:
        program = _start(words, environment_of(site), nowhere.fileno(), folder, site.patience)
        try:
            with beside(program, _GRACE) as node:
                yield node
        finally:
            if elsewhere:
                program.stop(_GRACE)
                shutil.rmtree(folder, ignore_errors=True)


def _start(words: list[str], env: Mapping[str, str], nowhere: int, folder: str, patience: float) -> Program:
    """Start a node of Ray, and wait until it is up or has ended."""
    deadline = time.monotonic() + patience
    last_written = os.path.join(folder, "ray_current_cluster")
    while True:
        program = Program(words, env, out=nowhere, err=nowhere)
        while program.poll() is None and not os.path.exists(last_written) and time.monotonic() < deadline:
            time.sleep(_POLL)
        if program.poll() is None:
            return program
        program.wait()
        if _OVERLOADED not in "\n".join(program.lines()) or time.monotonic() > deadline:
            return program


def _resources(site: Site) -> list[str]:
    gang = site.gang
    sharing, slots = len(environment.neighbours(gang)), gang.members[gang.rank].slots
    words = []
    if slots > 1:
        words.append(f"--num-cpus={slots}")
    elif sharing > 1:
        words.append(f"--num-cpus={max(1, environment.cores() // sharing)}")
    if site.gpus >= 1 or environment.shared_out(gang):
        words.append(f"--num-gpus={environment.device_count(site)}")
    if sharing > 1:
        # Ray would give each of them 30 % of the machine.
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        words.append(f"--object-store-memory={max(100 << 20, int(memory * 0.3) // sharing)}")
    return words


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _wait_for_nodes(gang: GangHandle, site: Site, head: Program) -> None:
    words = [sys.executable, "-c", _WAIT_FOR_NODES, str(gang.size), str(site.patience)]
    with open(os.devnull, "wb") as nowhere:
        nothing = nowhere.fileno()
        waiting = Program(words, out=nothing, err=nothing)
        try:
            while waiting.poll() is None:
                check(head, _WHAT)
                time.sleep(_POLL)
            waiting.check("waiting for Ray's nodes")
        finally:
            waiting.stop(0)


FRAMEWORK = _RayFramework()
