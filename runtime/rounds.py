"""The round in which a step is due, where whoever starts its task knows only the index: the records tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from .address import Address
from .outline import Outline
from .record import Record, Records


def due_round(outline: Outline, records: Records, step: str, index: tuple[int, ...]) -> int:
    """The highest round in which the steps before lead to this one at this index.

    At one index a step is never due twice at once, so of every step before only the latest record counts. A join takes
    the highest round over its inputs; one that joins nothing, that in which its split came.

    Parameters
    ----------
    index : tuple of int
        As in an address: one number for each fan-out around the step.
    """
    return max(_rounds(outline, records, step, index), default=1)


def _rounds(outline: Outline, records: Records, step: str, index: tuple[int, ...]) -> Iterator[int]:
    planned = outline[step]
    places = [index]
    if planned.joins is not None and outline.joins_fan_out(step):
        split = _latest(records, planned.joins, index)
        if split is not None and split.next is not None:
            if not split.next.width:
                yield outline.child_round(planned.joins, split.address.round, step)
            places = [(*index, number) for number in range(split.next.width or 0)]
    for at in places:
        for parent in dict.fromkeys(name for group in planned.inputs for name in group):
            record = _latest(records, parent, at[: len(outline[parent].scope)])
            if record is not None and record.next is not None and step in record.next.to:
                yield record.next.round


def _latest(records: Records, step: str, index: tuple[int, ...]) -> Optional[Record]:
    for number in range(records.rounds(step), 0, -1):
        record = records.read(Address(step, index, number))
        if record is not None:
            return record
    return None
