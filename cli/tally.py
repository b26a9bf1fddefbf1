"""Where a run stands, step by step: what the progress display shows. Pure counting: no clock, no output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..backends.local.events import Event, StepWidth, TaskCloned, TaskDone, TaskFailed, TaskStarted, TaskStopped
from ..compiler.plan import Foreach, Gang, Plan, Step, Switch


@dataclass
class StepTally:
    """One step of a run.

    Attributes
    ----------
    depth : int
        How many splits are open around it.
    running, done, failed, cloned, caught, retrying, stopped : int
        Tasks in that state; cloned and caught ones are also done.
    opened : int
        How many tasks of it have become ready.
    total : int or None
        How many there will be, where that is known by now.
    began, ended : float or None
        When its first task started and its last one so far ended, on the clock of the caller.
    """

    step: Step
    depth: int
    running: int = 0
    done: int = 0
    failed: int = 0
    cloned: int = 0
    caught: int = 0
    retrying: int = 0
    stopped: int = 0
    began: float | None = None
    ended: float | None = None
    opened: int = 0
    total: int | None = None

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def kind(self) -> str:
        """What is special about the step: ``gang``, ``foreach shards``, ``switch on kind``, ``join``; else nothing."""
        leave = self.step.leave
        words = []
        if self.step.kind == "gang":
            framework = self.step.framework
            words.append(framework.name if framework and framework.name != "parallel" else "gang")
        elif self.step.joins:
            words.append("join")
        if isinstance(leave, Foreach):
            words.append(f"foreach {leave.over}")
        elif isinstance(leave, Gang):
            words.append("opens a gang" if leave.size is None else f"opens a gang of {leave.size}")
        elif isinstance(leave, Switch):
            words.append(f"switch on {leave.on}")
        return ", ".join(words)

    @property
    def seen(self) -> int:
        """How many of its tasks have begun."""
        return self.running + self.done + self.failed + self.retrying + self.stopped

    @property
    def state(self) -> str:
        """``waiting``, ``running``, ``done`` or ``failed``."""
        if self.failed:
            return "failed"
        if self.running or self.retrying:
            return "running"
        if self.stopped:
            return "stopped"
        if not self.done:
            return "waiting"
        return "done" if self.total is None or self.done >= self.total else "running"


class Tally:
    """All steps of a run, in the order of the Plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        depths = _depths(plan)
        self.steps = {step.name: StepTally(step, depths[step.name]) for step in plan.steps}
        self._stale = True

    def __iter__(self) -> Iterator[StepTally]:
        self._refresh()
        return iter(self.steps.values())

    def __getitem__(self, step: str) -> StepTally:
        self._refresh()
        return self.steps[step]

    def take(self, event: Event, now: float) -> None:
        """Count one event of the run."""
        if isinstance(event, TaskStarted):
            self._started(self.steps[event.address.step], event.attempt > 0 or event.recording, now)
        elif isinstance(event, TaskDone):
            self._ended(self.steps[event.address.step], "done", now)
            self.steps[event.address.step].caught += event.caught
        elif isinstance(event, TaskFailed):
            self._ended(self.steps[event.address.step], "failed" if event.final else "retrying", now)
        elif isinstance(event, TaskStopped):
            self._ended(self.steps[event.address.step], "stopped", now)
        elif isinstance(event, TaskCloned):
            tally = self.steps[event.address.step]
            tally.cloned += event.count
            tally.done += event.count
        elif isinstance(event, StepWidth):
            self.open(event.step, event.width)

    def open(self, step: str, width: int) -> None:
        """So many more tasks of a step have become ready."""
        self.steps[step].opened += width
        self._stale = True

    def _started(self, tally: StepTally, again: bool, now: float) -> None:
        tally.running += 1
        if again and tally.retrying:
            tally.retrying -= 1
        elif again and tally.stopped:
            # A rank that was ended with its gang, which is now tried again.
            tally.stopped -= 1
        if tally.began is None:
            tally.began = now
        tally.ended = None

    def _ended(self, tally: StepTally, state: str, now: float) -> None:
        tally.running -= 1
        setattr(tally, state, getattr(tally, state) + 1)
        tally.ended = now

    def _refresh(self) -> None:
        """Work out how many tasks each step will have, as far as the widths tell; None where they do not."""
        if self._stale:
            self._stale = False
            for tally in self.steps.values():
                tally.total = self._total(tally)

    def _total(self, tally: StepTally) -> int | None:
        step = tally.step
        if step.loop is not None:
            return None
        if step.joins is not None:
            return self.steps[step.joins].total
        if not step.inputs:
            return 1
        if len(step.parents) > 1:
            return None
        parent = self.steps[step.parents[0]]
        if isinstance(parent.step.leave, (Foreach, Gang)):
            return tally.opened
        return None if isinstance(parent.step.leave, Switch) else parent.total


def _depths(plan: Plan) -> dict[str, int]:
    """How many splits (branches, fan-outs) are open around each step."""
    depths: dict[str, int] = {}
    for step in plan.steps:
        if step.joins is not None:
            depths[step.name] = depths.get(step.joins, 0)
            continue
        parent = next((name for name in step.parents if name in depths), None)
        if parent is None:
            depths[step.name] = 0
        else:
            depths[step.name] = depths[parent] + (plan[parent].leave.kind in ("branches", "foreach", "gang"))
    return depths
