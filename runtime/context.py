"""What stands behind ``self`` while a step runs: earlier artifacts, parameters, the place in the fan-outs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from ..dsl import Config, FlowSpec, IncludeFile, MissingArtifact, Parameter
from ..dsl.errors import BadArtifact
from ..dsl.flow import _CONTEXT, TaskContext, class_artifacts, inputs_of
from ..dsl.parameters import ConfigValue
from .address import Address
from .ahead import Ahead
from .artifacts import ArtifactStore, Reference
from .datastore.base import Datastore
from .inputs import Inputs
from .lineage import Lineage
from .merge import merge
from .outline import ContractError
from .record import Record
from .runs import RunInfo

_NOTHING: Any = object()


_constants: dict[type, Mapping[str, Any]] = {}


def constants(flow_class: type) -> Mapping[str, Any]:
    """The plain class attributes of a flow; looked up once a process."""
    found = _constants.get(flow_class)
    if found is None:
        found = _constants[flow_class] = class_artifacts(flow_class)
    return found


class StepContext(TaskContext):
    """One task at work.

    Attributes
    ----------
    references : dict of str to reference
        The artifacts that the step began with, and those that were merged. They stay unless the step changes them.
    inputs : Inputs or None
        Of a join.
    """

    def __init__(
        self,
        flow_class: type[FlowSpec],
        run: RunInfo,
        datastore: Datastore,
        address: Address,
        ahead: Optional[Ahead] = None,
    ) -> None:
        self.flow_class = flow_class
        self.run = run
        self.address = address
        self.outline = run.outline
        self.step = self.outline.check(address)
        self.store = ArtifactStore(datastore, run.flow, track=True, items_ahead=ahead.items if ahead else {})
        self.lineage = Lineage(self.outline, run.records(datastore), address, ahead.records if ahead else {})
        self.transition = None
        self.references: dict[str, Reference] = {}
        self.inputs: Optional[Inputs] = None
        self.first = False
        self._loaded: dict[str, tuple[Reference, Any]] = {}
        self._fixed: dict[str, Any] = {}

    def begin(self, flow: FlowSpec) -> None:
        """Find what the step begins with, and stand behind ``flow``.

        Raises
        ------
        ContractError
            If a step before is not done.
        """
        if self.step.joins is not None:
            self.inputs = Inputs(self)
        else:
            parent = self.lineage.parent()
            if parent is None:
                self.first = True
            else:
                self.references = dict(parent.artifacts)
        flow.__dict__[_CONTEXT] = self
        self._uncover(flow)

    def _uncover(self, flow: FlowSpec) -> None:
        # An attribute of the class, or one that __init__ set, would hide the artifact of an earlier step.
        if self.references:
            for name in (*constants(self.flow_class), *flow.__dict__):
                if name in self.references and name not in self._loaded:
                    flow.__dict__[name] = self.load(name)

    # Asked for by FlowSpec -------------------------------------------------------------------------------------------

    def load(self, name: str) -> Any:
        reference = self.references.get(name)
        if reference is None:
            raise self._missing(name)
        value = self.store.load(reference, name)
        self._loaded[name] = reference, value
        return value

    def _missing(self, name: str) -> MissingArtifact:
        from difflib import get_close_matches

        before = sorted(self.references)
        near = get_close_matches(name, [*before, *inputs_of(self.flow_class)], 1)
        if near:
            hint = f"did you mean self.{near[0]}?"
        elif self.inputs is not None:
            hint = "a join begins without artifacts; read inputs[0].x or call self.merge_artifacts(inputs) first"
        else:
            hint = f"there is {', '.join(before)}" if before else "there is nothing yet"
        return MissingArtifact(f"there is no artifact {name!r}: no step before {self.address} has set it; {hint}")

    def parameter(self, parameter: Parameter) -> Any:
        name = parameter.name
        value = self._fixed.get(name, _NOTHING)
        if value is _NOTHING:
            value = self._fixed[name] = self._parameter(parameter)
        return value

    def _parameter(self, parameter: Parameter) -> Any:
        try:
            value = self.run.parameters[parameter.name]
        except KeyError:
            raise ContractError(
                f"run {self.run.prefix} was started without a parameter {parameter.name!r}; the flow has changed "
                f"since, start a new run"
            ) from None
        if not isinstance(parameter, IncludeFile):
            # A copy, so that changing it in place does not change what a second look would give.
            return json.loads(json.dumps(value)) if isinstance(value, (dict, list)) else value
        if value is None:
            return None
        file = value["file"]
        data = self.store.blob(file["blob"], file["size"], f"self.{parameter.attribute}", always=True)
        return bytes(data).decode(parameter.encoding) if parameter.is_text else bytes(data)

    def config(self, config: Config[Any]) -> Any:
        try:
            value = self.run.configs[config.name]
        except KeyError:
            raise ContractError(
                f"run {self.run.prefix} was started without a config {config.name!r}; the flow has changed since, "
                f"start a new run"
            ) from None
        return ConfigValue(value) if isinstance(value, Mapping) and not config.plain else value

    def foreach_item(self) -> Any:
        return self.item_of(self.address)

    def foreach_index(self) -> Optional[int]:
        return self.index_of(self.address)

    def foreach_stack(self) -> list[tuple[int, int, Any]]:
        return [
            (index, self.lineage.width(depth), self._item(self.lineage, depth, index))
            for depth, index in enumerate(self.address.index)
        ]

    def merge(self, flow: FlowSpec, inputs: Sequence[Any], include: Iterable[str], exclude: Iterable[str]) -> None:
        taken = [name for name in flow.__dict__ if name != _CONTEXT]
        self.references.update(merge(self, taken, inputs, include, exclude))
        self._uncover(flow)

    # Asked for by inputs ---------------------------------------------------------------------------------------------

    def index_of(self, address: Address) -> Optional[int]:
        """``self.index`` at an address."""
        return address.index[-1] if address.index else None

    def item_of(self, address: Address) -> Any:
        """``self.input`` at an address: the item of the innermost foreach, or the rank in a gang."""
        if not address.index:
            return None
        lineage = self.lineage if address == self.address else Lineage(self.outline, self.lineage.records, address)
        depth = len(address.index) - 1
        return self._item(lineage, depth, address.index[depth])

    def _item(self, lineage: Lineage, depth: int, index: int) -> Any:
        onward = lineage.opener(depth).next
        if onward is None or onward.kind != "foreach" or onward.items is None:
            return index
        opener = self.outline[lineage.opener(depth).address.step]
        return self.store.load_item(onward.items, index, str(opener.over))

    def fixed(self, name: str, record: Record) -> Any:
        """A parameter, config or plain class attribute as an input shows it; MissingArtifact for anything else."""
        declared = inputs_of(self.flow_class).get(name)
        if isinstance(declared, Parameter):
            return self.parameter(declared)
        if isinstance(declared, Config):
            return self.config(declared)
        if name in constants(self.flow_class):
            return constants(self.flow_class)[name]
        from difflib import get_close_matches

        near = get_close_matches(name, list(record.artifacts), 1)
        there = ", ".join(sorted(record.artifacts)) or "nothing"
        hint = f"did you mean {near[0]}?" if near else f"there is {there}"
        raise MissingArtifact(f"{record.address} has left no artifact {name!r}; {hint}")

    # When the step has run -------------------------------------------------------------------------------------------

    def collect(self, flow: FlowSpec, *, leave_out_bad: bool = False) -> dict[str, Reference]:
        """Store what the step has set and return all its artifacts.

        Parameters
        ----------
        leave_out_bad : bool
            Pass over what does not pickle, where a failure is being recorded already.

        Raises
        ------
        BadArtifact, DatastoreError
        """
        out = dict(self.references)
        values = flow.__dict__
        for name in self._loaded:
            if name not in values:
                del out[name]
        for name, value in values.items():
            if name == _CONTEXT:
                continue
            was = self._loaded.get(name)
            try:
                if was is not None and was[1] is value:
                    out[name] = self.store.resave(name, value, was[0])
                else:
                    out[name] = self.store.save(name, value)
            except BadArtifact:
                if not leave_out_bad:
                    raise
                out.pop(name, None)
        if self.first or self.inputs is not None:
            for name, value in constants(self.flow_class).items():
                if name not in out:
                    try:
                        out[name] = self.store.save(name, value)
                    except BadArtifact:
                        pass  # the class has it anyway, in every step
        return out
