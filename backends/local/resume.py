"""Resuming: what a run takes over from the one that it goes on from."""

from __future__ import annotations

from collections.abc import Iterator

from ...runtime.address import Address
from ...runtime.outline import Outline
from ...runtime.record import Next, Record, Records
from .frontier import Family

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
        # All ranks must have been done in the same attempt: a gang of which one rank failed has done nothing.
        first, *others = family.addresses()
        for attempt in reversed(self._origin.attempts(first)):
            records = []
            for address in (first, *others):
                record = self._usable(self._origin.read(address, attempt))
                if record is None or record.size != family.size:
                    break
                records.append(record)
            else:
                return records
        return None

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


def _from(outline: Outline, first: str) -> frozenset[str]:
    found: set[str] = set()
    todo = [first]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += outline[name].targets
    return frozenset(found)
