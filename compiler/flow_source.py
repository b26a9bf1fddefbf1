"""A flow class with the places of everything that diagnostics may point at."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..dsl.declarations import (
    DECLARED,
    Declared,
    Decorator,
    Specification,
    declared_on,
    is_step,
    step,
    step_options,
)
from ..dsl.flow import FlowSpec, inputs_of, steps_of
from ..dsl.loading import LoadedFile
from ..dsl.missing_modules import StandIn, stands_in
from .diagnostics import Diagnostic, Sources
from .plan import Span
from .syntax import File, Files, FunctionNode, called, lookup, statements


@dataclass(eq=False)
class DecoratorUse:
    """One decorator of a step or flow with its place. ``options`` has the place of each option that was written."""

    declared: Declared
    span: Span | None
    options: Mapping[str, Span] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.declared.spec.label

    def place(self, option: str) -> Span | None:
        """The place of an option, or of the whole decorator."""
        return self.options.get(option, self.span)


@dataclass(eq=False)
class Method:
    """A function in the body of one of the flow's classes."""

    name: str
    node: FunctionNode
    file: File
    owner: type

    @property
    def names(self) -> Mapping[str, Any]:
        """The names of the module that it was written in."""
        return vars(sys.modules[self.owner.__module__])

    @property
    def self_name(self) -> str:
        """What it calls ``self``; empty where it takes no argument."""
        arguments = [*self.node.args.posonlyargs, *self.node.args.args]
        return arguments[0].arg if arguments else ""


@dataclass(eq=False)
class StepSource:
    """A step of the flow: its function, its node and its decorators."""

    name: str
    function: Callable[..., Any]
    method: Method
    span: Span
    options: Mapping[str, Any]
    decorators: list[DecoratorUse]
    foreign: bool
    """Whether a decorator that is not flowc's stands on it."""
    lost: list[tuple[str, Span]] = field(default_factory=list)
    """Decorators of flowc's in the source that did not come through the ones above them."""


@dataclass(eq=False)
class FlowSource:
    """A flow class and its sources.

    Attributes
    ----------
    methods : list of Method
        Every function of every class of the flow, also those that a derived class overrides.
    opaque : bool
        Whether the source of some class could not be read, so that nothing can be said about what it sets.
    inputs : mapping
        Parameters and configs by attribute, with their places.
    assigned : mapping
        The statement that gives each class attribute its value, by attribute.
    """

    cls: type[FlowSpec]
    file: str
    folder: str
    files: Files
    span: Span | None = None
    steps: dict[str, StepSource] = field(default_factory=dict)
    methods: list[Method] = field(default_factory=list)
    opaque: bool = False
    inputs: dict[str, Any] = field(default_factory=dict)
    assigned: dict[str, tuple[File, ast.stmt, ast.expr | None]] = field(default_factory=dict)
    decorators: list[DecoratorUse] = field(default_factory=list)
    configs: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.cls.__name__

    def input_span(self, attribute: str, option: str | None = None) -> Span | None:
        """The place of a class attribute, or of one keyword of the call that makes it."""
        if attribute not in self.assigned:
            return self.span
        file, statement, value = self.assigned[attribute]
        if option is not None and isinstance(value, ast.Call):
            for keyword in value.keywords:
                if keyword.arg == option:
                    return file.span(keyword)
        return file.span(statement)


def read_flow(cls: type[FlowSpec], loaded: LoadedFile, sources: Sources, found: list[Diagnostic]) -> FlowSource:
    """The sources of a flow class: its steps, methods, inputs and decorators with their places."""
    flow = FlowSource(cls, loaded.file, loaded.folder, Files(sources))
    defined: dict[tuple[type, str], list[Method]] = {}
    for base in reversed(cls.__mro__):
        if base in (object, FlowSpec):
            continue
        if base.__module__.partition(".")[0] in sys.stdlib_module_names:
            continue  # typing.Generic, abc.ABC: nothing of a flow is in there, and they are long
        if stands_in(base):
            flow.opaque = True
            continue
        place = flow.files.of_class(base)
        if place is None:
            flow.opaque = True
            continue
        file, node = place
        if base is cls:
            flow.span = file.name_span(node)
        names = vars(sys.modules[base.__module__])
        if any(isinstance(lookup(item, names), StandIn) for item in node.bases):
            flow.opaque = True  # derived from a class of a module that is not installed here
        for statement in statements(node.body):
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                method = Method(statement.name, statement, file, base)
                flow.methods.append(method)
                defined.setdefault((base, statement.name), []).append(method)
                flow.assigned.pop(statement.name, None)
            elif isinstance(statement, ast.Assign):
                for target in statement.targets:
                    for item in target.elts if isinstance(target, ast.Tuple) else [target]:
                        if isinstance(item, ast.Name):
                            flow.assigned[item.id] = (file, statement, statement.value)
            elif isinstance(statement, ast.AnnAssign) and statement.value and isinstance(statement.target, ast.Name):
                flow.assigned[statement.target.id] = (file, statement, statement.value)
    _report_doubles(flow, defined, found)
    for name, function in steps_of(cls).items():
        owner = next(base for base in cls.__mro__ if vars(base).get(name) is function)
        found_method = _method(flow, defined, owner, name, function)
        if found_method is None:
            found.append(
                Diagnostic(
                    "FC009",
                    f"the source of step {name!r} is not to be found",
                    flow.span or Span(sources.name(loaded.file), 1),
                    "write the step as a `def` in the body of the class, in a .py file",
                )
            )
            continue
        flow.steps[name] = _step_source(name, function, found_method)
    flow.inputs = inputs_of(cls)
    flow.decorators = _flow_decorators(cls, flow.files)
    return flow


