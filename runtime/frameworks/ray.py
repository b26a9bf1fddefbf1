"""Ray: a head on the control rank, a node on every other, and the body on the head once all have joined."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..scratch import SHORT, scratch_folder
from . import environment, programs
from .base import FrameworkMissing, Site
from .daemons import Cluster, beside, check, environment_of, wait_for_all, watched
from .programs import Program, ProgramFailed
from .standby import over, wait_until_over

_LONGEST = 40
"""Ray's sockets lie some 65 characters below its folder, and the path of a socket may have 107."""
_WHAT = "Ray"
_POLL = 0.05
_GRACE = 0.5
"""The step has ended, and with it all that it ran here. A node that is asked nicely takes 10 s to find that out."""
_OVERLOADED = "timed out during startup"
"""What a node says that was not up within 30 s, which no setting of Ray's changes. A busy machine needs longer."""

_START = """
import os, sys, time
from ray.scripts.scripts import main
where, parent = sys.argv.pop(1), os.getppid()
while not os.path.exists(where):
    if os.getppid() != parent:
        sys.exit(1)
    time.sleep(0.02)
with open(where) as file:
    os.environ["RAY_ADDRESS"] = address = file.read()
if "--head" not in sys.argv:
    sys.argv.append("--address=" + address)
main()
"""
"""Ray's own command, loaded while there is no address yet: that is a third of the time that a node takes to start."""


class _RayFramework(Cluster):
    def require(self, options: Mapping[str, Any], calls: Collection[str] = ()) -> None:
        if importlib.util.find_spec("ray") is None:
            raise FrameworkMissing(
                "@metaflow_ray: this Python has no ray: install it on every node, as with `pip install ray`"
            )

    @contextmanager
    def lead(self, site: Site) -> Iterator[Mapping[str, Any]]:
        gang = site.gang
        port = _port(site)
        address = f"{environment.bracketed(gang.members[0].address)}:{port}"
        client = _port(site, own=True)
        # A gang has the nodes that it has: nobody is needed who would ask for more.
        role = f"--head --port={port} --ray-client-server-port={client} --include-dashboard=false --no-monitor"
        with _node(site, role, lambda: address) as head, programs.variables({"RAY_ADDRESS": address}):
            gang.broadcast(address)
            wait_for_all(gang, head, _WHAT)
            with watched(gang, {_WHAT: head}):
                yield {"ray_storage_path": site.storage}
            ray = sys.modules.get("ray")
            if ray is not None and ray.is_initialized():
                ray.shutdown()
            over(gang)

    def stand_by(self, site: Site) -> None:
        with _node(site, "", lambda: str(site.gang.broadcast())) as node:
            site.gang.barrier()
            wait_until_over(site.gang, lambda: check(node, _WHAT))


def _port(site: Site, own: bool = False) -> int:
    given = site.options.get("main_port")
    if given and not own:
        return int(given)
    with environment.free_ports(environment.bindable(site.gang)) as (port,):
        return port


@contextmanager
def _node(site: Site, role: str, get_address: Callable[[], str]) -> Iterator[Program]:
    """Run this rank's part of Ray; only what was started here is ended afterwards.

    Until ``get_address`` says where the head is, what the node is started with is loaded already.
    """
    with _folder(site) as folder, _node_in(folder, site, role, get_address) as node:
        yield node


@contextmanager
def _folder(site: Site) -> Iterator[str]:
    """Ray's own, with a name that is short enough for its sockets."""
    folder = os.path.join(site.folder, "ray")
    if len(folder) <= _LONGEST:
        os.mkdir(folder, 0o700)
        yield folder
    else:
        with scratch_folder(SHORT) as folder:
            yield folder


@contextmanager
def _node_in(folder: str, site: Site, role: str, get_address: Callable[[], str]) -> Iterator[Program]:
    gang = site.gang
    token = os.path.join(site.folder, "ray-token")
    with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(gang.secret("ray").hex())
    values = {
        "PATH": programs.search_path(),
        **environment.defaults(site),
        # Whoever does not know the token is refused; a path in the environment gives nothing away.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": folder,
        # How often, once a second, a node asks for what it has just started, or for the head.
        "RAY_NUM_REDIS_GET_RETRIES": str(int(site.patience)),
    }
    values.setdefault("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    member = gang.members[gang.rank]
    where = os.path.join(site.folder, "ray-head")
    words = [sys.executable, "-c", _START, where, "start", *role.split(), "--block"]
    words += [f"--node-ip-address={member.address}", f"--temp-dir={folder}"]
    # 0: any free port. Nothing may be fixed, because other gangs, and other Rays, may share the host.
    words += ["--disable-usage-stats", "--min-worker-port=0", "--max-worker-port=0"]
    words += ["--dashboard-agent-listen-port=0", *_resources(site)]
    with programs.variables(values):
        start = partial(Program, words, environment_of(site), out=programs.dropped, err=programs.dropped)
        program = start()
        try:
            _write(where, get_address())
            program = _started(program, start, folder, site.patience)
            with beside(program, _GRACE) as node:
                yield node
        finally:
            if not folder.startswith(site.folder):
                program.stop(_GRACE)  # its folder ends before the rank does


def _started(program: Program, start: Callable[[], Program], folder: str, patience: float) -> Program:
    """Wait until a node is up, which is when the head knows it; start it anew where the machine was too busy."""
    deadline = time.monotonic() + patience
    last_written = os.path.join(folder, "ray_current_cluster")
    while not os.path.exists(last_written):
        if time.monotonic() > deadline:
            raise ProgramFailed(f"Ray did not start on this node within {patience:g} s", 1, program.lines())
        if program.poll() is not None:
            program.wait()
            if _OVERLOADED not in "\n".join(program.lines()):
                break
            program = start()
        time.sleep(_POLL)
    check(program, _WHAT)
    return program


def _write(path: str, text: str) -> None:
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(f"{path}.part", path)


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


FRAMEWORK = _RayFramework()
