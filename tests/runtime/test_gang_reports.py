"""What the ranks of a gang that failed left beside their logs, read together."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flowc import FlowSpec, step
from flowc.dsl import FlowcError
from flowc.runtime import gang_report, ranks
from flowc.runtime.address import Address
from flowc.runtime.datastore import DatastoreError, FileDatastore
from flowc.runtime.gang import EXIT_GANG_FAILED, EXIT_NOT_FORMED, EXIT_PREEMPTED, GangResult, Membership
from flowc.runtime.gang.failure import GangFailure, RankEnd
from flowc.runtime.record import Records
from flowc.runtime.task import TaskRequest
from plans import End, Gang, Next, plan, task
from task_lab import Lab

RANKS = [Address("train", (rank,)) for rank in range(4)]
FIRST = GangFailure(1, "b", 3, None, ("oh",), "exited with code 3")
ENDS = (
    RankEnd(0, "a", None, 15, (), "ended by SIGTERM", "ended"),
    RankEnd(1, "b", 3, None, ("oh",), "exited with code 3"),
    RankEnd(2, "c", None, 15, (), "ended by SIGTERM", "ended"),
    RankEnd(3, "d", None, None, (), "lost: connection closed", "lost"),
)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(FileDatastore(str(tmp_path)), "F", "1")


def leave(records: Records, rank: int, first: GangFailure, *ends: RankEnd) -> None:
    gang_report.write(records, RANKS[rank], 0, GangFailure(**{**vars(first), "ranks": ends}))


def test_the_control_s_report_says_it_of_all(records: Records) -> None:
    leave(records, 0, FIRST, *ENDS)
    leave(records, 1, FIRST, ENDS[1])
    assert gang_report.ends(records, RANKS, 0) == ENDS
    assert gang_report.ends(records, RANKS, 1) == ()


def test_without_the_control_each_rank_says_it_of_itself(records: Records) -> None:
    lost = GangFailure(0, "a", None, None, (), "was lost, rank 1 says: connection closed", "lost")
    for rank in (1, 2):
        leave(records, rank, lost, ENDS[rank])
    found = gang_report.ends(records, RANKS, 0)
    assert found[1:3] == ENDS[1:3]
    assert (found[0].rank, found[0].kind) == (0, "lost")
    assert (found[3].rank, found[3].reason) == (3, "left no report")


def test_reports_of_before_say_nothing_of_the_ranks(records: Records) -> None:
    for rank in range(4):
        leave(records, rank, FIRST)
    assert gang_report.read(records, RANKS[0], 0) == FIRST
    assert gang_report.ends(records, RANKS, 0) == ()


@pytest.mark.parametrize("damage", ['{"rank": Infinity}', "[]", '"x"', "{", "[" * 100_000, '{"ranks": [3]}'])
def test_a_damaged_report_counts_as_none(records: Records, damage: str) -> None:
    leave(records, 0, FIRST, *ENDS)
    key = f"{records.folder(RANKS[0], 0)}/gang.json"
    if damage.startswith("{") and damage != "{":
        damage = json.dumps({**json.loads(records.datastore.read(key)), **json.loads(damage)})
    records.datastore.write(key, damage.encode())
    assert gang_report.read(records, RANKS[0], 0) is None


GANG = plan(
    task("start", Gang("train", 2)),
    task("train", Next("join"), "start", kind="gang", scope=("start",)),
    task("join", Next("end"), "train", joins="start"),
    task("end", End(), "join"),
)


class F(FlowSpec):
    @step
    def start(self):
        self.next(self.train, num_parallel=2)

    @step
    def train(self):
        pass


@pytest.fixture
def own_sigterm() -> Iterator[None]:
    """What a rank ignores at its end is not for this process, nor for those that later tests start."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("own_sigterm")
@pytest.mark.parametrize(
    ("kind", "code", "exits"),
    [
        ("exit", EXIT_NOT_FORMED, EXIT_NOT_FORMED),
        ("exit", EXIT_GANG_FAILED, EXIT_GANG_FAILED),
        ("preempted", EXIT_PREEMPTED, EXIT_PREEMPTED),
        # Of a program that just chose it.
        ("exit", EXIT_PREEMPTED, 1),
    ],
)
def test_a_report_that_cannot_be_written_changes_no_exit_code(
    kind: str, code: int, exits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Schedulers go by it: 75 is tried again."""
    lab = Lab(tmp_path, GANG, F)
    lab.done("start")
    full = DatastoreError("the file system is full")

    def write(self: FileDatastore, key: str, data: bytes) -> None:
        # Whoever ends the ranks of a gang that failed may come late, and would have no report then.
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        raise full

    monkeypatch.setattr(FileDatastore, "write", write)
    monkeypatch.setattr(ranks, "supervise", lambda *_, **more: GangResult(code, replace(FIRST, kind=kind)))
    told: list[FlowcError] = []
    request = TaskRequest(RANKS[0], 0)
    place = Membership(2, 0)
    assert ranks.run_rank(lambda: F, lab.run, lab.datastore, request, place, report=told.append) == exits
    assert told == [full]
    said = capfd.readouterr().err
    assert "rank 1 on host b exited with code 3" in said
    assert "why the gang of train/0 failed could not be recorded: the file system is full" in said


@pytest.mark.usefixtures("own_sigterm")
@pytest.mark.parametrize(
    ("place", "seconds"),
    [
        (Membership(2, 0), 600),
        (Membership(2, 0, source="jobset", group="a"), 600),
        (Membership(2, 0, source="slurm", restarts=1), 600),
        # A node in the place of the one that was taken away may have to be found first.
        (Membership(2, 0, source="jobset", group="a", restarts=1), 600 + 3600),
    ],
)
def test_ranks_wait_longer_where_a_node_was_taken_away(
    place: Membership, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path, GANG, F)
    lab.done("start")
    limits = []

    def supervise(*_: object, **more: Any) -> GangResult:
        limits.append(more["limits"].timeout)
        return GangResult(0)

    monkeypatch.setattr(ranks, "supervise", supervise)
    assert ranks.run_rank(lambda: F, lab.run, lab.datastore, TaskRequest(RANKS[0], 0), place) == 0
    assert limits == [seconds]
