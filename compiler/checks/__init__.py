"""The rules of a flow, one function each. All of them are asked, always: a flow's author sees everything at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..diagnostics import Diagnostic
from . import artifacts, decorators, gangs, names, splits, switches, transitions
from .flow import Flow

Rule = Callable[[Flow], Iterator[Diagnostic]]

RULES: tuple[Rule, ...] = (
    names.step_names,
    names.reserved_attributes,
    names.signatures,
    names.ends_are_clear,
    names.ends_are_no_joins,
    names.hidden_steps,
    transitions.next_is_there,
    transitions.next_is_called_once,
    transitions.targets_are_steps,
    transitions.keywords_are_known,
    transitions.keywords_go_together,
    transitions.last_step_leads_nowhere,
    transitions.foreach_names_an_artifact,
    switches.cases_are_sound,
    switches.condition_names_an_artifact,
    gangs.sizes_are_sound,
    gangs.gangs_are_declared,
    gangs.gangs_are_started,
    gangs.gangs_are_joined,
    splits.every_step_is_reached,
    splits.cycles_can_be_left,
    splits.splits_and_joins_balance,
    decorators.placed_right,
    decorators.not_repeated,
    decorators.not_in_conflict,
    decorators.needs_agree,
    decorators.not_lost,
    decorators.catch_knows_the_way_on,
    decorators.step_options_are_known,
    artifacts.assignments_are_allowed,
    artifacts.catch_variables_are_free,
)
"""Every rule, in no order that matters: diagnostics are sorted by place."""


def run_checks(flow: Flow) -> Iterator[Diagnostic]:
    """Ask every rule."""
    for rule in RULES:
        yield from rule(flow)
