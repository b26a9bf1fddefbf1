"""Every framework over several hosts: misleading names, users without a name, a network that is cut, a lost process."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from frameworks_lab import HEAVY, patient, require
from hosts_gangs import HostsGang
from hosts_lab import HostsLab, require_lab
from test_matrix import NAMES, ROWS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * HEAVY)]


@pytest.fixture(autouse=True)
def _lab() -> None:
    require_lab()


@pytest.mark.parametrize("name", NAMES)
def test_it_works_though_each_host_takes_its_own_name_for_its_loopback(name: str) -> None:
    row = ROWS[name]
    require(row)
    with HostsLab(2, own_name_on_loopback=True) as lab:
        gang = HostsGang(lab, row)
        assert gang.finish(gang.ranks()) == [0, 0], gang.said
        assert [gang.artifact(f"work/{rank}", "value") if value is not None else None
                for rank, value in enumerate(row.values(2))] == row.values(2)  # fmt: skip
        gang.assert_nothing_left()


@pytest.mark.parametrize("name", [name for name in ROWS if name in ("parallel", "torchrun", "mpi")])
def test_it_works_for_a_user_without_an_entry_in_the_password_file(name: str) -> None:
    row = ROWS[name]
    require(row)
    with HostsLab(2) as lab:
        lab.folder.chmod(0o777)
        gang = HostsGang(lab, row)
        for path in gang.folder.rglob("*"):
            path.chmod(path.stat().st_mode | 0o022)
        assert gang.finish(gang.ranks(uid=4242)) == [0, 0], gang.said


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


@pytest.mark.parametrize("name", [name for name in ROWS if name in ("parallel", "torchrun", "mpi")])
def test_a_process_that_is_killed_is_named_on_every_host(name: str) -> None:
    row = ROWS[name]
    require(row)
    with HostsLab(2) as lab:
        gang = HostsGang(lab, row, what="kill")
        codes = gang.finish(gang.ranks())
        assert 70 in codes and 0 not in codes, gang.said
        victim = row.victim if row.killed_rank is None else row.killed_rank
        assert any(f"rank {victim} on host node{victim}" in said for said in gang.said), gang.said
        gang.assert_nothing_left()


def test_a_partition_ends_the_processes_on_both_sides(tmp_path: Path) -> None:
    row = ROWS["torchrun"]
    require(row)
    waits = {
        "all_reduce.py": row.files["all_reduce.py"].replace("value = ", "import time; time.sleep(300)\nvalue = ", 1)
    }
    from dataclasses import replace

    with HostsLab(2) as lab:
        gang = HostsGang(lab, replace(row, files=waits))
        processes = gang.ranks()
        deadline = time.monotonic() + 60
        while sum("all_reduce.py" in line and "torch.distributed" not in line for host in lab.hosts
                  for line in host.processes()) < 2:  # fmt: skip
            assert time.monotonic() < deadline
            time.sleep(0.1)
        lab.partition(1)
        began = time.monotonic()
        assert gang.finish(processes) == [70, 70], gang.said
        assert time.monotonic() - began < patient(20)
        assert "rank 1 on host node1 was lost: no sign of life" in gang.said[0]
        assert "was lost" in gang.said[1]
        gang.assert_nothing_left()
