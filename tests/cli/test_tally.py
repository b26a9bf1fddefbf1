"""Counting what a run tells, and the plain lines made of it."""

from __future__ import annotations

import io
import re

import pytest
from flowc.backends.local.events import (
    RunEnded,
    RunStarted,
    StepWidth,
    TaskCloned,
    TaskDone,
    TaskFailed,
    TaskOutput,
    TaskRetrying,
    TaskStarted,
    TaskStopped,
)
from flowc.cli.progress import PlainProgress
from flowc.cli.screen import duration, size
from flowc.cli.tally import Tally
from flowc.compiler.plan import Branches, End, Foreach, Gang, Next, Plan, Step, Switch
from flowc.runtime.address import Address
from flowc.runtime.report import Failure

KIND = Switch("kind", (("a", "left"), ("b", "right")))
PLAN = Plan(
    "TallyFlow",
    "start",
    "end",
    (
        Step("start", "task", Branches(("outer", "side"))),
        Step("outer", "task", Foreach("open", "items"), inputs=(("start",),)),
        Step("open", "task", Gang("train", 2), inputs=(("outer",),), scope=("outer",)),
        Step("train", "gang", Next("gather"), inputs=(("open",),), scope=("outer", "open")),
        Step("gather", "task", Next("inner"), inputs=(("train",),), joins="open", scope=("outer",)),
        Step("inner", "task", Next("close"), inputs=(("gather",),), joins="outer"),
        Step("side", "task", Next("close"), inputs=(("start",),)),
        Step("close", "task", KIND, inputs=(("inner",), ("side",)), joins="start"),
        Step("left", "task", Next("end"), inputs=(("close",),)),
        Step("right", "task", Next("end"), inputs=(("close",),)),
        Step("end", "task", End(), inputs=(("left", "right"),)),
    ),
)  # fmt: skip
BAD = Failure("train/0.1", 0, "ValueError", "two\nlines")


def test_depths_kinds_and_totals() -> None:
    tally = Tally(PLAN)
    assert {step.name: step.depth for step in tally} == {
        "start": 0, "outer": 1, "open": 2, "train": 3, "gather": 2, "inner": 1, "side": 1, "close": 0, "left": 0,
        "right": 0, "end": 0,
    }  # fmt: skip
    assert [step.kind for step in tally][:5] == ["", "foreach items", "opens a gang of 2", "gang", "join"]
    assert tally["close"].kind == "join, switch on kind"
    tally.take(StepWidth("open", 3, 1), 0)
    for _ in range(2):
        tally.take(StepWidth("train", 2, 1), 0)
    totals = {step.name: step.total for step in tally}
    assert (totals["open"], totals["train"], totals["gather"], totals["inner"]) == (3, 4, 3, 1)
    assert (totals["left"], totals["end"]) == (None, None)


def test_a_gang_that_is_tried_again() -> None:
    tally, ranks = Tally(PLAN), [Address("train", (0, rank)) for rank in range(2)]
    tally.take(StepWidth("train", 2, 1), 0)
    for rank in ranks:
        tally.take(TaskStarted(rank, 0), 1)
    train = tally["train"]
    assert (train.running, train.state) == (2, "running")
    tally.take(TaskFailed(ranks[1], 0, BAD, final=False), 2)
    tally.take(TaskStopped(ranks[0], 0), 2)
    tally.take(TaskRetrying(ranks[0], 1, 5.0, BAD), 2)
    assert (train.running, train.retrying, train.stopped, train.state) == (0, 1, 1, "running")
    for rank in ranks:
        tally.take(TaskStarted(rank, 1), 7)
    assert (train.running, train.retrying, train.stopped, train.began, train.ended) == (2, 0, 0, 1, None)
    for rank in ranks:
        tally.take(TaskDone(rank, 1, 1.0), 8)
    assert (train.done, train.running, train.seen, train.state, train.ended) == (2, 0, 2, "done", 8)


def test_a_failure_that_is_caught() -> None:
    tally, task = Tally(PLAN), Address("side")
    tally.take(TaskStarted(task, 0), 0)
    tally.take(TaskFailed(task, 0, BAD, final=False), 1)
    tally.take(TaskStarted(task, 1, recording=True), 1)
    tally.take(TaskDone(task, 1, 0.1, caught=True), 2)
    side = tally["side"]
    assert (side.done, side.caught, side.retrying, side.failed, side.state) == (1, 1, 0, 0, "done")


def test_plain_lines() -> None:
    stream = io.StringIO()
    listener = PlainProgress(PLAN, stream=stream, where="store")
    train = Address("train", (0, 1))
    for event in (
        RunStarted("TallyFlow", "7", "6"),
        TaskCloned(Address("start"), 1),
        TaskCloned(Address("open", (0,)), 3),
        TaskStarted(train, 0),
        TaskOutput(train, 0, "stderr", "a line"),
        TaskFailed(train, 0, BAD, final=False),
        TaskRetrying(train, 1, 90.0, BAD),
        TaskStarted(train, 1),
        TaskFailed(train, 1, Failure("train/0.1", 1, "ProcessFailure", "killed by SIGKILL"), final=True),
        RunEnded("failed", 3.21, BAD),
    ):
        listener(event)
    assert stream.getvalue().splitlines() == [
        "[7] TallyFlow/7 starts in store, resumes 6",
        "[7] start taken over",
        "[7] open: 3 tasks taken over",
        "[7] train/0.1 | a line",
        "[7] train/0.1 failed in attempt 1: ValueError: two",
        "[7] train/0.1 is tried again in 1m30s (attempt 2)",
        "[7] train/0.1 failed: killed by SIGKILL",
        "[7] TallyFlow/7 failed after 3.2s",
    ]


def test_thousands_of_tasks_make_few_lines() -> None:
    stream = io.StringIO()
    listener = PlainProgress(PLAN, stream=stream)
    listener(RunStarted("TallyFlow", "1", None))
    listener(StepWidth("open", 5000, 1))
    for index in range(5000):
        listener(TaskStarted(Address("open", (index,)), 0))
        listener(TaskDone(Address("open", (index,)), 0, 0.001))
    lines = stream.getvalue().splitlines()
    assert lines[1] == "[1] open: 5000 tasks"
    assert re.fullmatch(r"\[1\] open: 5000 of 5000 tasks done in [\d.]+s", lines[-1])
    assert len(lines) == 3


def test_quiet_keeps_output_and_failures() -> None:
    stream = io.StringIO()
    listener = PlainProgress(PLAN, quiet=True, stream=stream)
    side = Address("side")
    for event in (
        RunStarted("TallyFlow", "1", None),
        TaskStarted(side, 0),
        TaskOutput(side, 0, "stdout", "said"),
        TaskDone(side, 0, 0.1),
        RunEnded("done", 1.0, None),
    ):
        listener(event)
    assert stream.getvalue() == "[1] side | said\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (59.4, "59s"), (59.6, "1m00s"), (185, "3m05s"), (7620, "2h07m"),
     (273_600, "3d04h"), (-1, "0.0s"), (None, "")],
)  # fmt: skip
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (2**20 - 1, "1.0 MiB"), (5 * 2**40, "5.0 TiB"),
     (2**52, "4096.0 TiB")],
)  # fmt: skip
def test_size(count: int, text: str) -> None:
    assert size(count) == text
