"""Diagnostics as text: for people, for scripts, for the annotations of a CI service, for code scanning tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from .diagnostics import Diagnostic, Severity, Sources

_COLORS = {Severity.ERROR: "\x1b[1;31m", Severity.WARNING: "\x1b[1;33m", Severity.NOTE: "\x1b[1;36m"}
_BOLD, _BLUE, _GREEN, _RESET = "\x1b[1m", "\x1b[1;34m", "\x1b[1;32m", "\x1b[0m"
_INFORMATION = "docs/diagnostics.md"


def text(diagnostics: Sequence[Diagnostic], sources: Sources, *, color: bool = False) -> str:
    """``flow.py:12:9: error[FC104]: ...`` with the source line, a caret under the place, and what to do."""
    paint = (lambda start, words: f"{start}{words}{_RESET}") if color else (lambda start, words: words)
    blocks = ["\n".join(_block(item, sources, paint)) for item in diagnostics]
    return "".join(f"{block}\n\n" for block in blocks[:-1]) + "".join(f"{block}\n" for block in blocks[-1:])


def summary(diagnostics: Sequence[Diagnostic]) -> str:
    """``2 errors, 1 warning``; empty where there is nothing."""
    parts = []
    for severity in Severity:
        count = sum(item.severity is severity for item in diagnostics)
        if count:
            parts.append(f"{count} {severity.value}{'s' if count > 1 else ''}")
    return ", ".join(parts)


def _block(item: Diagnostic, sources: Sources, paint: Callable[[str, str], str]) -> list[str]:
    span = item.span
    place = f"{sources.display(span.file)}:{span.line}:{span.column}" if span else "flowc"
    head = f"{item.severity.value}[{item.code}]"
    lines = [f"{paint(_BOLD, place + ':')} {paint(_COLORS[item.severity], head)}: {paint(_BOLD, item.message)}"]
    source = sources.line(span.file, span.line) if span else None
    gutter = " " * 4
    if span is not None and source is not None and source.strip():
        number = str(span.line)
        gutter = " " * len(number)
        before, marked = _underline(
            source, span.column, span.end_column if span.end_line in (None, span.line) else None
        )
        lines.append(f" {paint(_BLUE, f'{number} |')} {source.expandtabs(4).rstrip()}")
        lines.append(f" {paint(_BLUE, f'{gutter} |')} {before}{paint(_COLORS[item.severity], marked)}")
    if item.help:
        lines.append(f" {gutter} {paint(_BLUE, '=')} {paint(_GREEN, 'help:')} {item.help}")
    lines.extend(f" {gutter} {paint(_BLUE, '|')} {note}".rstrip() for note in item.notes)
    return lines


def _underline(source: str, column: int, end: int | None) -> tuple[str, str]:
    """The blank text before the mark and the mark, for columns that count characters from 1."""
    start = max(min(column - 1, len(source)), 0)
    if column == 1 and end is None:
        start = len(source) - len(source.lstrip())
    stop = len(source.rstrip()) if end is None else min(end - 1, len(source))
    before = _width(source[:start].expandtabs(4))
    length = _width(source[:stop].expandtabs(4)) - before if stop > start else 1
    return " " * before, "^" * max(length, 1)


def _width(words: str) -> int:
    if words.isascii():
        return len(words)
    import unicodedata

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in words
    )


def as_json(diagnostics: Sequence[Diagnostic], sources: Sources) -> str:
    """A JSON list with one object for each diagnostic."""
    items = []
    for item in diagnostics:
        data: dict[str, Any] = {"code": item.code, "severity": item.severity.value, "message": item.message}
        if item.span:
            data["file"] = sources.display(item.span.file)
            data.update(
                (name, getattr(item.span, name))
                for name in ("line", "column", "end_line", "end_column")
                if getattr(item.span, name) is not None
            )
        if item.help:
            data["help"] = item.help
        if item.notes:
            data["notes"] = list(item.notes)
        items.append(data)
    return json.dumps(items, indent=2, ensure_ascii=False) + "\n"


def github(diagnostics: Sequence[Diagnostic], sources: Sources) -> str:
    """Workflow commands that GitHub turns into annotations of the changed lines."""
    kinds = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
    lines = []
    for item in diagnostics:
        properties: dict[str, Any] = {}
        if item.span:
            properties = {"file": sources.display(item.span.file), "line": item.span.line, "col": item.span.column}
            if item.span.end_line is not None:
                properties["endLine"] = item.span.end_line
                if item.span.end_line == item.span.line and item.span.end_column is not None:
                    properties["endColumn"] = item.span.end_column
        properties["title"] = item.code
        said = ",".join(f"{name}={_escaped(str(value), True)}" for name, value in properties.items())
        message = "\n".join([item.message, *([f"help: {item.help}"] if item.help else []), *item.notes])
        lines.append(f"::{kinds[item.severity]} {said}::{_escaped(message, False)}\n")
    return "".join(lines)


def _escaped(words: str, in_property: bool) -> str:
    words = words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return words.replace(":", "%3A").replace(",", "%2C") if in_property else words


def sarif(diagnostics: Sequence[Diagnostic], sources: Sources) -> str:
    """A SARIF 2.1.0 log with one run."""
    from urllib.parse import quote

    from .codes import CODES

    used = sorted({item.code for item in diagnostics})
    rules = [
        {
            "id": code,
            "name": "".join(word.capitalize() for word in CODES[code].title.replace("`", "").replace("@", "").split()),
            "shortDescription": {"text": CODES[code].title},
            "fullDescription": {"text": CODES[code].explanation},
            "helpUri": f"{_INFORMATION}#{code.lower()}",
        }
        for code in used
    ]
    results = []
    for item in diagnostics:
        message = "\n".join([item.message, *([f"help: {item.help}"] if item.help else []), *item.notes])
        result: dict[str, Any] = {
            "ruleId": item.code,
            "ruleIndex": used.index(item.code),
            "level": item.severity.value,
            "message": {"text": message},
        }
        if item.span:
            region = {"startLine": item.span.line, "startColumn": item.span.column}
            if item.span.end_line is not None:
                region["endLine"] = item.span.end_line
            if item.span.end_column is not None:
                region["endColumn"] = item.span.end_column
            uri = sources.display(item.span.file)
            uri = f"file://{quote(uri)}" if uri.startswith("/") else quote(uri)
            result["locations"] = [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}]
        results.append(result)
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "flowc", "rules": rules}},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Sequence[Diagnostic], Sources], str]] = {
    "text": text,
    "json": as_json,
    "github": github,
    "sarif": sarif,
}
