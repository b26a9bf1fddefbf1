"""``merge_artifacts``: carrying over what the branches of a join agree on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..dsl.errors import BadTransition, MergeConflict, MissingArtifact
from .inputs import Input, Inputs
from .record import Record

if TYPE_CHECKING:
    from .context import StepContext

Found = dict[str, tuple[Mapping[str, Any], Record]]


def merge(
    context: StepContext, taken: Iterable[str], inputs: Sequence[Any], include: Iterable[str], exclude: Iterable[str]
) -> dict[str, Mapping[str, Any]]:
    """The references that all inputs which have them agree on.

    Parameters
    ----------
    taken : iterable of str
        What the step has set itself; it is left alone, whatever the inputs hold.

    Raises
    ------
    MergeConflict
        Naming every artifact for which two inputs differ, with both values and the tasks that they come from.
    MissingArtifact
        If a name in ``include`` is in no input.
    BadTransition
        If this is no join, or ``inputs`` are not the inputs of one.
    """
    if context.step.joins is None:
        raise BadTransition(f"merge_artifacts was called in step {context.step.name}, which joins nothing")
    left = {*taken, *exclude}
    wanted = frozenset(include)
    found: Found = {}
    conflicts: dict[str, tuple[Mapping[str, Any], Record]] = {}
    for record in _records(inputs):
        for name, reference in record.artifacts.items():
            if name in left or (wanted and name not in wanted):
                continue
            first = found.setdefault(name, (reference, record))
            if first[0] is reference or name in conflicts:
                continue
            if not context.store.equal(first[0], reference, name):
                conflicts[name] = reference, record
    if conflicts:
        raise MergeConflict(_conflict(context, found, conflicts))
    missing = sorted(wanted - found.keys() - left)
    if missing:
        raise MissingArtifact(f"merge_artifacts(include=...): no input has {', '.join(missing)}")
    return {name: reference for name, (reference, _) in found.items()}


def _records(inputs: Sequence[Any]) -> Iterable[Record]:
    if isinstance(inputs, Inputs):
        return (inputs.record(i) for i in range(len(inputs)))
    records = []
    for item in inputs:
        if not isinstance(item, Input):
            raise BadTransition(f"merge_artifacts takes the inputs of the join, not {type(item).__name__}")
        records.append(item._flowc_record)
    return records


def _conflict(context: StepContext, found: Found, conflicts: Found) -> str:
    lines = ["merge_artifacts: the branches disagree; set each of these in the join before merging, or exclude it:"]
    for name, (reference, record) in sorted(conflicts.items()):
        first_reference, first_record = found[name]
        first, second = _short(context, first_reference, name), _short(context, reference, name)
        lines.append(f"  {name}: {first} in {first_record.address}, {second} in {record.address}")
    return "\n".join(lines)


def _short(context: StepContext, reference: Mapping[str, Any], name: str) -> str:
    if reference["size"] > 1024 * 1024:
        return f"a {reference['type']} of {reference['size']} bytes"
    try:
        text = repr(context.store.load(reference, name))
    except Exception:  # only for a message; the author's __repr__ and a damaged blob alike
        return f"a {reference['type']}"
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."
