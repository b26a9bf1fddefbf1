"""Which tasks become ready when a task is done. Pure: no clock, no file, no process.

Tasks come in families (all items of a foreach, all ranks of a gang, or a single task), so that a foreach of a million
items costs one object until its tasks start. Joins count down what they still wait for, one small entry for each split
that is open at the moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .address import Address
from .outline import FAN_OUTS, Outline, StepOutline
from .record import Next


class Family(NamedTuple):
    """Tasks of one step that become ready together.

    Parameters
    ----------
    step : str
        Their step.
    prefix : tuple of int
        The index of a single task; of a fan-out, the index of the task that opened it.
    width : int or None
        How many items or ranks there are; None for a single task.
    round : int
        The round of all of them.
    gang : bool
        Whether they are the ranks of a gang, which start together.
    cloned : bool
        Whether every task before them was taken over from the run that is resumed.
    """

    step: str
    prefix: tuple[int, ...]
    width: int | None
    round: int
    gang: bool
    cloned: bool

    @property
    def size(self) -> int:
        """How many tasks there are."""
        return 1 if self.width is None else self.width

    def address(self, position: int) -> Address:
        """The address of the task at that position, from 0."""
        index = self.prefix if self.width is None else (*self.prefix, position)
        return Address(self.step, index, self.round)

    def addresses(self) -> Iterator[Address]:
        """All of their addresses, in order."""
        return map(self.address, range(self.size))


class Frontier:
    """Follows a run from its first step to its end.

    Every task is told to `done` once, with the ``next`` of its record; what comes back are the families that this makes
    ready, each task of the run in exactly one of them.
    """

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        # (join, index outside the split) -> [branches still to come, highest round seen, all of them cloned]. The round
        # is not part of the key: branches with a loop of their own arrive in different rounds, and a loop around the
        # split cannot open it again at the same index before this join is done.
        self._open: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        self.ended = False

    @property
    def waiting(self) -> list[tuple[str, tuple[int, ...]]]:
        """The joins that still wait for branches: (join, index)."""
        return list(self._open)

    def begin(self) -> Family:
        """The first step's task."""
        return Family(self._outline.first, (), None, 1, False, True)

    def done(self, address: Address, next: Next, cloned: bool = False) -> list[Family]:
        """What a committed task makes ready.

        Parameters
        ----------
        address : Address
            The task.
        next : Next
            From its record.
        cloned : bool
            Whether the task was taken over from another run, and so was everything before it.
        """
        if next.kind == "end":
            self.ended = True
            return []
        if next.kind in FAN_OUTS:
            return self._fan_out(address, next, cloned)
        ready = []
        for name in next.to:
            step = self._outline[name]
            if step.joins is None:
                ready.append(Family(name, address.index, None, next.round, False, cloned))
            else:
                ready += self._arrive(step, address.index[: len(step.scope)], next.round, cloned)
        return ready

    def _fan_out(self, opener: Address, next: Next, cloned: bool) -> list[Family]:
        join = self._outline.joined_by(opener.step)
        assert join is not None and next.width is not None
        if next.width == 0:
            # Nothing will arrive, so the join's round is the one that it has as seen from the opener.
            round = self._outline.child_round(opener.step, opener.round, join)
            return [Family(join, opener.index, None, round, False, cloned)]
        self._open[join, opener.index] = [next.width, 1, True]
        return [Family(next.to[0], opener.index, next.width, next.round, next.kind == "gang", cloned)]

    def _arrive(self, join: StepOutline, index: tuple[int, ...], round: int, cloned: bool) -> list[Family]:
        key = (join.name, index)
        entry = self._open.get(key)
        if entry is None:
            # A split into branches, whose number the Plan knows; those of fan-outs were entered when they opened.
            entry = self._open[key] = [len(join.inputs), 1, True]
        entry[0] -= 1
        entry[1] = max(entry[1], round)
        entry[2] &= cloned
        if entry[0]:
            return []
        del self._open[key]
        return [Family(join.name, index, None, entry[1], False, bool(entry[2]))]
