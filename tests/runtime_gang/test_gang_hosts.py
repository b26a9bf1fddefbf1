"""A gang over several hosts: names, networks that are cut, and power that fails."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.gang import EXIT_GANG_FAILED, GangFailure
from gang_ranks import wait_for
from hosts_lab import HostsLab, require_lab

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("gang_on_host.py")


@pytest.fixture(autouse=True)
def _lab() -> None:
    require_lab()


def start(
    lab: HostsLab, rank: int, what: str, size: int, *, on: int | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    # The script is read here: the tests' own folder may not be where the hosts see it.
    command = [sys.executable, "-c", SCRIPT.read_text(), str(lab.folder), str(rank), str(size), "node0", what]
    return lab.host(rank if on is None else on).popen(command, **options)


def finish(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    return [process.wait(15) for process in processes]


def failure(lab: HostsLab, rank: int) -> GangFailure:
    data = json.loads((lab.folder / f"{rank}.result").read_text())["failure"]
    return GangFailure.from_json(data)


def found(lab: HostsLab, size: int) -> list[dict[str, Any]]:
    return [json.loads((lab.folder / f"{rank}.found").read_text()) for rank in range(size)]


@pytest.mark.parametrize("own_name_on_loopback", [False, True])
def test_hosts_meet_under_the_addresses_that_reach_them(own_name_on_loopback: bool) -> None:
    with HostsLab(3, own_name_on_loopback=own_name_on_loopback) as lab:
        # The last rank is on the control's own host, and comes over its loopback.
        processes = [start(lab, rank, "meet", 4, on=rank % 3) for rank in range(4)]
        assert finish(processes) == [0, 0, 0, 0]
        expected = [[f"node{rank % 3}", f"10.77.0.{rank % 3 + 1}"] for rank in range(4)]
        for each in found(lab, 4):
            assert each["members"] == expected and each["sum"] == 6 and each["received"] == 3_000_000
        assert [host.processes() for host in lab.hosts] == [[], [], []]


def test_a_user_without_an_entry_in_the_password_file_can_do_it() -> None:
    with HostsLab(2) as lab:
        lab.folder.chmod(0o777)
        assert finish([start(lab, rank, "meet", 2, uid=4242) for rank in range(2)]) == [0, 0]
        assert [each["uid"] for each in found(lab, 2)] == [4242, 4242]


def test_the_control_s_name_may_become_known_later() -> None:
    with HostsLab(2) as lab:
        lab.host(1).set_names({})
        processes = [start(lab, rank, "meet", 2) for rank in range(2)]
        time.sleep(1.0)
        assert [process.poll() for process in processes] == [None, None]
        lab.host(1).set_names({"node0": "10.77.0.1"})
        assert finish(processes) == [0, 0]


def test_a_partition_is_noticed_on_both_sides_and_ends_all() -> None:
    with HostsLab(3) as lab:
        processes = [start(lab, rank, "stay", 3) for rank in range(3)]
        for rank in range(3):
            wait_for(lab.folder / f"{rank}.running", Path.exists)
        lab.partition(1)
        began = time.monotonic()
        assert finish(processes) == [EXIT_GANG_FAILED] * 3
        assert time.monotonic() - began < 6.0
        for rank in (0, 2):
            assert str(failure(lab, rank)) == "rank 1 on host node1 was lost: no sign of life for 1.5 s"
        assert "rank 0 on host node0 was lost" in str(failure(lab, 1))
        assert "no sign of life for 1.5 s" in str(failure(lab, 1))
        brought_down = ("ended", "ended by SIGTERM")
        said = [(end.kind, end.reason) for end in failure(lab, 0).ranks]
        assert said == [brought_down, ("lost", "lost: no sign of life for 1.5 s"), brought_down]
        assert [(end.rank, end.kind) for end in failure(lab, 1).ranks] == [(1, "ended")]
        assert [host.processes() for host in lab.hosts] == [[], [], []]


def test_a_short_interruption_is_survived() -> None:
    with HostsLab(2) as lab:
        processes = [start(lab, rank, "stay-a-little", 2) for rank in range(2)]
        for rank in range(2):
            wait_for(lab.folder / f"{rank}.running", Path.exists)
        lab.partition(1)
        time.sleep(1.6)  # longer than the others here have patience for
        lab.heal(1)
        assert finish(processes) == [0, 0]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_host_that_loses_its_power_is_named(lost: int) -> None:
    with HostsLab(3) as lab:
        processes = [start(lab, rank, "stay", 3) for rank in range(3)]
        for rank in range(3):
            wait_for(lab.folder / f"{rank}.running", Path.exists)
        lab.kill_power(lost)
        others = [rank for rank in range(3) if rank != lost]
        assert finish([processes[rank] for rank in others]) == [EXIT_GANG_FAILED] * 2
        processes[lost].wait(5)
        for rank in others:
            report = failure(lab, rank)
            assert (report.rank, report.host, report.kind) == (lost, f"node{lost}", "lost")
            assert lab.host(rank).processes() == []
