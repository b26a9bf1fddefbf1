"""What the ranks of a gang that failed left beside their logs, read together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flowc.runtime import gang_report
from flowc.runtime.address import Address
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.gang.failure import GangFailure, RankEnd
from flowc.runtime.record import Records

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
