"""Rules about switches."""

from __future__ import annotations

from collections.abc import Iterator

from ..diagnostics import Diagnostic, did_you_mean
from ..graph import UNKNOWN
from .flow import Flow
from .transitions import _not_a_name, settable, suggestions, transitions


def cases_are_sound(flow: Flow) -> Iterator[Diagnostic]:
    """FC120, FC123: at least two cases, each a constant of its own."""
    for _, transition in transitions(flow):
        if not transition.is_switch:
            continue
        if len(transition.targets) < 2 and not transition.starred:
            message = f"a switch needs at least two cases, and this has {len(transition.targets) or 'none'}"
            yield Diagnostic("FC120", message, transition.span, "add a case, or write self.next(self.<step>)")
        seen: set[str] = set()
        for target in transition.targets:
            if target.case is UNKNOWN or not (target.case is None or isinstance(target.case, (bool, int, float, str))):
                message = "a case must be a constant, so that the flow's ways are known before it runs"
                yield Diagnostic(
                    "FC123", message, target.case_span, "write text or a number, or a constant of the module"
                )
            elif str(target.case) in seen:
                message = f"the case {target.case!r} is there twice (cases are compared as text)"
                yield Diagnostic("FC123", message, target.case_span, "delete one of the two")
            else:
                seen.add(str(target.case))


def condition_names_an_artifact(flow: Flow) -> Iterator[Diagnostic]:
    """FC121, FC122: a switch says which artifact decides, and the flow sets it."""
    known: set[str] | None = None
    for _, transition in transitions(flow):
        if not transition.is_switch:
            continue
        if "condition" not in transition.keywords:
            if not set(transition.keywords) & {"foreach", "num_parallel"}:
                message = "the switch does not say which artifact decides"
                tip = 'add condition="<artifact>"'
                wrong = next(iter(transition.keywords), None)
                if wrong is None or not did_you_mean(wrong, ["condition"]):
                    yield Diagnostic("FC121", message, transition.span, tip)
            continue
        expression, span = transition.keywords["condition"]
        value = transition.values["condition"]
        if not isinstance(value, str) or not value.isidentifier():
            yield _not_a_name("FC121", "condition", expression, value, span)
            continue
        known = settable(flow) if known is None else known
        if value not in known and not flow.artifacts.open:
            tip = did_you_mean(value, suggestions(flow)) or f"set self.{value} in the step"
            yield Diagnostic("FC122", f"nothing in the flow sets self.{value}", span, tip)
