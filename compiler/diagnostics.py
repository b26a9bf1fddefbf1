"""What flowc has to say about a flow: a code, a place in the source, what is wrong and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from .plan import Span

if TYPE_CHECKING:
    from .codes import CODES as CODES


class Severity(Enum):
    """How bad it is. Only errors keep a flow from being compiled."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Diagnostic:
    """One finding.

    Parameters
    ----------
    code : str
        ``FC104``; the registry `CODES` explains it.
    message : str
        What is wrong, one line.
    span : Span or None
        Where; None for what was said on the command line and not in a file.
    help : str
        What to do about it, one line; empty where the message says it all.
    notes : tuple of str
        Further lines, such as the author's own traceback.
    """

    code: str
    message: str
    span: Span | None = None
    help: str = ""
    severity: Severity = Severity.ERROR
    notes: tuple[str, ...] = ()

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR


class CompileError(Exception):
    """A flow has errors. ``diagnostics`` holds all of them, warnings included."""

    def __init__(self, diagnostics: Iterable[Diagnostic], sources: Sources | None = None) -> None:
        self.diagnostics = tuple(diagnostics)
        self.sources = sources or Sources("")
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        return render(self.diagnostics, self.sources)


class Sources:
    """The text of the flow's files, by the name that spans use: relative to the flow's folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._paths: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._lines: dict[str, list[str]] = {}

    def name(self, path: str) -> str:
        """The name of a file in spans. A file outside the flow's folder gets no absolute path either."""
        name = self._names.get(path)
        if name is None:
            real = os.path.abspath(path)
            if self.folder and os.path.splitdrive(real)[0] == os.path.splitdrive(self.folder)[0]:
                relative = os.path.relpath(real, self.folder)
            else:
                relative = os.path.basename(real)
            up = relative.split(os.sep)[:4]
            if (len(up) == 4 and set(up) == {os.pardir}) or "site-packages" in real:
                # Far away: the place in the file system says nothing about the flow and differs between machines.
                relative = os.path.join(*real.split(os.sep)[-2:])
            name = relative.replace(os.sep, "/")
            self._names[path] = name
            self._paths[name] = real
        return name

    def path(self, name: str) -> str:
        """The absolute path of a file by its name in spans."""
        return self._paths.get(name) or os.path.join(self.folder, name)

    def display(self, name: str) -> str:
        """How to show a file to somebody who works in the current folder: relative if it lies below, else in full."""
        path = self.path(name)
        try:
            relative = os.path.relpath(path)
        except ValueError:  # another drive
            return path
        return path if relative.startswith(os.pardir) else relative.replace(os.sep, "/")

    def line(self, name: str, number: int) -> str | None:
        """One line of a file without its end; None where the file or the line is not there."""
        lines = self._lines.get(name)
        if lines is None:
            try:
                with open(self.path(name), "rb") as file:
                    lines = source_text(file.read()).split("\n")
            except OSError:
                lines = []
            self._lines[name] = lines
        return lines[number - 1] if 0 < number <= len(lines) else None


def source_text(data: bytes) -> str:
    """A file's text as Python reads it: by its coding line, each line ended by a line feed and by nothing else."""
    encoding = "utf-8-sig"
    if b"coding" in b"".join(data.split(b"\n", 2)[:2]):
        import io
        import tokenize

        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        except SyntaxError:
            pass  # a coding that there is not: said elsewhere
    return data.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like the given one, if any is like it."""
    import difflib

    candidates = list(known)
    folded = {candidate.lower(): candidate for candidate in reversed(candidates)}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str], form: str = "{!r}") -> str:
    """``did you mean 'train'?``, or an empty text where nothing is near. ``form`` says how a word is shown."""
    near = nearest(word, known)
    return f"did you mean {form.format(near)}?" if near else ""


def listed(words: Sequence[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else "nothing"


def ordered(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Every diagnostic once, by place; those without a place come first."""

    def place(item: Diagnostic) -> tuple[Any, ...]:
        span = item.span
        return (span.file, span.line, span.column, item.code) if span else ("", 0, 0, item.code)

    return tuple(sorted(dict.fromkeys(diagnostics), key=place))


def render(diagnostics: Sequence[Diagnostic], sources: Sources, format: str = "text", *, color: bool = False) -> str:
    """Diagnostics as text for people (``text``) or machines (``json``, ``github``, ``sarif``).

    Raises
    ------
    ValueError
        If there is no such format.
    """
    from . import rendering

    if format not in rendering.FORMATS:
        raise ValueError(f"no format {format!r}: take one of {', '.join(rendering.FORMATS)}")
    if format == "text":
        return rendering.text(diagnostics, sources, color=color)
    return rendering.FORMATS[format](diagnostics, sources)


def __getattr__(name: str) -> Any:
    # The registry is prose: only a report, the page of the documentation and the tests need it.
    if name == "CODES":
        from .codes import CODES

        return CODES
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
