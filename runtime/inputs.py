"""The ``inputs`` of a join: one for each of its branches, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Optional, overload

from ..dsl.errors import MissingArtifact
from .record import Record

if TYPE_CHECKING:
    from .context import StepContext


class Input:
    """What the last step of one branch left: its artifacts as attributes, ``index`` and ``input`` as it saw them."""

    def __init__(self, context: StepContext, record: Record) -> None:
        self._flowc_context = context
        self._flowc_record = record

    @property
    def index(self) -> Optional[int]:
        """The branch's index in the fan-out; None for a static branch outside every fan-out."""
        return self._flowc_context.index_of(self._flowc_record.address)

    @property
    def input(self) -> Any:
        """The item that the branch worked on; None outside a foreach."""
        return self._flowc_context.item_of(self._flowc_record.address)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_flowc") or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        reference = self._flowc_record.artifacts.get(name)
        if reference is None:
            value = self._flowc_context.fixed(name, self._flowc_record)
        else:
            value = self._flowc_context.store.load(reference, name)
        self.__dict__[name] = value
        return value

    def __repr__(self) -> str:
        record = self._flowc_record
        return f"<input {record.address}: {', '.join(sorted(record.artifacts)) or 'no artifacts'}>"


class Inputs(Sequence[Input]):
    """The inputs in order: of a foreach by index, of a gang by rank, of branches as they were written; those of
    branches also by the name of their last step."""

    def __init__(self, context: StepContext) -> None:
        self._flowc_context = context
        self._flowc_length: Optional[int] = None
        self._flowc_records: dict[int, Record] = {}

    def __len__(self) -> int:
        if self._flowc_length is None:
            self._flowc_length = self._flowc_context.lineage.branches()
        return self._flowc_length

    @overload
    def __getitem__(self, number: int) -> Input: ...

    @overload
    def __getitem__(self, number: slice) -> list[Input]: ...

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        i = number + len(self) if number < 0 else number
        if not 0 <= i < len(self):
            raise IndexError(f"inputs[{number}]: the join has {len(self)} inputs")
        return Input(self._flowc_context, self.record(i))

    def __iter__(self) -> Iterator[Input]:
        for i in range(len(self)):
            yield self[i]

    def record(self, number: int) -> Record:
        """The record of an input; read once."""
        found = self._flowc_records.get(number)
        if found is None:
            found = self._flowc_records[number] = self._flowc_context.lineage.branch(number)
        return found

    def __getattr__(self, name: str) -> Input:
        if name.startswith("_"):
            raise AttributeError(name)
        context = self._flowc_context
        groups = () if context.outline.joins_fan_out(context.address.step) else context.step.inputs
        for i, group in enumerate(groups):
            if name in group:
                record = self.record(i)
                if record.address.step != name:
                    raise MissingArtifact(
                        f"inputs.{name}: this run went through {record.address.step} instead of {name}"
                    )
                found = self[i]
                self.__dict__[name] = found
                return found
        known = ", ".join(f"inputs.{step}" for group in groups for step in group)
        if not known:
            raise MissingArtifact(
                f"inputs.{name}: this join has one branch many times; write inputs[0].{name}, or go through them"
            )
        raise MissingArtifact(f"inputs.{name}: no branch ends in a step {name}; there is {known}")

    def __repr__(self) -> str:
        return f"<{len(self)} inputs of {self._flowc_context.address}>"