def _report_doubles(
    flow: FlowSource, defined: Mapping[tuple[type, str], list[Method]], found: list[Diagnostic]
) -> None:
    for methods in defined.values():
        top = [method for method in methods if _marks_step(method)]
        for method in top[1:]:
            if all(other.node.col_offset == method.node.col_offset for other in top):
                first = top[0].file.span(top[0].node)
                found.append(
                    Diagnostic(
                        "FC137",
                        f"step {method.name!r} is defined twice; the one in line {first.line} is lost",
                        method.file.name_span(method.node),
                        "give one of the two another name, or delete it",
                    )
                )


def _marks_step(method: Method) -> bool:
    return any(lookup(called(item), method.names) is step for item in method.node.decorator_list)


def _method(
    flow: FlowSource,
    defined: Mapping[tuple[type, str], list[Method]],
    owner: type,
    name: str,
    function: Callable[..., Any],
) -> Method | None:
    methods = defined.get((owner, name), [])
    inner = function
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    code = getattr(inner, "__code__", None)
    if len(methods) > 1 and code is not None:
        for method in methods:
            if _first_line(method.node) <= code.co_firstlineno <= method.node.lineno:
                return method
    if methods:
        return methods[-1]
    # Made elsewhere and put into the class: `train = make_step(...)`.
    if code is None or not os.path.isfile(code.co_filename):
        return None
    file = flow.files.parse(code.co_filename)
    for node in ast.walk(file.tree) if file else ():
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.name != code.co_name:
            continue
        if _first_line(node) <= code.co_firstlineno <= node.lineno:
            assert file is not None
            method = Method(name, node, file, owner)
            flow.methods.append(method)
            return method
    return None


def _first_line(node: FunctionNode) -> int:
    return min([node.lineno, *(item.lineno for item in node.decorator_list)])


def _step_source(name: str, function: Callable[..., Any], method: Method) -> StepSource:
    uses, foreign, lost = _uses(declared_on(function), method.node.decorator_list, method.file, method.names)
    span = method.file.name_span(method.node)
    for use in uses:
        use.span = use.span or span
    return StepSource(name, function, method, span, step_options(function), uses, foreign, lost)


def _uses(
    declared: list[Declared], nodes: list[ast.expr], file: File, names: Mapping[str, Any]
) -> tuple[list[DecoratorUse], bool, list[tuple[str, Span]]]:
    """Match what was declared with the decorators in the source, both outermost first; also what was lost between."""
    specs = [(node, specification(lookup(called(node), names))) for node in nodes]
    foreign = [node for node, spec in specs if spec is None and lookup(called(node), names) is not step]
    uses: list[DecoratorUse] = []
    at = 0
    unmatched = {position for position, (_, spec) in enumerate(specs) if spec is not None}
    for item in declared:
        match = next((i for i in range(at, len(specs)) if specs[i][1] is item.spec), None)
        if match is None:
            # Given by a decorator of the author's own that applies flowc's.
            uses.append(DecoratorUse(item, file.span(foreign[0]) if foreign else None))
            continue
        node, at = specs[match][0], match + 1
        unmatched.discard(match)
        options = (
            {keyword.arg: file.span(keyword) for keyword in node.keywords if keyword.arg}
            if isinstance(node, ast.Call)
            else {}
        )
        uses.append(DecoratorUse(item, file.span(node), options))
    lost = [(spec.label, file.span(node)) for at, (node, spec) in enumerate(specs) if spec and at in unmatched]
    return uses, bool(foreign), lost


def specification(value: Any) -> type[Specification] | None:
    """The specification behind a decorator, also behind one kept in a variable: ``often = retry(times=9)``."""
    if isinstance(value, Decorator):
        return value.spec
    for cell in getattr(value, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:
            continue
        if isinstance(content, Declared):
            return content.spec
    return None


def _flow_decorators(cls: type, files: Files) -> list[DecoratorUse]:
    """Those of the class, then those of its bases unless a class nearer to the flow has the same."""
    uses: list[DecoratorUse] = []
    for base in cls.__mro__:
        declared = declared_on(base)
        if not declared:
            continue
        place = files.of_class(base)
        if place is None:
            own = [DecoratorUse(item, None) for item in declared]
        else:
            file, node = place
            own, _, _ = _uses(declared, node.decorator_list, file, vars(sys.modules[base.__module__]))
            for use in own:
                use.span = use.span or file.name_span(node)
        nearer = {use.label for use in uses if not use.declared.spec.repeatable}
        uses.extend(use for use in own if use.label not in nearer)
    return uses


def stray_declarations(cls: type) -> dict[str, Any]:
    """Class attributes that carry a decorator of flowc's without being steps."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            declares = not is_step(value) and DECLARED in getattr(value, "__dict__", {})
            found.pop(name, None)
            if declares and not isinstance(value, type):
                found[name] = value
    return found
