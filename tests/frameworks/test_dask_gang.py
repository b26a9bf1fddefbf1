"""Who may talk to a Dask gang: its own ranks, and nobody else who reaches its ports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.frameworks import certificates, dask, environment
from flowc.runtime.frameworks.base import Site
from flowc.runtime.frameworks.programs import Program
from flowc.runtime.gang import Member
from framework_rows import Row
from framework_rows_control import DASK
from frameworks_lab import HEAVY, GangLab, require
from test_environment import OneHost

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * HEAVY)]

BODY = """
import subprocess
info = current.dask.scheduler_info()
addresses = [current.dask.scheduler.address, *info["workers"]]
ranks = os.environ["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"]
folders = {"known": os.path.dirname(ranks), "other": HERE, "none": ""}

def try_to_get_in(mode):
    env = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
    words = [sys.executable, self.file("stranger.py"), folders[mode], ranks, *addresses]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=100)
    return done.stdout.split() or done.stderr

self.value = {mode: try_to_get_in(mode) for mode in ("known", "other", "none")}
"""

# The certificates of the ranks are no secret: one who has them takes the ranks for what they are.
STRANGER = """
import asyncio, os, sys
from distributed.core import rpc
from distributed.security import Security
folder, ranks, *addresses = sys.argv[1:]
if folder:
    certificate, key = (os.path.join(folder, name) for name in ("certificate.pem", "key.pem"))
    security = Security(
        require_encryption=True, tls_ca_file=ranks, tls_client_cert=certificate, tls_client_key=key
    )
else:
    security, addresses = Security(), [address.replace("tls:", "tcp:") for address in addresses]

async def ask(address):
    there = rpc(address, connection_args=security.get_connection_args("client"), timeout=3)
    try:
        return (await asyncio.wait_for(there.identity(), 20))["type"]
    except Exception as error:
        return "refused"
    finally:
        await there.close_rpc()

async def main():
    for address in addresses:
        print(await ask(address))

asyncio.run(main())
"""


def test_a_gang_meets_over_ipv6(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    require(DASK)
    if environment.interface_of("::1") is None:
        pytest.skip("this machine has no address of IPv6")
    started: list[Program] = []

    class Kept(Program):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            started.append(self)

    @request.addfinalizer
    def stop() -> None:
        for program in started:
            program.stop(0)

    monkeypatch.setattr(dask, "Program", Kept)
    alone: Any = OneHost(0, Member(0, "here", "::1"))
    with dask.FRAMEWORK.boot(Site(alone, {"nthreads": 1}, str(tmp_path), patience=60)) as found:
        client = found["dask"]
        assert client.scheduler.address.startswith("tls://[::1]:")
        assert [address.rpartition(":")[0] for address in client.scheduler_info()["workers"]] == ["tls://[::1]"]
        assert client.submit(sum, [1, 2]).result(HEAVY) == 3


def test_a_stranger_is_refused_by_the_scheduler_and_by_every_worker(tmp_path: Path) -> None:
    row = Row("dask", BODY, DASK.values, needs=DASK.needs, files={"stranger.py": STRANGER})
    require(row)
    gang = GangLab(tmp_path, row.flow(), row.files)
    certificates.make(str(tmp_path))
    said = gang.run()
    assert gang.artifact("work/0", "value") == {
        "known": ["Scheduler", "Worker", "Worker"],
        "other": ["refused"] * 3,
        "none": ["refused"] * 3,
    }
    gang.assert_clean(said)
