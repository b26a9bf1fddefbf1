"""Every framework over several hosts: what can go wrong there, one attempt after the other, until one succeeds."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from frameworks_lab import HEAVY, PYTHON, GangLab, patient, require
from hosts_gangs import HostsGang
from hosts_lab import HostsLab, require_lab
from lab_processes import children
from test_matrix import KEYS, NAMES, ROWS, TOLD_WITHIN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * HEAVY)]

NOBODY = 4242
"""A user without an entry in the password file."""


@pytest.fixture(autouse=True)
def _lab() -> None:
    require_lab()


@pytest.mark.parametrize("name", NAMES)
def test_it_fails_on_one_host_or_the_other_until_an_attempt_succeeds(name: str) -> None:
    row = ROWS[name]
    require(row)
    # Each host takes its own name for its loopback, as Debian's installer sets it up.
    with HostsLab(2, own_name_on_loopback=True) as lab:
        gang = HostsGang(lab, row, what=f"raise,{'shoot' if row.shot else 'kill'}")

        # The other host's rank never starts.
        assert gang.finish([gang.task(0, {"FLOWC_GANG_TIMEOUT": "0.5"})]) == [69]
        assert gang.said[0].count("rank 1 never came") == 1 and "0.5 s" in gang.said[0], gang.said
        gang.assert_hosts_clean()

        # A rank raises.
        assert_told(gang, 0, row.victim, row.raised)

        # A process is killed.
        victim = row.victim if row.killed_rank is None or row.shot else row.killed_rank
        assert_told(gang, 1, victim, row.shot or row.killed)

        # All is well, for a user without a name.
        assert gang.finish(gang.ranks(attempt=2, uid=NOBODY)) == [0, 0], gang.said
        assert [gang.artifact(f"work/{rank}", "value") if value is not None else None
                for rank, value in enumerate(row.values(2))] == row.values(2)  # fmt: skip
        assert [gang.record(f"work/{rank}").attempt for rank in range(2)] == [2, 2]
        gang.assert_nothing_left()


def assert_told(gang: HostsGang, attempt: int, rank: int, text: str) -> None:
    """An attempt fails; every rank ends, and says in time that it was this one."""
    codes = gang.finish(gang.ranks(attempt=attempt))
    assert codes[1 - rank] == 70 and codes[rank] not in (0, 69, 75), gang.said
    failure, seconds = gang.report(attempt=attempt)
    assert (failure.rank, failure.host) == (rank, f"node{rank}"), gang.said
    assert text in gang.said[rank] and f"rank {rank} on host node{rank}" in gang.said[1 - rank], gang.said
    assert seconds < patient(TOLD_WITHIN)
    gang.assert_hosts_clean()


@pytest.mark.parametrize("name", ["parallel", "mpi", "jax"])
def test_a_laptop_that_misnames_itself_and_its_user_runs_it(name: str) -> None:
    row = ROWS[name]
    require(row)
    with HostsLab(1, own_name_on_loopback=True) as lab:
        gang = GangLab(Path(tempfile.mkdtemp(dir=lab.folder)), row.flow(), row.files)
        words, env = [PYTHON, "-m", "flowc", "run", str(gang.flow)], gang.environment(TMPDIR="/tmp")
        done = lab.host(0).run(words, env, cwd=gang.folder, uid=NOBODY, timeout=HEAVY)
        assert done.returncode == 0, done.stdout + done.stderr
        assert gang.artifact("join", "values") == row.values(2)
        assert lab.host(0).processes() == []
        gang.assert_clean(done.stdout, done.stderr)


OF_EACH_KIND = ("parallel", "torchrun", "mpi", "dask")
"""Processes in the ranks themselves, launched on every node, started from one node through an agent, and daemons."""


@pytest.mark.parametrize("names", [OF_EACH_KIND, tuple(sorted({*ROWS} - {*OF_EACH_KIND}))], ids="-".join)
def test_a_partition_ends_the_processes_on_both_sides(names: tuple[str, ...]) -> None:
    # Whether ranks are lost, flowc's supervisors decide; the frameworks differ in what there is to end.
    with HostsLab(2) as lab:
        gangs = waiting(lab, *names)
        lab.partition(1)
        began = time.monotonic()
        for name, (gang, processes) in gangs.items():
            assert gang.finish(processes) == [70, 70], gang.said
            assert "rank 1 on host node1 was lost: no sign of life" in gang.said[0], name
            assert "was lost" in gang.said[1], name
        assert time.monotonic() - began < patient(20)
        for gang, _ in gangs.values():
            gang.assert_nothing_left()


def waiting(lab: HostsLab, *names: str) -> dict[str, tuple[HostsGang, list[subprocess.Popen[str]]]]:
    """Gangs of several frameworks whose steps wait, and their ranks."""
    gangs = {}
    for name in names:
        require(ROWS[name])
        gang = HostsGang(lab, ROWS[name], what="wait")
        # Side by side they wait for a sign of life, but on two cores they would not all come up in time.
        processes = gang.ranks()
        gang.wait_until_up(processes)
        gangs[name] = gang, processes
    return gangs


def test_a_control_rank_whose_supervisor_is_killed_takes_all_with_it() -> None:
    with HostsLab(2) as lab:
        gangs = waiting(lab, "deepspeed", "ray", "dask")
        began = time.monotonic()
        for _, (control, _) in gangs.values():
            (supervisor,) = children(control.pid)
            os.kill(supervisor, signal.SIGKILL)
        for name, (gang, processes) in gangs.items():
            codes = gang.finish(processes)
            assert codes == [-signal.SIGKILL, 70], gang.said
            assert "rank 0 on host node0 was lost" in gang.said[1], name
        while running := [command for host in lab.hosts for command in host.processes()]:
            assert time.monotonic() - began < patient(20), running
            time.sleep(0.1)
        # What the killed ranks had in their folders goes with the next one that ends on the host.
        gang = HostsGang(lab, ROWS["parallel"])
        assert gang.finish(gang.ranks()) == [0, 0], gang.said
        gang.assert_nothing_left()


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if 4 in row.sizes])
def test_four_hosts(name: str) -> None:
    row = ROWS[name]
    require(row)
    with HostsLab(4) as lab:
        gang = HostsGang(lab, row)
        with gang.watch() as watch:
            assert gang.finish(gang.ranks()) == [0] * 4, gang.said
        assert [gang.artifact(f"work/{rank}", "value") if value is not None else None
                for rank, value in enumerate(row.values(4))] == row.values(4)  # fmt: skip
        # mpirun reaches the other hosts through an agent, which knows no secret.
        assert name != "mpi" or any(b"flowc-agent" in command or b"exec_agent" in command for command in watch.commands)
        assert watch.kinds() == KEYS.get(name, set())
        gang.assert_nothing_left(watch)


def test_a_host_that_lacks_the_framework_is_named_on_the_others_at_once() -> None:
    row = ROWS["torchrun"]
    require(row)
    with HostsLab(3) as lab:
        gang = HostsGang(lab, row)
        began = time.monotonic()
        assert gang.finish(gang.ranks({1: {"PYTHONPATH": gang.bare()}})) == [69, 1, 69], gang.said
        assert time.monotonic() - began < patient(15)
        for rank, said in enumerate(gang.said):
            assert said.count("does not have: pip install torch") == 1, said
            assert rank == 1 or "rank 1 on host node1 cannot take part: @torchrun needs PyTorch" in said
        gang.assert_nothing_left()
