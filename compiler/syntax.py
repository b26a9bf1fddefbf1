"""The flow's sources as syntax trees: one parse a file, and the way from a class or method to its node."""

from __future__ import annotations

import ast
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Union

from ..dsl.missing_modules import StandIn
from .diagnostics import Sources, source_text
from .plan import Span

FunctionNode = Union[ast.FunctionDef, ast.AsyncFunctionDef]


class File:
    """One parsed file. ``name`` is the one that spans use."""

    def __init__(self, path: str, name: str, data: bytes) -> None:
        self.path = path
        self.name = name
        self.data = data
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # importing the file has warned already
            self.tree = ast.parse(data, path)
        self._lines: list[bytes] | None = None

    def span(self, node: ast.AST) -> Span:
        """The place of a node."""
        line: int = node.lineno  # type: ignore[attr-defined]
        end = getattr(node, "end_lineno", None)
        end_offset = getattr(node, "end_col_offset", None)
        return Span(
            self.name,
            line,
            self._column(line, node.col_offset),  # type: ignore[attr-defined]
            end,
            None if end is None or end_offset is None else self._column(end, end_offset),
        )

    def name_span(self, node: FunctionNode | ast.ClassDef) -> Span:
        """The place of the name that a ``def`` or ``class`` statement gives."""
        lines = self.lines()
        text = lines[node.lineno - 1] if node.lineno <= len(lines) else b""
        at = text.find(node.name.encode(), node.col_offset + 4)
        if at < 0:
            return Span(self.name, node.lineno, node.col_offset + 1)
        column = self._column(node.lineno, at)
        return Span(self.name, node.lineno, column, node.lineno, column + len(node.name))

    def lines(self) -> list[bytes]:
        if self._lines is None:
            # As Python counts them: a form feed or a line separator does not end a line.
            self._lines = source_text(self.data).encode().split(b"\n")
        return self._lines

    def _column(self, line: int, offset: int) -> int:
        # The tree counts UTF-8 bytes, people and editors count characters.
        lines = self.lines()
        text = lines[line - 1] if line <= len(lines) else b""
        return (offset if text.isascii() else len(text[:offset].decode("utf-8", "replace"))) + 1


class Files:
    """Every file of a flow that had to be read, parsed once."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._files: dict[str, File | None] = {}

    def __iter__(self) -> Iterator[File]:
        return (file for file in self._files.values() if file is not None)

    def parse(self, path: str) -> File | None:
        """The parsed file; None where it cannot be read.

        Raises
        ------
        SyntaxError, ValueError
            If it is not Python.
        """
        path = os.path.abspath(path)
        if path not in self._files:
            try:
                with open(path, "rb") as source:
                    data = source.read()
            except OSError:
                self._files[path] = None
            else:
                self._files[path] = File(path, self.sources.name(path), data)
        return self._files[path]

    def of_class(self, cls: type) -> tuple[File, ast.ClassDef] | None:
        """The file and node of a class; None where its source is not to be had."""
        path = getattr(sys.modules.get(cls.__module__), "__file__", None)
        if not path or not path.endswith(".py"):
            return None
        try:
            file = self.parse(path)
        except (SyntaxError, ValueError):
            return None
        if file is None:
            return None
        nodes = list(_classes(file.tree.body, cls.__qualname__.split(".")))
        if len(nodes) > 1:
            # Defined more than once under conditions: the one whose lines hold the class's own functions.
            lines = {
                code.co_firstlineno
                for value in vars(cls).values()
                if (code := getattr(value, "__code__", None)) is not None
            }
            held = [node for node in nodes if any(node.lineno <= n <= (node.end_lineno or n) for n in lines)]
            nodes = held or nodes
        return (file, nodes[-1]) if nodes else None


def _classes(body: list[ast.stmt], path: list[str]) -> Iterator[ast.ClassDef]:
    """The classes of a qualified name, also inside ``if`` and ``try`` statements and functions."""
    for statement in statements(body):
        if isinstance(statement, ast.ClassDef) and statement.name == path[0]:
            if len(path) == 1:
                yield statement
            else:
                yield from _classes(statement.body, path[1:])
        elif isinstance(statement, ast.FunctionDef) and path[:2] == [statement.name, "<locals>"]:
            yield from _classes(statement.body, path[2:])


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Every statement of a body and of the compound statements in it, without those of functions and classes in it."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for name in ("body", "orelse", "finalbody"):
            yield from statements(getattr(statement, name, []))
        for handler in getattr(statement, "handlers", ()):
            yield from statements(handler.body)
        for case in getattr(statement, "cases", ()):
            yield from statements(case.body)


def bound_names(node: FunctionNode) -> set[str]:
    """The names that are local to a function."""
    arguments = node.args
    names = {item.arg for item in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    names.update(item.arg for item in (arguments.vararg, arguments.kwarg) if item is not None)
    outside: set[str] = set()
    for item in ast.walk(node):
        if isinstance(item, ast.Name) and not isinstance(item.ctx, ast.Load):
            names.add(item.id)
        elif isinstance(item, (ast.Global, ast.Nonlocal)):
            outside.update(item.names)
        elif isinstance(item, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in item.names)
        elif isinstance(item, (ast.FunctionDef, ast.ClassDef)) and item is not node:
            names.add(item.name)
    return names - outside


class NotConstant(Exception):
    """An expression whose value is known only at run time."""


_ARITHMETIC: dict[type[ast.operator], Any] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Div: lambda a, b: a / b,
    ast.Mod: lambda a, b: a % b,
}


def constant(node: ast.expr, names: Mapping[str, Any], hidden: set[str] | frozenset[str] = frozenset()) -> Any:
    """The value of an expression of literals, module constants and arithmetic on them.

    Parameters
    ----------
    names : mapping
        The module's names.
    hidden : set of str
        Names that mean something else here: the function's own variables.

    Raises
    ------
    NotConstant
        If the value cannot be known without running the flow.
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id not in hidden and node.id in names:
        value = names[node.id]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
    elif isinstance(node, ast.Attribute):
        value = _member(node, names, hidden)
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = constant(node.operand, names, hidden)
        if isinstance(value, (int, float)):
            return -value if isinstance(node.op, ast.USub) else value
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = constant(node.left, names, hidden), constant(node.right, names, hidden)
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            try:
                return _ARITHMETIC[type(node.op)](left, right)
            except ArithmeticError:
                raise NotConstant from None
    raise NotConstant


def _member(node: ast.Attribute, names: Mapping[str, Any], hidden: set[str] | frozenset[str]) -> Any:
    """``settings.WORKERS``, where ``settings`` is a module."""
    if isinstance(node.value, ast.Name) and node.value.id not in hidden:
        module = names.get(node.value.id)
        if isinstance(module, type(sys)) and node.attr in vars(module):
            return vars(module)[node.attr]
    raise NotConstant


def lookup(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """What ``name`` or ``module.name`` stands for in a module; None where that cannot be said."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = lookup(node.value, names)
        if isinstance(owner, (type(sys), StandIn)):
            try:
                return getattr(owner, node.attr)
            except AttributeError:
                return None
    return None


def called(node: ast.expr) -> ast.expr:
    """A decorator without its parentheses."""
    return node.func if isinstance(node, ast.Call) else node
