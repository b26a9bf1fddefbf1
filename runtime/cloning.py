"""Resuming: what a run takes over from the one that it goes on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Optional

from .address import Address
from .frontier import Family
from .outline import Outline
from .record import Next, Record, Records

Taken = list[tuple[Address, Next]]


class Cloner:
    """Copies the records of tasks that are done in the origin run.

    Whether everything before a task was copied, too, is for the caller to know (`Family.cloned`).

    Parameters
    ----------
    outline : Outline
        The flow as it is now.
    origin, records : Records
        Of the run that is resumed, and of the new one.
    first : str or None
        A step that is run again in any case, with every step after it.
    """

    def __init__(self, outline: Outline, origin: Records, records: Records, first: str | None = None) -> None:
        self._outline = outline
        self._origin = origin
        self._records = records
        self._anew = _from(outline, first) if first is not None else frozenset[str]()

    def clone(self, family: Family, position: int) -> Iterator[Taken]:
        """Take over the family's tasks from ``position`` on (a gang: all of it), each when it is asked for.

        Ends before the first one that has to be run.
        """
        if family.step in self._anew:
            return
        if family.gang:
            records = self._gang(family)
            if records:
                yield [self._take(record) for record in records]
            return
        for at in range(position, family.size):
            record = self._usable(self._origin.read(family.address(at)))
            if record is None:
                return
            yield [self._take(record)]

    def _gang(self, family: Family) -> list[Record] | None:
        return whole_gang(self._origin, list(family.addresses()), lambda record: self._usable(record) is not None)

    def _usable(self, record: Record | None) -> Record | None:
        """The record, where it is done and the flow still goes on from it in the way that it says."""
        if record is None or not record.done or record.next is None:
            return None
        step = self._outline[record.address.step]
        fits = record.next.kind == step.leave_kind and set(record.next.to) <= set(step.targets)
        return record if fits else None

    def _take(self, record: Record) -> tuple[Address, Next]:
        assert record.next is not None
        self._records.clone(record, self._origin.run_id)
        return record.address, record.next


def whole_gang(
    records: Records, ranks: Sequence[Address], good: Callable[[Optional[Record]], bool]
) -> Optional[list[Record]]:
    """The records of all ranks of a gang in the latest attempt in which each of them is good; None without one.

    They must be of the same attempt: a gang of which one rank failed has done nothing.
    """
    for attempt in reversed(records.attempts(ranks[0])):
        found = []
        for address in ranks:
            record = records.read(address, attempt)
            if record is None or not good(record) or record.size != len(ranks):
                break
            found.append(record)
        else:
            return found
    return None


def _from(outline: Outline, first: str) -> frozenset[str]:
    found: set[str] = set()
    todo = [first]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += outline[name].targets
    return frozenset(found)
