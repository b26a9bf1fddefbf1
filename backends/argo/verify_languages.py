"""Reading the little languages inside Argo's manifests: what they refer to, or why they cannot be read.

Most texts are of a few simple forms, which a regular expression reads as the grammar does; only others pay for building
a parser. The tests hold the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lark import Lark, Tree

Path = tuple[str, ...]

_DOTTED = r"[A-Za-z_$][A-Za-z0-9_]*(?:\.[A-Za-z_$][A-Za-z0-9_]*)*"
_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_SIMPLE = re.compile(r"[ \t]*([A-Za-z0-9_\-/%]+(?:\.[A-Za-z0-9_\-/%]+)*)[ \t]*")
_CALL = re.compile(rf"({_DOTTED})\(([0-9]+, )?({_DOTTED})\)(?: [+-] [0-9]+)?")
_WORDS = frozenset(["true", "false", "nil", "not", "in", "and", "or", "contains", "matches", "startsWith", "endsWith"])
_TASK = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)(?:\.([A-Za-z]+))?")
_DEPENDS = re.compile(rf"{_TASK.pattern}(?:(?: && {_TASK.pattern})*|(?: \|\| {_TASK.pattern})*)")
_EQUAL = re.compile(r"'[^'\\]*' (?:==|!=) '[^'\\]*'(?: && '[^'\\]*' (?:==|!=) '[^'\\]*')*")
_CONDITION = re.compile(r"([A-Za-z][A-Za-z0-9.]*[A-Za-z0-9]) == ([A-Za-z0-9]+)")


class NotRead(ValueError):
    """A text is not of its language; the message says where it goes wrong."""


@dataclass
class Expression:
    """What an expression refers to: dotted paths, and the functions it calls with their number of arguments."""

    paths: list[Path] = field(default_factory=list)
    calls: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class Text:
    """The tags of a text: simple ones as paths, ``{{=...}}`` as expressions."""

    tags: list[Path] = field(default_factory=list)
    expressions: list[Expression] = field(default_factory=list)


@dataclass(frozen=True)
class Requirement:
    """One term of a condition: a field, ``==`` and the like (``there`` without values), and the values."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


def read_text(text: str) -> Text:
    """The tags of a text.

    Raises
    ------
    NotRead
        If a tag is not closed, or holds what no tag can.
    """
    out = Text()
    if "{{" not in text:
        return out
    bodies = _TAG.findall(text)
    if text.count("{{") == len(bodies) and all(body[:1] == "=" or _SIMPLE.fullmatch(body) for body in bodies):
        for body in bodies:
            if body[:1] == "=":
                out.expressions.append(read_expression(body[1:]))
            else:
                out.tags.append(tuple(body.strip(" \t").split(".")))
        return out
    return read_text_by_grammar(text)


def read_text_by_grammar(text: str) -> Text:
    """As :func:`read_text`, always by the grammar."""
    out = Text()
    for node in _trees(_parse("text", text)):
        if node.data == "tag":
            out.tags.append(tuple(map(str, node.children)))
        elif node.data == "expression":
            out.expressions.append(read_expression(str(node.children[0])))
    return out


def read_expression(text: str) -> Expression:
    """What an expression refers to.

    Raises
    ------
    NotRead
        If it is none.
    """
    found = _CALL.fullmatch(text)
    if found and not _WORDS.intersection(found[1].split(".") + found[3].split(".")):
        return Expression([tuple(found[3].split("."))], [(found[1], 2 if found[2] else 1)])
    return read_expression_by_grammar(text)


def read_expression_by_grammar(text: str) -> Expression:
    """As :func:`read_expression`, always by the grammar."""
    out = Expression()
    _walk(_parse("expression", text), out)
    return out


def read_depends(text: str) -> list[tuple[str, str | None]]:
    """The tasks that a ``depends`` names, each with the result it asks for.

    Raises
    ------
    NotRead
        If it is none.
    """
    if _DEPENDS.fullmatch(text):
        return [(name, result or None) for name, result in _TASK.findall(text)]
    return read_depends_by_grammar(text)


