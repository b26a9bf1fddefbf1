"""What a local run tells while it goes on. A listener is called with one at a time, from the scheduler's thread.

For every task, `TaskStarted` is followed by exactly one of `TaskDone`, `TaskFailed` and `TaskStopped` for the same
attempt; a task taken over from another run has a `TaskCloned` only.

They are named tuples, not dataclasses, because defining a dataclass takes longer than starting a task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Union

from ...runtime.address import Address
from ...runtime.report import Failure


class RunStarted(NamedTuple):
    """The run has its id; nothing of it has started yet."""

    flow: str
    run_id: str
    origin_run_id: str | None


class StepWidth(NamedTuple):
    """``width`` more tasks of a step are to be run (0: a fan-out over nothing)."""

    step: str
    width: int
    round: int


class TaskStarted(NamedTuple):
    """An attempt of a task was started. ``recording`` marks the one that only commits a failure for ``@catch``."""

    address: Address
    attempt: int
    recording: bool = False


class TaskOutput(NamedTuple):
    """A line that a task wrote to ``stdout`` or ``stderr``, without its end."""

    address: Address
    attempt: int
    stream: str
    line: str


class TaskDone(NamedTuple):
    """A task committed its record. ``caught`` tells that it failed and ``@catch`` let the flow go on."""

    address: Address
    attempt: int
    seconds: float
    caught: bool = False


class TaskFailed(NamedTuple):
    """An attempt of a task failed. ``final`` is false where a retry or ``@catch`` follows."""

    address: Address
    attempt: int
    failure: Failure
    final: bool


class TaskStopped(NamedTuple):
    """An attempt was ended because its gang or its run ends; the task itself did nothing wrong."""

    address: Address
    attempt: int


class TaskRetrying(NamedTuple):
    """A task, or a whole gang (then the address of its first rank), is tried again after ``wait`` seconds.

    ``attempt`` is the number of the attempt to come, ``failure`` what ended the one before.
    """

    address: Address
    attempt: int
    wait: float
    failure: Failure


class TaskCloned(NamedTuple):
    """``count`` tasks of one step, from ``address`` on, were taken over from the run that is resumed."""

    address: Address
    count: int  # type: ignore[assignment]  # hides tuple.count


class RunEnded(NamedTuple):
    """The run is over: ``state`` is ``done``, ``failed`` or ``interrupted``."""

    state: str
    seconds: float
    failure: Failure | None


Event = Union[
    RunStarted,
    StepWidth,
    TaskStarted,
    TaskOutput,
    TaskDone,
    TaskFailed,
    TaskStopped,
    TaskRetrying,
    TaskCloned,
    RunEnded,
]
Listener = Callable[[Event], None]
"""Takes every event of a run."""


def ignore(event: Event) -> None:
    """A listener that does nothing."""
