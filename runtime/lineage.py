"""Finding the records that a task builds upon: addresses say where they may lie, the records which of them it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Optional

from .address import Address
from .outline import Candidate, ContractError, Outline
from .record import Record, Records

_KEPT = 8
_NONE: Mapping[Address, Record] = MappingProxyType({})


class Lineage:
    """The ancestors of one task; ``known`` are records that need not be read."""

    def __init__(
        self, outline: Outline, records: Records, address: Address, known: Mapping[Address, Record] = _NONE
    ) -> None:
        self.outline = outline
        self.records = records
        self.address = address
        self._openers: dict[int, Record] = {}
        self._seen: dict[Address, Record] = dict(known)
        self._rounds: dict[str, int] = {}

    def parent(self) -> Optional[Record]:
        """The record of the step before; None for the first step of a flow.

        Raises
        ------
        ContractError
            If no step before is done and led here.
        """
        address = self.address
        inputs = self.outline[address.step].inputs
        if len(inputs) == 1 and len(inputs[0]) == 1 and address.round == 1:
            # The common case, in few steps: one parent, in one place.
            above = self.outline[inputs[0][0]]
            if above.loop is None:
                record = self._read(Address(above.name, address.index[: len(above.scope)]))
                if record is not None and record.next is not None and address.step in record.next.to:
                    return record
        groups = self.outline.parents_of(address)
        if not groups:
            return None
        found = self._arrived(groups[0])
        if found is None and address.step == self.outline.first and address.round == 1:
            return None
        return found or self._none(groups[0])

    def branch(self, number: int) -> Record:
        """The record of one input of a join; raises as `parent`."""
        if self.outline.joins_fan_out(self.address.step):
            group = self.outline.parents_of(self.address, number)[0]
        else:
            group = self.outline.parents_of(self.address)[number]
        return self._arrived(group) or self._none(group)

    def branches(self) -> int:
        """How many inputs a join has; raises as `parent`."""
        if self.outline.joins_fan_out(self.address.step):
            return self._width(self.split())
        return len(self.outline[self.address.step].inputs)

    def split(self) -> Record:
        """The record of the split step that a join joins; raises as `parent`."""
        candidate = self.outline.split_of(self.address)
        return self._latest(candidate) or self._none((candidate,))

    def opener(self, depth: int) -> Record:
        """The record of the step that opened the fan-out at a depth, 0 for the outermost; raises as `parent`."""
        record = self._openers.get(depth)
        if record is None:
            candidate = self.outline.opener_of(self.address, depth)
            record = self._openers[depth] = self._latest(candidate) or self._none((candidate,))
        return record

    def width(self, depth: int) -> int:
        """How many tasks the fan-out at a depth has."""
        return self._width(self.opener(depth))

    @staticmethod
    def _width(record: Record) -> int:
        width = record.next.width if record.next is not None else None
        if width is None:
            raise ContractError(f"the record of {record.address} says no width although it opens a fan-out")
        return width

    def _arrived(self, group: Sequence[Candidate]) -> Optional[Record]:
        step, round = self.address.step, self.address.round
        joins = self.outline[step].joins is not None
        best: Optional[Record] = None
        for candidate in group:
            for record in self._found(candidate):
                onward = record.next
                if onward is not None and step in onward.to and (joins or onward.round == round):
                    if not candidate.search:
                        return record
                    # In a loop, another alternative may have led to this join in an earlier round.
                    if best is None or record.address.round > best.address.round:
                        best = record
                    break
        return best

    def _latest(self, candidate: Candidate) -> Optional[Record]:
        for record in self._found(candidate):
            return record
        return None

    def _found(self, candidate: Candidate) -> Iterator[Record]:
        # One round is the rule. A search looks into the rounds from the highest down and ends with the first that fits.
        rounds: Iterable[int] = (candidate.round,)
        if candidate.search:
            rounds = range(candidate.round or self.highest_round(candidate.step), 0, -1)
        for round in rounds:
            record = self._read(Address(candidate.step, candidate.at, round))
            if record is not None:
                yield record

    def _read(self, address: Address) -> Optional[Record]:
        # The step before is often the one that opened the fan-out, too. The many inputs of a join are not kept.
        record = self._seen.get(address)
        if record is None:
            record = self.records.read(address)
            if record is not None and len(self._seen) < _KEPT:
                self._seen[address] = record
        return record

    def highest_round(self, step: str) -> int:
        """The highest round of a step at any index."""
        known = self._rounds.get(step)
        if known is None:
            known = self._rounds[step] = self.records.rounds(step)
        return known

    def _none(self, group: Sequence[Candidate]) -> Record:
        places = " or ".join(str(Address(c.step, c.at, c.round or 1)) for c in group) or "any step before"
        raise ContractError(
            f"{self.address} cannot start in run {self.records.prefix}: no record says that {places} is done and leads "
            f"here; run the step before first, or resume the run"
        )
