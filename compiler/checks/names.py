"""Rules about what steps are called and how their functions look."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

from ...dsl.declarations import is_step, step
from ...dsl.flow import RESERVED
from ..diagnostics import Diagnostic, did_you_mean, listed
from ..flow_source import StepSource
from ..graph import required_arguments
from ..syntax import called, lookup
from .flow import Flow

LONGEST = 100
"""Characters in the name of a step: with what a target adds, file systems and Kubernetes take no more."""


def step_names(flow: Flow) -> Iterator[Diagnostic]:
    """FC135, FC136: small letters, digits and ``_``, not too long, and none of FlowSpec's own names."""
    for name, item in flow.source.steps.items():
        if name in RESERVED:
            yield Diagnostic(
                "FC136", f"{name!r} is a name of FlowSpec and cannot be a step", item.span, "take another name"
            )
        elif not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            plain = re.sub(r"[^a-z0-9_]", "", name.lower()).lstrip("_0123456789")
            tip = f"call it {plain}" if plain else "begin with a small letter"
            yield Diagnostic("FC135", f"{name!r} cannot be the name of a step", item.span, tip)
        elif len(name) > LONGEST:
            message = f"the name of a step has at most {LONGEST} characters, and this one has {len(name)}"
            yield Diagnostic("FC135", message, item.span, "take a shorter name")


def reserved_attributes(flow: Flow) -> Iterator[Diagnostic]:
    """FC136: neither methods nor class attributes may hide FlowSpec's own names."""
    source = flow.source
    for method in source.methods:
        if method.name in RESERVED and method.name not in source.steps and method.name not in source.inputs:
            span = method.file.name_span(method.node)
            yield Diagnostic(
                "FC136", f"{method.name!r} is a name of FlowSpec and cannot be a method", span, "rename it"
            )
    for name in source.assigned:
        if name in RESERVED and name not in source.inputs:
            message = f"{name!r} is a name of FlowSpec and cannot be an artifact"
            yield Diagnostic("FC136", message, source.input_span(name), "take another name")


def signatures(flow: Flow) -> Iterator[Diagnostic]:
    """FC138: a step takes ``self``, a join ``self`` and its inputs, and is an ordinary function."""
    for item in flow.source.steps.values():
        problem = _signature_problem(item)
        if problem:
            message, tip = problem
            yield Diagnostic("FC138", f"step {item.name!r} {message}", item.span, tip)


def _signature_problem(item: StepSource) -> tuple[str, str] | None:
    node, name = item.method.node, item.name
    forms = f"write def {name}(self) for a step, def {name}(self, inputs) for a join"
    if isinstance(node, ast.AsyncFunctionDef):
        return "is an async function, which flowc does not await", "write def, and asyncio.run(...) inside it"
    if inspect.isgeneratorfunction(inspect.unwrap(item.function)):
        return "is a generator, whose body would never run", "take the yield out"
    arguments = node.args
    needed = required_arguments(item)
    if arguments.vararg or arguments.kwarg:
        return "takes any number of arguments, so it is not clear whether it is a join", forms
    keyword_only = [arg for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults) if default is None]
    if not needed:
        return "takes no argument", forms
    if len(needed) > 2 or keyword_only:
        return f"takes {len(needed) + len(keyword_only)} arguments", forms
    return None


def ends_are_clear(flow: Flow) -> Iterator[Diagnostic]:
    """FC101, FC102, FC103: one step to begin with and one to end with."""
    graph, span = flow.graph, flow.source.span
    for name, found, code in (("start", graph.firsts, "FC101"), ("end", graph.lasts, "FC102")):
        if not found:
            near = did_you_mean(name, graph.nodes)
            tip = near or f"write a step called {name}, or mark one with @step({name}=True)"
            if not graph.nodes:
                tip = "mark the methods that are steps with @step"
            else:
                loose = [node.name for node in graph.nodes.values() if not node.transitions]
                if name == "end" and len(loose) == 1:
                    tip = f"step {loose[0]!r} leads nowhere: call it end, or mark it with @step(end=True)"
            yield Diagnostic(code, f"flow {flow.source.name} has no {name} step", span, tip)
        elif len(found) > 1:
            extra = flow.source.steps[found[1]]
            message = f"{listed([repr(item) for item in found])} are all marked with @step({name}=True)"
            yield Diagnostic("FC103", message, extra.span, "mark one of them only")


def ends_are_no_joins(flow: Flow) -> Iterator[Diagnostic]:
    """FC139: the first step has nothing to join, and the last one stands alone."""
    graph = flow.graph
    for name in dict.fromkeys((graph.first, graph.last)):
        if name is not None and graph.nodes[name].is_join:
            which = "first" if name == graph.first else "last"
            tip = "take one argument, self" if which == "first" else "put a join step before it"
            yield Diagnostic("FC139", f"the {which} step {name!r} cannot be a join", graph.nodes[name].span, tip)


def hidden_steps(flow: Flow) -> Iterator[Diagnostic]:
    """FC143: a decorator above ``@step`` that gives back a bare function hides the step."""
    cls = flow.source.cls
    for method in flow.source.methods:
        marked = any(lookup(called(item), method.names) is step for item in method.node.decorator_list)
        value = vars(method.owner).get(method.name)
        if not marked or is_step(value) or inspect.getattr_static(cls, method.name, None) is not value:
            continue
        above = method.node.decorator_list[0]
        name = ast.unparse(called(above))
        yield Diagnostic(
            "FC143",
            f"the decorator @{name} hides that {method.name!r} is a step",
            method.file.span(above),
            f"put @{name} below @step, or let it use functools.wraps",
        )
