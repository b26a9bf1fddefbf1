"""Dask: a scheduler on the control rank, a worker on every rank, and the body with a client on the control rank."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import certificates, environment, programs
from .base import FrameworkMissing, Site
from .daemons import Cluster, beside, check, environment_of, watched
from .programs import Program
from .standby import over, wait_until_over

_SCHEDULER, _WORKER = "Dask's scheduler", "Dask's worker"
_ROLES = ("SCHEDULER", "WORKER", "CLIENT")


class _DaskFramework(Cluster):
    """``current.dask`` is a ``distributed.Client`` to which all ranks' workers have come; ``distributed.Client()``
    without arguments connects to the same scheduler. Connections are encrypted and both sides prove who they are."""

    def require(self, options: Mapping[str, Any], calls: Collection[str] = ()) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise FrameworkMissing(
                "@dask: this Python has no distributed: install it on every node, as with `pip install distributed`"
            )
        if not certificates.can_make():
            raise FrameworkMissing(
                "@dask: without a certificate anybody could run code in the workers: install the program openssl, as "
                "with `apt-get install openssl`, or `pip install cryptography`"
            )

    @contextmanager
    def lead(self, site: Site) -> Iterator[Mapping[str, Any]]:
        gang = site.gang
        main = environment.bracketed(gang.members[0].address)
        with programs.variables(_variables(site)):
            with environment.free_ports(environment.bindable(gang)) as (port,):
                pass
            address = f"tls://{main}:{port}"
            words = ["distributed.cli.dask_scheduler", f"--host={main}", f"--port={port}", "--protocol=tls"]
            with _running(site, [*words, "--no-dashboard"]) as scheduler:
                gang.broadcast(address)
                with _worker(site, address) as worker, programs.variables({"DASK_SCHEDULER_ADDRESS": address}):
                    with watched(gang, {_SCHEDULER: scheduler, _WORKER: worker}), _client(site, address) as client:
                        yield {"dask": client}
                    over(gang)

    def stand_by(self, site: Site) -> None:
        with programs.variables(_variables(site)):
            address = str(site.gang.broadcast())
            with _worker(site, address) as worker:
                wait_until_over(site.gang, lambda: check(worker, _WORKER))


def _variables(site: Site) -> dict[str, str]:
    """Among other things where the certificates are; a collective call."""
    folder = os.path.join(site.folder, "dask")
    os.mkdir(folder, 0o700)
    # Each rank trusts exactly the certificates of this attempt's ranks; only those travel, the keys do not.
    certificate, key = certificates.make(folder)
    everyone = os.path.join(folder, "ranks.pem")
    with open(certificate, encoding="ascii") as file:
        texts = site.gang.allgather(file.read())
    with open(everyone, "w", encoding="ascii") as file:
        file.writelines(texts)
    prefix = "DASK_DISTRIBUTED__COMM__"
    values = {
        "PATH": programs.search_path(),
        **environment.defaults(site),
        f"{prefix}TLS__CA_FILE": everyone,
        f"{prefix}REQUIRE_ENCRYPTION": "True",
    }
    for role in _ROLES:
        values[f"{prefix}TLS__{role}__CERT"] = certificate
        values[f"{prefix}TLS__{role}__KEY"] = key
    if "DASK_LOGGING__DISTRIBUTED" not in os.environ:
        values["DASK_LOGGING__DISTRIBUTED"] = "warning"
    return values


@contextmanager
def _running(site: Site, words: list[str]) -> Iterator[Program]:
    with beside(Program([sys.executable, "-m", *words], environment_of(site)), 2.0) as program:
        yield program


@contextmanager
def _worker(site: Site, address: str) -> Iterator[Program]:
    gang = site.gang
    member, sharing = gang.members[gang.rank], len(environment.neighbours(gang))
    threads = site.options.get("nthreads") or (
        member.slots if member.slots > 1 else max(1, environment.cores() // sharing)
    )
    folder = os.path.join(site.folder, "dask-worker")
    host = environment.bracketed(member.address)
    words = ["distributed.cli.dask_worker", address, f"--host={host}", f"--nthreads={threads}"]
    words += ["--nworkers=1", "--no-nanny", "--no-dashboard", "--protocol=tls", f"--name=rank{gang.rank}"]
    words += [f"--local-directory={folder}", f"--death-timeout={site.patience:g}"]
    if sharing > 1:
        words.append(f"--memory-limit={0.9 / sharing:.3f}")
    with _running(site, words) as worker:
        yield worker


@contextmanager
def _client(site: Site, address: str) -> Iterator[Any]:
    import dask.config
    import distributed

    # The flow may have imported Dask long ago, when none of this was in the environment.
    dask.config.update(dask.config.config, dask.config.collect_env())
    connect: Any = distributed.Client
    client = connect(address, timeout=site.patience)
    try:
        client.wait_for_workers(site.gang.size, timeout=site.patience)
        yield client
    finally:
        client.close()


FRAMEWORK = _DaskFramework()
