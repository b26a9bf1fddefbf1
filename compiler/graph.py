"""From the calls of ``self.next`` to the graph of a flow."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..dsl.decorators import FRAMEWORKS
from ..dsl.flow import class_artifacts
from ..dsl.parameters import Config, Parameter
from .diagnostics import nearest
from .flow_source import FlowSource, StepSource
from .plan import Branches, End, Foreach, Gang, Leave, Next, Span, Switch
from .scan import Artifacts, NextUse
from .syntax import NotConstant, bound_names, constant

KEYWORDS = ("foreach", "num_parallel", "condition")


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()
"""A value that only a run will know."""


@dataclass(eq=False)
class Target:
    """One step that a call names. ``name`` is None where the expression is not ``self.<name>``."""

    node: ast.expr
    span: Span
    name: str | None
    case: Any = None
    case_span: Span | None = None


@dataclass(eq=False)
class Transition:
    """One call of ``self.next``, read."""

    use: NextUse
    span: Span
    targets: list[Target]
    is_switch: bool = False
    keywords: dict[str, tuple[ast.expr, Span]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    """The constant behind each keyword, `UNKNOWN` where it has none."""
    starred: Span | None = None
    """The place of ``*steps`` or ``**options``, which cannot be read."""
    parameter: Parameter | None = None
    """The flow parameter that gives ``num_parallel``."""


@dataclass(eq=False)
class Node:
    """One step of the graph.

    Attributes
    ----------
    transition : Transition or None
        The call that counts: the first, if there are several.
    leave : Leave or None
        How the step is left; None where the call is missing or makes no sense.
    edges : tuple of str
        The steps that it leads to as far as that can be told, misspelt ones taken for the nearest.
    broken : bool
        Whether ``edges`` may lack some or have wrong ones.
    """

    name: str
    source: StepSource
    position: int
    transitions: list[Transition] = field(default_factory=list)
    transition: Transition | None = None
    leave: Leave | None = None
    edges: tuple[str, ...] = ()
    broken: bool = False
    is_join: bool = False
    frameworks: tuple[str, ...] = ()

    @property
    def span(self) -> Span:
        return self.source.span

    @property
    def keywords(self) -> frozenset[str]:
        """The keywords of ``self.next``."""
        return frozenset(self.transition.keywords) if self.transition else frozenset()

    @property
    def next_span(self) -> Span:
        """The place of ``self.next``, of the step where there is none."""
        return self.transition.span if self.transition else self.source.span


@dataclass(eq=False)
class FlowGraph:
    """All steps of a flow. ``first`` and ``last`` are None where they are not there or not clear."""

    nodes: dict[str, Node]
    first: str | None
    last: str | None
    firsts: tuple[str, ...]
    lasts: tuple[str, ...]
    parents: dict[str, list[str]]

    @property
    def beyond_last(self) -> set[str]:
        """The steps that the last one names although it cannot lead anywhere."""
        transitions = self.nodes[self.last].transitions if self.last else []
        return {target.name for transition in transitions for target in transition.targets if target.name}

    @property
    def gangs(self) -> dict[str, str]:
        """The steps that ``num_parallel`` leads to, each with the step that says so."""
        return {
            target: node.name
            for node in self.nodes.values()
            if "num_parallel" in node.keywords
            for target in node.edges
        }

    def cannot_catch(self, name: str) -> str:
        """Why a step cannot go on after its failure: how it would be left is not known; empty where it can."""
        leave = self.nodes[name].leave
        if name in self.gangs:
            return "is run by a gang"
        if isinstance(leave, (Foreach, Gang)):
            return "splits, and how wide is not known after a failure"
        return "is a switch, and which way it goes is not known after a failure" if isinstance(leave, Switch) else ""


_GANG_LABELS = {spec.label for spec in FRAMEWORKS}


def build_graph(flow: FlowSource, artifacts: Artifacts) -> FlowGraph:
    """Read every ``self.next`` of the flow."""
    firsts, lasts = _ends(flow, "start"), _ends(flow, "end")
    last = lasts[0] if len(lasts) == 1 else None
    plain = class_artifacts(flow.cls)
    nodes: dict[str, Node] = {}
    for position, source in enumerate(flow.steps.values()):
        node = Node(source.name, source, position)
        nodes[source.name] = node
        node.is_join = len(required_arguments(source)) == 2
        node.frameworks = tuple(dict.fromkeys(use.label for use in source.decorators if use.label in _GANG_LABELS))
        uses = artifacts.scan_of(source.method).next_uses
        if uses:
            read = _Reader(flow, source, plain, artifacts)
            node.transitions = [read.transition(use) for use in uses]
            node.transition = node.transitions[0]
    for node in nodes.values():
        _connect(node, nodes, last)
    parents: dict[str, list[str]] = {name: [] for name in nodes}
    for node in nodes.values():
        for target in node.edges:
            parents[target].append(node.name)
    return FlowGraph(nodes, firsts[0] if len(firsts) == 1 else None, last, firsts, lasts, parents)


def required_arguments(source: StepSource) -> list[str]:
    """The arguments that a step must be called with, ``self`` included."""
    arguments = source.method.node.args
    names = [item.arg for item in (*arguments.posonlyargs, *arguments.args)]
    return names[: len(names) - len(arguments.defaults)] if arguments.defaults else names


def _ends(flow: FlowSource, name: str) -> tuple[str, ...]:
    """The steps marked ``@step(start=True)``, else the one named ``start``; of ``end`` likewise."""
    marked = tuple(step.name for step in flow.steps.values() if step.options.get(name) is True)
    return marked or ((name,) if name in flow.steps else ())


class _Reader:
    """Reads the calls of one step."""

    def __init__(self, flow: FlowSource, source: StepSource, plain: Mapping[str, Any], artifacts: Artifacts) -> None:
        self.flow = flow
        self.source = source
        self.method = source.method
        self.plain = plain
        self.artifacts = artifacts
        self._hidden: set[str] | None = None

    def transition(self, use: NextUse) -> Transition:
        file, call = self.method.file, use.node
        out = Transition(use, file.span(call), [])
        for argument in call.args:
            if isinstance(argument, ast.Starred):
                out.starred = file.span(argument)
            elif isinstance(argument, ast.Dict) and len(call.args) == 1:
                out.is_switch = True
                self._cases(argument, out)
            else:
                out.targets.append(self._target(argument))
        for keyword in call.keywords:
            if keyword.arg is None:
                out.starred = file.span(keyword)
                continue
            out.keywords[keyword.arg] = (keyword.value, file.span(keyword))
            out.values[keyword.arg] = self._value(keyword.value)
        size = out.keywords.get("num_parallel")
        if size is not None:
            self._size(size[0], out)
        return out

    def _target(self, node: ast.expr) -> Target:
        return Target(node, self.method.file.span(node), self._own_attribute(node))

    def _own_attribute(self, node: ast.expr) -> str | None:
        """The name behind ``self.<name>``."""
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            return None
        return node.attr if node.value.id == self.method.self_name else None

    def _cases(self, node: ast.Dict, out: Transition) -> None:
        for key, value in zip(node.keys, node.values):
            if key is None:
                out.starred = self.method.file.span(value)
                continue
            target = self._target(value)
            target.case = self._value(key)
            target.case_span = self.method.file.span(key)
            out.targets.append(target)

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if self._hidden is None:
            self._hidden = bound_names(self.method.node)
        try:
            return constant(node, self.method.names, self._hidden)
        except NotConstant:
            return self._config_value(node)

    def _config_value(self, node: ast.expr) -> Any:
        """``self.config.train.nodes``: configs are known when a flow is compiled."""
        path: list[Any] = []
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            if isinstance(node, ast.Attribute):
                if isinstance(node.value, ast.Name) and node.value.id == self.method.self_name:
                    config = self.flow.inputs.get(node.attr)
                    if not isinstance(config, Config) or config.name not in self.flow.configs:
                        return UNKNOWN
                    value = self.flow.configs[config.name]
                    for key in reversed(path):
                        try:
                            value = value[key]
                        except (KeyError, IndexError, TypeError):
                            return UNKNOWN
                    return value
                path.append(node.attr)
            elif isinstance(node.slice, ast.Constant):
                path.append(node.slice.value)
            else:
                return UNKNOWN
            node = node.value
        return UNKNOWN

    def _size(self, node: ast.expr, out: Transition) -> None:
        """``num_parallel=self.workers``: a parameter, or a class attribute that nothing sets anew."""
        name = self._own_attribute(node) or ""
        value = self.flow.inputs.get(name)
        if isinstance(value, Parameter):
            out.parameter = value
        elif name in self.plain and name not in self.artifacts.stored and not self.artifacts.open:
            out.values["num_parallel"] = self.plain[name]


def _connect(node: Node, nodes: Mapping[str, Node], last: str | None) -> None:
    transition = node.transition
    if transition is None:
        if node.name == last:
            node.leave = End()
        else:
            node.broken = True
        return
    if node.name == last:
        # It is told that the last step leads nowhere; what it names is not looked at further.
        node.leave = End()
        return
    edges: list[str] = []
    for each in node.transitions:
        for target in each.targets:
            name = target.name
            if name is not None and name not in nodes:
                name = nearest(name, nodes)
                node.broken = True
            if name is None:
                node.broken = True
            else:
                edges.append(name)
        node.broken = node.broken or each.starred is not None or not each.targets
    node.edges = tuple(dict.fromkeys(edges))
    if len(node.transitions) > 1 or transition.use.place == "inside":
        node.broken = True
    if not node.broken:
        node.leave = _leave(transition)
        node.broken = node.leave is None


def _leave(transition: Transition) -> Leave | None:
    """How the step is left. A wrong value, which the checks tell, does not hide what kind of leave is meant."""
    names = tuple(dict.fromkeys(target.name for target in transition.targets if target.name is not None))
    given = set(transition.keywords)
    if transition.is_switch:
        on = transition.values.get("condition")
        cases = tuple((str(target.case), str(target.name)) for target in transition.targets)
        return Switch(on if isinstance(on, str) else "", cases) if given <= {"condition"} else None
    if not given:
        return Next(names[0]) if len(names) == 1 else Branches(names)
    if len(names) > 1:
        return None
    if given == {"foreach"}:
        over = transition.values["foreach"]
        return Foreach(names[0], over if isinstance(over, str) else "")
    if given == {"num_parallel"}:
        size = transition.values["num_parallel"]
        if transition.parameter is not None:
            return Gang(names[0], parameter=transition.parameter.name)
        return Gang(names[0], size if isinstance(size, int) and not isinstance(size, bool) else None)
    return None
