"""One attempt of a task or of a whole gang: who runs, who is done, and which failure decides."""

from __future__ import annotations

import math
import time

from ...runtime import preemptions
from ...runtime.address import Address
from ...runtime.frontier import Family
from ...runtime.outline import StepOutline
from ...runtime.record import Next, Record
from ...runtime.report import PREEMPTED, Failure
from .tail import Tail
from .timers import Timer


class Member:
    """One process of an attempt.

    Attributes
    ----------
    rank : int or None
        Its rank where the attempt is a gang's.
    started, seconds : float
        When it was started, by the monotonic clock, and how long it took.
    next : Next or None
        Where it led, once it is done.
    caught : bool
        Whether it is done because ``@catch`` let the flow go on.
    """

    __slots__ = ("address", "attempt", "caught", "next", "rank", "seconds", "started", "tail")

    def __init__(self, attempt: Attempt, address: Address, rank: int | None, tail: Tail) -> None:
        self.attempt = attempt
        self.address = address
        self.rank = rank
        self.tail = tail
        self.started = time.monotonic()
        self.seconds = 0.0
        self.next: Next | None = None
        self.caught = False


class Attempt:
    """One attempt of a single task, or of a gang, which fails and is tried again as a whole.

    Parameters
    ----------
    family, position : Family, int
        What is attempted: the task at that position, or (position 0) all ranks of a gang.
    number : int
        Of the attempt, from 0.
    preemptions : int
        How many of the attempts before it were asked to end from outside; they do not count for ``@retry``.
    caught : dict or None
        For ``@catch``: the failure that this attempt only records.

    Attributes
    ----------
    running : dict of int to Member
        By the number that the server knows the process by.
    done : list of Member
        Those that committed their records.
    failure : Failure or None
        What decided that it failed.
    ending, timed_out : bool
        Whether its processes have been told to end (failures that come after that are only consequences), and whether
        that was because it took too long.
    """

    __slots__ = (
        "_precedence", "caught", "done", "ending", "failure", "family", "number", "position", "preemptions", "running",
        "step", "timed_out", "timers",
    )  # fmt: skip

    def __init__(
        self,
        step: StepOutline,
        family: Family,
        position: int,
        number: int = 0,
        caught: dict[str, str] | None = None,
        preemptions: int = 0,
    ) -> None:
        self.step = step
        self.family = family
        self.position = position
        self.number = number
        self.caught = caught
        self.preemptions = preemptions
        self.running: dict[int, Member] = {}
        self.done: list[Member] = []
        self.failure: Failure | None = None
        self.ending = False
        self.timed_out = False
        self.timers: list[Timer] = []
        self._precedence: tuple[float, ...] = (math.inf,)

    @property
    def gang(self) -> bool:
        """Whether it is a gang."""
        return self.family.gang

    @property
    def size(self) -> int:
        """How many processes it has."""
        return self.family.size if self.family.gang else 1

    @property
    def addresses(self) -> list[Address]:
        """The tasks of it; in rank order for a gang."""
        return list(self.family.addresses()) if self.family.gang else [self.family.address(self.position)]

    @property
    def succeeded(self) -> bool:
        """Whether all of it is done."""
        return len(self.done) == self.size

    @property
    def retries_left(self) -> int:
        """How many more times the step's ``@retry`` lets it be tried."""
        retry = self.step.retry
        if retry is None or retry.times == 0 or self.caught is not None:
            return 0
        return max(0, retry.times - (self.number - self.preemptions), int(self.preempted))

    @property
    def preempted(self) -> bool:
        """Whether it failed only because it was asked to end from outside; after many times that is a failure, too."""
        return self.failure is not None and self.failure.type == PREEMPTED and self.preemptions < preemptions.MOST

    @property
    def can_be_caught(self) -> bool:
        """Whether ``@catch`` is still to be tried after it."""
        return self.step.catch is not None and self.caught is None

    def again(self, caught: dict[str, str] | None = None) -> Attempt:
        """The attempt after this one."""
        preemptions = self.preemptions + self.preempted
        return Attempt(self.step, self.family, self.position, self.number + 1, caught, preemptions)

    def offer(self, failure: Failure, record: Record | None) -> bool:
        """Consider a failure for the one that decides; whether it does, so far.

        The first failing rank decides. Of those whose ends became known together, a process that left no record counts
        as earlier than one that raised: a peer's death is what makes the others raise.
        """
        precedence = (1.0, record.finished) if record is not None else (0.0, 0.0)
        if self.timed_out or precedence >= self._precedence:
            return False
        self._precedence = precedence
        self.failure = failure
        return True

    def report(self, failure: Failure, kind: str, own: bool) -> None:
        """Consider what a rank's supervisor says about the rank that failed first.

        Parameters
        ----------
        failure : Failure
            That rank's.
        kind : str
            As in the report; a rank that was lost may yet tell more about itself.
        own : bool
            Whether the rank speaks of itself.
        """
        if self.timed_out or (self.ending and kind in ("preempted", "formation")):
            return  # it was told to end because of what is known already
        precedence = (0.0, 1.0) if kind == "lost" else (-1.0, 0.0)
        same = self.failure is not None and own and self.failure.rank == failure.rank
        if precedence < self._precedence or (same and precedence == self._precedence):
            self._precedence = precedence
            self.failure = failure

    def cancel_timers(self) -> None:
        """Nothing more is to happen to it."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