def read_depends_by_grammar(text: str) -> list[tuple[str, str | None]]:
    """As :func:`read_depends`, always by the grammar."""
    out: list[tuple[str, str | None]] = []
    for node in _trees(_parse("depends", text)):
        if node.data != "task":
            continue
        name, *result = [str(child) for child in node.children if child is not None]
        out.append((name, result[0] if result else None))
    return out


def check_when(text: str) -> None:
    """Raise `NotRead` if a condition of a task cannot be evaluated, its tags being replaced by words."""
    if not _EQUAL.fullmatch(text):
        _parse("when", text)


def read_condition(text: str) -> list[Requirement]:
    """The terms of a success or failure condition.

    Raises
    ------
    NotRead
        If it is none.
    """
    found = _CONDITION.fullmatch(text)
    if found:
        return [Requirement(found[1], "==", (found[2],))]
    return read_condition_by_grammar(text)


def read_condition_by_grammar(text: str) -> list[Requirement]:
    """As :func:`read_condition`, always by the grammar."""
    out = []
    for node in _parse("condition", text).children:
        words = [str(child) for child in node.children]
        if node.data == "compared":
            out.append(Requirement(words[0], words[1], (words[2],)))
        elif node.data == "among":
            out.append(Requirement(words[0], "in", tuple(words[1:])))
        else:
            out.append(Requirement(words[0], "there"))
    return out


def replace_tags(text: str, by: str) -> str:
    """The text with another in place of each tag."""
    return _TAG.sub(lambda _: by, text)


# Parsing --------------------------------------------------------------------------------------------------------------


@cache
def _grammar(name: str) -> Lark:
    from importlib.resources import files

    from lark import Lark

    text = files(__package__).joinpath(f"grammars/{name}.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", maybe_placeholders=False)


def _parse(language: str, text: str) -> Tree[Any]:
    from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

    try:
        tree: Tree[Any] = _grammar(language).parse(text)
        return tree
    except UnexpectedInput as error:
        if isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
            raise NotRead(f"it ends too early: {text!r}") from None
        at = error.pos_in_stream or 0
        what = text[at] if isinstance(error, UnexpectedCharacters) else str(getattr(error, "token", ""))
        raise NotRead(f"{what!r} cannot stand at character {at + 1} of {text!r}") from None


def _trees(tree: Any) -> Iterator[Any]:
    """Every subtree, from the left, the outer ones first."""
    yield tree
    for child in tree.children:
        if hasattr(child, "children"):
            yield from _trees(child)


def _walk(node: Any, out: Expression) -> None:
    data = getattr(node, "data", None)
    if data is None:
        return
    if data in ("member", "field", "item"):
        path = _path(node, out)
        if path:
            out.paths.append(path)
        return
    if data == "call":
        function, *arguments = node.children
        path = _path(function, out)
        if path:
            out.calls.append((".".join(path), len(arguments)))
        for argument in arguments:
            _walk(argument, out)
        return
    for child in _children(node):
        _walk(child, out)


def _children(node: Any) -> Iterator[Any]:
    # The key of a pair is text even where it is written without quotes.
    return iter(node.children[1:] if node.data == "pair" else node.children)


def _path(node: Any, out: Expression) -> Path:
    """The dotted path that a member stands for, as far as it is written down; what is computed is walked."""
    data = getattr(node, "data", None)
    if data == "member":
        name = str(node.children[0])
        return () if name in ("true", "false", "nil") else (name,)
    if data == "field":
        before = _path(node.children[0], out)
        return (*before, str(node.children[1])) if before else ()
    if data == "item":
        before = _path(node.children[0], out)
        key: Any = node.children[1] if len(node.children) > 1 else None
        if getattr(key, "data", None) == "string":
            return (*before, str(key.children[0])[1:-1]) if before else ()
        # What is computed ends the path that is written down.
        _walk(key, out)
        if before:
            out.paths.append(before)
        return ()
    _walk(node, out)
    return ()
