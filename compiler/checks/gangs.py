"""Rules about gangs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ...dsl.decorators import FRAMEWORKS
from ..diagnostics import Diagnostic, listed
from ..graph import UNKNOWN, Node, Transition
from ..plan import Branches, Foreach, Gang, Next, Span, Switch
from .flow import Flow
from .transitions import transitions

_LABELS = [f"@{spec.label}" for spec in FRAMEWORKS]


def sizes_are_sound(flow: Flow) -> Iterator[Diagnostic]:
    """FC115: ``num_parallel`` is a whole number of 1 or more, as far as that is known before a run."""
    for _, transition in transitions(flow):
        if "num_parallel" not in transition.keywords:
            continue
        expression, span = transition.keywords["num_parallel"]
        if transition.parameter is not None:
            problem = _parameter_problem(flow, transition)
        else:
            value = transition.values["num_parallel"]
            if value is UNKNOWN:
                continue
            shown = (
                repr(value)
                if isinstance(expression, (ast.Constant, ast.UnaryOp))
                else f"{ast.unparse(expression)}, {value!r}"
            )
            if isinstance(value, bool) or not isinstance(value, int):
                problem = f"num_parallel is {shown}, not a whole number"
            else:
                problem = f"num_parallel is {shown}, which starts no task" if value <= 0 else ""
        if problem:
            yield Diagnostic("FC115", problem, span, "give the number of tasks, 1 or more")


def _parameter_problem(flow: Flow, transition: Transition) -> str:
    assert transition.parameter is not None
    name = transition.parameter.name
    parameter = next((item for item in flow.parameters if item.name == name), None)
    if parameter is None:
        return ""
    if parameter.type != "int" and not (parameter.computed and transition.parameter.type is None):
        return f"num_parallel is parameter {name!r}, which is of type {parameter.type}, not int"
    if isinstance(parameter.default, int) and parameter.default <= 0:
        return f"num_parallel is parameter {name!r}, whose default {parameter.default} starts no task"
    return ""


def gangs_are_declared(flow: Flow) -> Iterator[Diagnostic]:
    """FC116: a step that ``num_parallel`` leads to says what kind of gang it is."""
    for node, transition in transitions(flow):
        if "num_parallel" not in transition.keywords or len(transition.targets) != 1:
            continue
        target = transition.targets[0]
        found = flow.graph.nodes.get(target.name or "")
        if found is not None and not found.frameworks and found is not node:
            message = f"step {found.name!r} is started by num_parallel but has no gang decorator"
            tip = f"put @parallel on def {found.name}, or one of {listed(_LABELS[1:], 'or')}"
            yield Diagnostic("FC116", message, target.span, tip)


def gangs_are_started(flow: Flow) -> Iterator[Diagnostic]:
    """FC117: a gang decorator is of use only on a step that ``num_parallel`` leads to."""
    graph = flow.graph
    gangs = graph.gangs
    unclear = any(
        "num_parallel" in transition.keywords
        and (transition.starred or any(t.name is None for t in transition.targets))
        for _, transition in transitions(flow)
    )
    for node in graph.nodes.values():
        if not node.frameworks or node.name in gangs or unclear:
            continue
        use = next(use for use in node.source.decorators if use.label == node.frameworks[0])
        parents = graph.parents[node.name]
        tip = f"lead to it with self.next(self.{node.name}, num_parallel=...)"
        if len(parents) == 1:
            tip += f" in step {parents[0]!r}"
        message = f"@{use.label} on step {node.name!r}, which no num_parallel leads to"
        yield Diagnostic("FC117", message, use.span, tip)


def gangs_are_joined(flow: Flow) -> Iterator[Diagnostic]:
    """FC118, FC119: what follows a gang is its join."""
    graph = flow.graph
    for name in graph.gangs:
        node = graph.nodes[name]
        if node.name == graph.last:
            if node.transition is None and not node.is_join:
                tip = "let it lead to a join step, def join(self, inputs)"
                yield Diagnostic(
                    "FC118", f"the gang step {name!r} is the last one, so nothing joins it", node.span, tip
                )
        elif isinstance(node.leave, Next):
            following = graph.nodes[node.leave.to]
            if not following.is_join:
                message = f"the gang step {name!r} leads to {following.name!r}, which is not a join"
                tip = f"write def {following.name}(self, inputs), or put a join step between"
                yield Diagnostic("FC118", message, _target_span(node), tip)
        elif isinstance(node.leave, (Branches, Foreach, Gang, Switch)):
            what = "chooses its way" if isinstance(node.leave, Switch) else "splits again"
            message = f"the gang step {name!r} {what}, which each of its ranks would do on its own"
            yield Diagnostic("FC119", message, node.next_span, "lead to a join first, and let the join do it")


def _target_span(node: Node) -> Span:
    assert node.transition is not None
    return node.transition.targets[0].span
