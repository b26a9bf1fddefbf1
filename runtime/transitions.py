"""What a step's ``self.next`` means for its record, and whether it is what the flow was planned with."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Optional

from ..dsl import FlowSpec
from ..dsl.errors import BadTransition, MissingArtifact
from ..dsl.flow import Transition
from .address import Address
from .artifacts import ArtifactStore
from .outline import Outline, StepOutline
from .record import Next


def resolve(
    flow: FlowSpec,
    transition: Optional[Transition],
    outline: Outline,
    address: Address,
    store: ArtifactStore,
    parameters: Mapping[str, Any],
) -> Next:
    """Where a step that has run leads.

    Raises
    ------
    BadTransition
        If ``self.next`` is missing, or is not what the flow was planned with, or its variable cannot be used.
    BadArtifact, DatastoreError
        If the items of a foreach cannot be stored.
    """
    step = outline[address.step]
    _check(step, transition)
    if transition is None:
        return Next("end")
    round = outline.child_round(step.name, address.round, step.targets[0])
    kind = step.leave_kind
    if kind == "foreach":
        values = _items(flow, step)
        items = store.save_items(str(step.over), values) if values else None
        return Next(kind, step.targets, len(values), round, items)
    if kind == "gang":
        return Next(kind, step.targets, _size(step, transition.num_parallel, parameters), round)
    if kind == "switch":
        case, target = _case(flow, step, transition)
        return Next(kind, (target,), None, outline.child_round(step.name, address.round, target), None, case)
    return Next(kind, step.targets, None, round)


def planned(outline: Outline, address: Address) -> Next:
    """Where a step leads that could not say so itself, because it failed and was caught.

    Raises
    ------
    BadTransition
        If only the step itself could have said so.
    """
    step = outline[address.step]
    if step.leave_kind == "end":
        return Next("end")
    if step.leave_kind not in ("next", "branches"):
        raise BadTransition(
            f"step {step.name} failed, and where a {step.leave_kind} goes on only the step could have said"
        )
    round = outline.child_round(step.name, address.round, step.targets[0])
    return Next(step.leave_kind, step.targets, None, round)


def _check(step: StepOutline, transition: Optional[Transition]) -> None:
    if step.leave_kind == "end":
        if transition is not None:
            raise BadTransition(f"step {step.name} is the last one of the flow and cannot call self.next")
        return
    if transition is None:
        raise BadTransition(f"step {step.name} ended without self.next; its last statement must be {_expected(step)}")
    actual = _kind(transition)
    same = actual == step.leave_kind and tuple(dict.fromkeys(transition.targets)) == step.targets
    if same and actual == "foreach":
        same = transition.foreach == step.over
    if same and actual == "switch":
        same = transition.condition == step.on
    if not same:
        raise _other(step, transition)


def _other(step: StepOutline, transition: Transition) -> BadTransition:
    return BadTransition(
        f"step {step.name} went on with {_written(transition)}, but the flow was planned with {_expected(step)}; "
        f"self.next must be the same each time, so let a switch choose: self.next({{...}}, condition=...)"
    )


def _kind(transition: Transition) -> str:
    if transition.cases or transition.condition is not None:
        return "switch"
    if transition.foreach is not None:
        return "foreach"
    if transition.num_parallel is not None:
        return "gang"
    return "next" if len(transition.targets) == 1 else "branches"


def _expected(step: StepOutline) -> str:
    targets = ", ".join(f"self.{name}" for name in step.targets)
    if step.leave_kind == "foreach":
        return f"self.next({targets}, foreach={step.over!r})"
    if step.leave_kind == "gang":
        return f"self.next({targets}, num_parallel={step.size or step.size_parameter or '...'})"
    if step.leave_kind == "switch":
        cases = ", ".join(f"{case!r}: self.{name}" for case, name in step.cases)
        return f"self.next({{{cases}}}, condition={step.on!r})"
    return f"self.next({targets})"


def _written(transition: Transition) -> str:
    parts = [f"self.{name}" for name in transition.targets]
    if transition.cases:
        parts = ["{" + ", ".join(f"{case!r}: self.{name}" for case, name in transition.cases) + "}"]
    for name in ("foreach", "num_parallel", "condition"):
        value = getattr(transition, name)
        if value is not None:
            parts.append(f"{name}={value!r}")
    return f"self.next({', '.join(parts)})"


def _variable(flow: FlowSpec, step: StepOutline, name: Optional[str], use: str) -> Any:
    try:
        return getattr(flow, str(name))
    except MissingArtifact as error:
        raise BadTransition(f"self.next({use}={name!r}) in step {step.name}: {error}") from error


def _items(flow: FlowSpec, step: StepOutline) -> list[Any]:
    value = _variable(flow, step, step.over, "foreach")
    how = f"self.next(foreach={step.over!r}) in step {step.name}: self.{step.over} is"
    if value is None:
        raise BadTransition(f"{how} None; foreach needs a list, and an empty one if there is nothing to do")
    if hasattr(value, "__next__"):
        raise BadTransition(
            f"{how} an iterator, {type(value).__name__}, which can be read only once; make it a list: list(...)"
        )
    try:
        return list(value)
    except TypeError:
        hint = f"; for that many tasks write list(range({value}))" if type(value) is int else ""
        raise BadTransition(
            f"{how} of type {type(value).__name__}, not something to go through; foreach needs a list{hint}"
        ) from None


def _size(step: StepOutline, value: Any, parameters: Mapping[str, Any]) -> int:
    how = f"self.next(num_parallel=...) in step {step.name}"
    try:
        if isinstance(value, bool):
            raise TypeError
        size = operator.index(value)
    except TypeError:
        raise BadTransition(
            f"{how}: {value!r} is of type {type(value).__name__}; a gang needs a whole number of ranks"
        ) from None
    if size < 1:
        raise BadTransition(f"{how}: a gang of {size} is not possible; it needs at least 1 rank")
    planned = step.size
    if planned is None and step.size_parameter is not None:
        planned = parameters.get(step.size_parameter)
    if planned is not None and size != planned:
        raise BadTransition(f"{how}: the step asks for {size} ranks, but the flow was planned with {planned}")
    return size


def _case(flow: FlowSpec, step: StepOutline, transition: Transition) -> tuple[str, str]:
    value = _variable(flow, step, step.on, "condition")
    cases = dict(step.cases)
    for case, target in transition.cases:
        # As a dictionary would find it, so that 1 finds 1.0; by its text otherwise, as targets without Python do.
        if _equal(case, value):
            if cases.get(str(case)) != target:
                raise _other(step, transition)
            return str(case), target
    text = str(value)
    if text in cases:
        return text, cases[text]
    known = ", ".join(map(repr, cases))
    raise BadTransition(
        f"self.next(condition={step.on!r}) in step {step.name}: self.{step.on} is {value!r}; the cases are {known}"
    )


def _equal(case: Any, value: Any) -> bool:
    try:
        return bool(case == value)
    except Exception:  # an array, or whatever else has an equality of its own
        return False
