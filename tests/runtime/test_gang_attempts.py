"""The numbers of a gang's attempts, where JobSets follow each other and start their pods anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flowc.runtime import preemptions
from flowc.runtime.address import Address
from flowc.runtime.datastore import open_datastore
from flowc.runtime.gang.membership import Membership
from flowc.runtime.gang_attempts import GangAttempt, begin_attempt
from flowc.runtime.outline import ContractError
from flowc.runtime.record import Records
from s3_server import s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def records(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Records:
    if request.param == "folder":
        return Records(open_datastore(str(tmp_path)), "F", "1")
    for name, value in request.getfixturevalue("server").items():
        monkeypatch.setenv(name, value)
    bucket = f"gangs-{abs(hash(request.node.name))}"
    pytest.importorskip("boto3").client("s3").create_bucket(Bucket=bucket)
    return Records(open_datastore(f"s3://{bucket}"), "F", "1")


def begin(records: Records, jobset: str, tries: int, restarts: int = 0, rank: int = 0, item: int = 4) -> GangAttempt:
    """A rank of this JobSet begins; Argo has made so many before, and it was started anew so often."""
    there = Membership(3, rank, "main", tries + restarts, source="jobset", group=jobset, restarts=restarts)
    found = begin_attempt(records, Address("train", (item, rank)), there)
    assert found is not None
    return found


def test_all_ranks_of_an_attempt_find_its_number_and_no_two_attempts_the_same(records: Records) -> None:
    told = [
        # JobSet, those before it, its restarts; number, and how many of those before were preempted
        ("a", 0, 0, 0, 0), ("a", 0, 1, 1, 1), ("a", 0, 2, 2, 2), ("b", 1, 0, 3, 2), ("c", 2, 0, 4, 2),
        ("c", 2, 1, 5, 3),
        # `argo retry` counts from 0 again.
        ("d", 0, 0, 6, 3), ("e", 1, 0, 7, 3),
    ]  # fmt: skip
    for jobset, tries, restarts, number, preempted in told:
        for rank in (2, 0, 1, 0):
            found = begin(records, jobset, tries, restarts, rank)
            assert (found.number, found.preempted) == (number, preempted)
    # Another item's gang, and one of another round, count for themselves.
    assert begin(records, "f", 0, item=5).number == 0
    assert records.attempts(Address("train", (4, 0))) == [], "an attempt has begun once it has left something"


def test_jobsets_of_which_no_rank_began_count_as_argo_counts_them(records: Records) -> None:
    assert begin(records, "c", 2).number == 2
    # Its first pods were gone before they could leave anything.
    assert begin(records, "d", 3, 2, rank=1).number == begin(records, "d", 3, 2).number == 5


def test_only_a_jobset_numbers_attempts_so(records: Records) -> None:
    assert begin_attempt(records, Address("train", (0,)), Membership(1, 0, source="slurm")) is None


def test_a_jobset_that_another_one_has_followed_goes_on_no_more(records: Records) -> None:
    begin(records, "a", 0)
    begin(records, "b", 1)
    with pytest.raises(ContractError, match="JobSet b has taken the place of a, which goes on no more"):
        begin(records, "a", 0, 1)
    following = begin(records, "b", 1, 1)
    assert (following.number, following.preempted, following.refused) == (2, 2, "")


def test_what_one_rank_has_worked_out_all_others_take(records: Records) -> None:
    begin(records, "b", 1)
    # An earlier one goes on meanwhile, and a rank of this one sees it.
    begin(records, "a", 0, 4)
    assert begin(records, "b", 1, rank=2).number == 1


def test_when_a_preemption_counts_as_a_failure(records: Records) -> None:
    for restarts in range(preemptions.MOST):
        assert begin(records, "a", 0, restarts).why_not_again() is None
    last = begin(records, "a", 0, preemptions.MOST)
    assert last.why_not_again() == f"it is asked to end for more than {preemptions.MOST} times"
    # Its node was gone before it could say so.
    assert begin(records, "a", 0, preemptions.MOST + 1).refused == "it was asked to end more than 20 times"
    # The times are those of the task, not of each JobSet.
    assert begin(records, "b", 1).why_not_again() is not None


def test_what_is_ended_for_good_is_not_started_anew(records: Records) -> None:
    first = begin(records, "a", 0)
    begin(records, "a", 0, rank=1).set_over()
    assert first.is_over() and first.why_not_again() == "it is ended for good"
    assert "ended for good" in begin(records, "a", 0, 1).refused
    first.set_over()
    assert begin(records, "b", 1).why_not_again() is None


def test_a_jobset_grows_old(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(records, "a", 0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + preemptions.LONGEST + 5)
    assert begin(records, "a", 0, 1).why_not_again() == "its JobSet is older than 10 days"
    # Kueue suspends it and lets it go on without starting it anew.
    assert begin(records, "a", 0).why_not_again() == "its JobSet is older than 10 days"
    assert begin(records, "b", 1).why_not_again() is None
