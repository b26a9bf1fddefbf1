"""Attempts that were asked to end from outside: tried again apart from failures, and not for ever."""

from __future__ import annotations

from flowc.backends.local.attempts import MAX_PREEMPTIONS, Attempt
from flowc.runtime.frontier import Family
from flowc.runtime.gang.failure import GangFailure
from flowc.runtime.outline import StepOutline
from flowc.runtime.report import Failure, gang_failure


def attempt(times: int | None) -> Attempt:
    retry = None if times is None else {"times": times}
    plan = {"name": "train", "kind": "gang", "leave": {"kind": "next", "to": "join"}, "retry": retry}
    family = Family("train", (), 2, 1, True, False)
    return Attempt(StepOutline.from_plan(plan), family, 0)


def ended(now: Attempt, kind: str, rank: int = 1) -> Attempt:
    report = GangFailure(rank, "host", 3 if kind == "exit" else None, None, ("last",), "did so", kind)
    now.report(gang_failure(f"train/{rank}", now.number, report, None, report.last_lines), kind, False)
    return now


def test_a_preempted_attempt_does_not_count() -> None:
    first = ended(attempt(1), "preempted")
    assert first.preempted and first.retries_left == 1
    second = first.again()
    assert (second.number, second.preemptions, second.retries_left) == (1, 1, 1)
    third = ended(second, "exit").again()
    assert (third.number, third.preemptions, third.retries_left) == (2, 1, 0)
    assert ended(third, "preempted").retries_left == 1
    assert ended(third.again(), "exit").retries_left == 0


def test_only_a_step_with_retry_is_tried_again() -> None:
    assert ended(attempt(None), "preempted").retries_left == 0
    assert ended(attempt(0), "preempted").retries_left == 0


def test_after_many_times_it_counts_as_a_failure() -> None:
    now = attempt(1)
    for _ in range(MAX_PREEMPTIONS):
        now = ended(now, "preempted").again()
        assert now.retries_left == 1
    last = ended(now, "preempted").again()
    assert last.retries_left == 0 and ended(last, "preempted").retries_left == 0


def test_every_kind_of_end_has_its_words() -> None:
    def words(kind: str, **fields: object) -> Failure:
        report = GangFailure(1, "host", None, None, (), "did so", kind)
        return gang_failure("train/1", 0, GangFailure(**{**vars(report), **fields}), None, ())

    assert words("lost").type == "RankLost" and words("lost").message == "rank 1 on host host did so"
    assert words("formation").type == "GangNotFormed" and words("formation").message == "did so"
    assert words("abort").type == "GangAborted"
    assert words("exit", exit_code=7)[2:4] == ("ProcessFailure", "exit code 7")
    assert words("signal", signal=9).message == "killed by SIGKILL (out of memory?)"


def test_a_rank_that_was_told_to_end_does_not_change_what_decided() -> None:
    now = ended(attempt(1), "exit")
    now.ending = True
    ended(now, "preempted", 0)
    ended(now, "lost", 0)
    assert now.failure is not None and (now.failure.rank, now.failure.exit_code) == (1, 3)


def test_a_rank_that_was_lost_may_yet_say_how_it_ended() -> None:
    now = ended(attempt(0), "lost")
    assert now.offer(Failure("train/1", 0, "ProcessFailure", "killed by SIGKILL", 1, None, "SIGKILL"), None)
    assert now.failure is not None and now.failure.signal == "SIGKILL"
