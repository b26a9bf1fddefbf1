"""Attempts that were asked to end from outside: tried again apart from failures, and not for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_shapes import FULL
from flowc.backends.local import scheduler, starters
from flowc.backends.local.attempts import Attempt
from flowc.runtime import contract, preemptions
from flowc.runtime.__main__ import _retries_left
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.frontier import Family
from flowc.runtime.gang.failure import GangFailure
from flowc.runtime.outline import StepOutline
from flowc.runtime.report import Failure, gang_failure
from local_runs import Flow


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
    for _ in range(preemptions.MOST):
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


@pytest.mark.parametrize("left", [True, False])
def test_a_fresh_interpreter_is_told_whether_a_retry_may_follow(
    left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one that was only asked to end, the number says that none may, and ``@catch`` would go on too early."""
    environment: dict[str, str] = {}
    monkeypatch.setattr(starters, "_redirect", lambda *_: None)
    monkeypatch.setattr(os, "execve", lambda path, command, env: environment.update(env))
    # As in a step that runs a flow, of which it says something else.
    monkeypatch.setenv(contract.RETRIES_LEFT, "0" if left else "7")
    start = starters.by_spawn("flow.py", "F", FileDatastore(str(tmp_path)), {})()("1")
    start(["work", [2], 1, 1, None, None, left])()
    assert environment[contract.ATTEMPT] == "1"
    monkeypatch.setenv(contract.RETRIES_LEFT, environment[contract.RETRIES_LEFT])
    assert _retries_left(attempt(1).step, 1) is left


SAVING = """
        from flowc import checkpoint

        class Saving(FlowSpec):
            @step
            def start(self):
                self.next(self.work{width})
            @timeout(seconds=1)
            @checkpoint{grace}
            {gang}
            @step
            def work(self):
                try:
                    time.sleep(60)
                finally:
                    time.sleep(2)
                    open({file!r}, "w").close()
                self.next(self.join)
            @step
            def join(self{inputs}):
                self.next(self.end)
            @step
            def end(self):
                pass
        """


CASES = [("(grace=20)", False, "fork"), ("(grace=20)", True, "spawn"), ("", True, "fork")]
MORE = [("(grace=20)", True, "fork"), ("(grace=20)", False, "spawn"), ("", False, "fork"), ("", True, "spawn")]


@pytest.mark.slow
@pytest.mark.parametrize(("grace", "gang", "isolation"), CASES + MORE if FULL else CASES)
def test_what_takes_too_long_saves_for_as_long_as_its_step_says(
    flow: Callable[[str], Flow], grace: str, gang: bool, isolation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLOWC_PREEMPT_GRACE", raising=False)
    # Short for the test; without a word of the step, they hold.
    monkeypatch.setattr(scheduler, "STOP_GRACE", 0.5)
    monkeypatch.setattr(scheduler, "CHECKPOINT_GRACE", 0.5)
    monkeypatch.setattr(starters, "GANG_GRACE", 0.5)
    more = ("@parallel", ", num_parallel=2", ", inputs") if gang else ("", "", "")
    names = dict(zip(("gang", "width", "inputs"), more))
    run = flow(SAVING.format(grace=grace, file=str(tmp_path / "saved"), **names)).run(isolation=isolation)
    assert run.result.failure is not None and run.result.failure.type == "Timeout"
    assert (tmp_path / "saved").exists() == bool(grace)
    assert run.result.seconds < 15
