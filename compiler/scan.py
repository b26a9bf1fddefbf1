"""What the functions of a flow do with ``self``: which artifacts they set and where they call ``self.next``."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..dsl.declarations import step
from .flow_source import FlowSource, Method, specification
from .syntax import called, lookup

Place = Literal["last", "early", "inside"]

_BLOCKS = {
    ast.If: "if", ast.For: "for", ast.AsyncFor: "for", ast.While: "while", ast.Try: "try", ast.With: "with",
    ast.AsyncWith: "with", ast.FunctionDef: "def", ast.AsyncFunctionDef: "def", ast.Lambda: "lambda",
    ast.ClassDef: "class", ast.IfExp: "if", ast.BoolOp: "and/or", ast.ListComp: "for", ast.GeneratorExp: "for",
}  # fmt: skip
for _name in ("TryStar", "Match"):
    if hasattr(ast, _name):
        _BLOCKS[getattr(ast, _name)] = "try" if _name == "TryStar" else "match"

_CHANGING = frozenset(("environ", "putenv", "subprocess", "system", "popen", "Popen", "check_call", "check_output"))
"""Names with which a step may change what programs it finds."""
_PASSING_OVER = frozenset(("suppress", "raises"))
"""Names of context managers after which an error is none."""

# They look at an object and leave it as it is.
_HARMLESS = frozenset(
    "getattr hasattr delattr isinstance issubclass type id repr str print super hash".split()  # noqa: SIM905
)
_PLAIN = frozenset(
    """property staticmethod classmethod cached_property contextmanager asynccontextmanager abstractmethod override
    overload setter getter deleter lru_cache cache wraps""".split()  # noqa: SIM905
)


@dataclass(eq=False)
class NextUse:
    """One call of ``self.next``: its node, and where in the step it stands."""

    node: ast.Call
    place: Place
    block: str = ""
    """The statement that it is inside of: ``if``, ``for``, ``return``, ..."""


@dataclass(eq=False)
class Scan:
    """What one function does with ``self``."""

    method: Method
    stored: list[tuple[str, ast.AST]] = field(default_factory=list)
    next_uses: list[NextUse] = field(default_factory=list)
    escapes: bool = False
    """Whether it hands ``self`` to code that is not seen here, which may set anything."""


@dataclass(eq=False)
class Artifacts:
    """Every name that the code of the flow can set on ``self``."""

    scans: dict[int, Scan]
    stored: frozenset[str]
    open: bool
    """Whether there may be further names that cannot be seen in the source."""

    def scan_of(self, method: Method) -> Scan:
        return self.scans[id(method)]


def scan_flow(flow: FlowSource) -> Artifacts:
    """Look at every function of the flow once."""
    scans = {id(method): scan_method(method) for method in flow.methods}
    stored = frozenset(name for scan in scans.values() for name, _ in scan.stored)
    opened = flow.opaque or any(scan.escapes for scan in scans.values())
    return Artifacts(scans, stored, opened or any(step.foreign for step in flow.steps.values()))


def scan_method(method: Method) -> Scan:
    """Look at one function."""
    scan = Scan(method)
    decorators = {_last_name(item) for item in method.node.decorator_list}
    if decorators & {"staticmethod", "classmethod"} or not method.self_name:
        return scan
    for item in method.node.decorator_list:
        if _last_name(item) not in _PLAIN and not _is_flowc(item, method):
            scan.escapes = True
    body = method.node.body
    for position, statement in enumerate(body):
        _scan_statement(scan, statement, method.self_name, "last" if position == len(body) - 1 else "early")
    return scan


def _is_flowc(node: ast.expr, method: Method) -> bool:
    value = lookup(called(node), method.names)
    return value is step or specification(value) is not None


def _last_name(node: ast.expr) -> str:
    node = called(node)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _scan_statement(scan: Scan, statement: ast.stmt, self_name: str, place: Place) -> None:
    # By hand and without recursion: expressions may be nested deeper than Python's stack allows.
    bare = statement.value if isinstance(statement, ast.Expr) else None
    outermost = "return" if isinstance(statement, ast.Return) else ""
    todo: list[tuple[ast.AST, str]] = [(statement, outermost)]
    while todo:
        node, block = todo.pop()
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == self_name:
            if isinstance(node.ctx, ast.Store):
                scan.stored.append((node.attr, node))
            elif node.attr in ("__dict__", "__setattr__", "__setstate__"):
                scan.escapes = True
            continue
        if isinstance(node, ast.Name):
            scan.escapes = scan.escapes or node.id == self_name
            continue
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute) and _is_name(function.value, self_name) and function.attr == "next":
                if node is bare:
                    scan.next_uses.append(NextUse(node, place))
                else:
                    scan.next_uses.append(NextUse(node, "inside", block or "expression"))
            elif isinstance(function, ast.Name) and node.args and _is_name(node.args[0], self_name):
                if _known_call(scan, function.id, node):
                    todo.extend((child, block) for child in (*node.args[1:], *node.keywords))
                    continue
            elif isinstance(function, ast.Name) and function.id == "super" and len(node.args) == 2:
                continue
        inner = _BLOCKS.get(type(node))
        # The outermost block says most; a test of `if` and the header of `for` belong to it as well.
        deeper = block or inner or ""
        todo.extend((child, deeper) for child in reversed(list(ast.iter_child_nodes(node))))


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _known_call(scan: Scan, function: str, node: ast.Call) -> bool:
    if function == "setattr" and len(node.args) == 3:
        name = node.args[1]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            scan.stored.append((name.value, node))
        else:
            scan.escapes = True
        return True
    return function in _HARMLESS


def calls_in_any_case(method: Method, name: str) -> frozenset[str]:
    """Which methods of ``current.NAME`` a function asks for in any case, with what is there when it begins.

    What stands in an ``if``, a loop or a ``try`` may never be called, or be done without; what follows a statement that
    may set a path or install a program may find more than there is now. It is left out.
    """
    found = set()
    todo: list[ast.AST] = list(reversed(method.node.body))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.With) and not _mentions(node.items, _PASSING_OVER):
            todo += [*reversed(node.body), *reversed(node.items)]
            continue
        if _mentions([node], _CHANGING):
            break
        inner = list(ast.walk(node))
        if any(type(each) in _BLOCKS or isinstance(each, (ast.SetComp, ast.DictComp)) for each in inner):
            continue
        for each in inner:
            if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Attribute):
                owner = each.value
                if owner.attr == name and _is_name(owner.value, "current"):
                    found.add(each.attr)
    return frozenset(found)


def _mentions(nodes: Sequence[ast.AST], names: frozenset[str]) -> bool:
    inner = (each for node in nodes for each in ast.walk(node))
    return any(getattr(each, "attr", getattr(each, "id", None)) in names for each in inner)
