"""Findings of the verifier, and how it walks documents of which nothing is known yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Node = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """A mistake in a manifest.

    Parameters
    ----------
    path : str
        Where it is, as ``spec.templates[2].dag.tasks[0].when``.
    message : str
        What is wrong.
    remedy : str
        What to write instead.
    file : str
        Name of the file; empty where documents were given.
    """

    path: str
    message: str
    remedy: str
    file: str = ""

    def __str__(self) -> str:
        place = f"{self.file}: {self.path}" if self.file and self.path else self.file or self.path
        return f"{place}: {self.message}; {self.remedy}"


@dataclass
class Report:
    """Findings as they are made."""

    file: str = ""
    findings: list[Finding] = field(default_factory=list)

    def add(self, path: str, message: str, remedy: str) -> None:
        """Note a mistake, once."""
        found = Finding(path, message, remedy, self.file)
        if found not in self.findings:
            self.findings.append(found)

    def mapping(self, value: object, path: str) -> Node:
        """The value as a mapping with text for keys; anything else but nothing is a finding."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.add(path, f"a mapping belongs here, not {_kind(value)}", "write the fields of the object")
            return {}
        for key in value:
            if not isinstance(key, str):
                self.add(path, f"the key {key!r} is not text", "quote it: YAML reads it as something else")
        return value

    def sequence(self, value: object, path: str) -> Sequence[Any]:
        """The value as a list; anything else but nothing is a finding."""
        if value is None:
            return ()
        if not isinstance(value, (list, tuple)):
            self.add(path, f"a list belongs here, not {_kind(value)}", "write a list")
            return ()
        return value

    def items(self, value: object, path: str) -> Iterator[tuple[str, Node]]:
        """The mappings of a list, each with its path."""
        for at, item in enumerate(self.sequence(value, path)):
            yield f"{path}[{at}]", self.mapping(item, f"{path}[{at}]")

    def text(self, value: object, path: str, *, required: bool = False) -> str:
        """The value as text; anything else is a finding, but nothing only where a text is required."""
        if value is None and not required:
            return ""
        if not isinstance(value, str):
            self.add(path, f"text belongs here, not {_kind(value)}", "quote it")
            return ""
        return value


def unique(names: Iterable[str], path: str, what: str, report: Report) -> None:
    """Note every name that is there more than once."""
    for name, count in Counter(names).items():
        if count > 1:
            report.add(path, f"{count} of them are called {name!r}", f"give every {what} a name of its own")


def texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Every text in a value, keys included, with its path."""
    todo: list[tuple[object, str]] = [(value, path)]
    while todo:
        item, place = todo.pop()
        if isinstance(item, str):
            yield place, item
        elif isinstance(item, Mapping):
            for key, inner in item.items():
                todo.append((inner, f"{place}.{key}"))
                if isinstance(key, str) and "{{" in key:
                    yield f"{place}.{key}", key
        elif isinstance(item, (list, tuple)):
            todo.extend((inner, f"{place}[{at}]") for at, inner in enumerate(item))


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    if value is None:
        return "nothing"
    return f"{names.get(type(value), type(value).__name__)} ({value!r})"[:80]
