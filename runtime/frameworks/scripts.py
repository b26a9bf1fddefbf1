"""Finding the script that a step starts, and telling why it failed."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable
from typing import Optional, Union

from ...dsl import FlowcError
from ..gang.output import write_all

STRAGGLING = 0.5
"""Seconds between SIGTERM and SIGKILL for the processes of a node on which one has failed. The launchers alone wait
30 s for them and say nothing till then; meanwhile a node that only lost them would be taken for the one that failed."""

END_AT_ONCE = """
import os, sys

def end_at_once(main, last=lambda: None):
    try:
        main()
        code = 0
    except SystemExit as end:
        if not isinstance(end.code, (int, type(None))):
            raise
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    last()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code & 255)
"""
"""Begins what runs a launcher in a Python of its own: what that has imported would take the interpreter up to a second
to put away, which the step and the report of a failure would be late by."""

_KEPT = 4000

_LOST = re.compile(r"(?i)(closed|reset|aborted) by (the )?peer|broken pipe|remote (process|worker|error)|ncclRemote")
_OF_A_GROUP = re.compile(
    r"(?i)gloo|(n|r|h|x|one)ccl|c10d|tensorpipe|torch\.distributed|by peer \["
    r"|RuntimeError: (broken pipe|connection reset by peer)"
)
"""What the libraries by which processes of several nodes talk say of themselves: gloo names the other side's address in
brackets, and torch's own store says nothing but the system's words, as no library for downloads does."""


def is_consequence(text: str) -> bool:
    """Whether a process said this because it lost another one. Which node notices its own process first is chance.

    A connection to elsewhere, as for a download, may be lost in the same words.
    """
    return any(_LOST.search(line) and _OF_A_GROUP.search(line) for line in text.splitlines())


def find_script(entrypoint: Union[str, os.PathLike[str]], source: str) -> str:
    """The path of a script: as given, or else beside the flow's file.

    Raises
    ------
    FlowcError
        If it is in neither place.
    """
    path = os.fspath(entrypoint)
    if os.path.exists(path):
        return path
    beside = os.path.join(source, path)
    if os.path.exists(beside):
        return beside
    raise FlowcError(f"there is no script {path}, neither in {os.getcwd()} nor beside the flow in {source}")


class Tail:
    """Passes a program's stderr on to this process's own and keeps the last lines, more than a report shows.

    Parameters
    ----------
    notice : callable, optional
        Called with each line as it comes, in the thread that brings it.
    """

    def __init__(self, notice: Callable[[str], None] = lambda line: None) -> None:
        self._notice = notice
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._rest = b""

    def take(self, data: bytes) -> None:
        """Take output as it came."""
        *lines, rest = (self._rest + data).split(b"\n")
        texts = list(map(_text, lines))
        self._rest = rest[-_KEPT:]
        self._lines.extend(texts)
        for text in texts:
            self._notice(text)
        write_all(2, data)

    def lines(self) -> list[str]:
        """The lines so far; a last one without its newline counts."""
        return [*self._lines, *([_text(self._rest)] if self._rest else [])]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")


def first_error(lines: list[str], *, last_restart: bool = False) -> Optional[str]:
    """The exception that a Python program died of, from what it wrote: the last line of the first traceback.

    Parameters
    ----------
    lines : list of str
        Its stderr.
    last_restart : bool
        Take the last traceback that is not the launcher's own.
    """
    found: list[str] = []
    inside = False
    foreign = False
    for line in lines:
        text = re.sub(r"^(\[\w+\]: ?)+", "", line)  # so do torch and torchrun mark the lines of a process
        if text.startswith("Traceback (most recent call last)"):
            inside, foreign = True, False
        elif inside and not text.startswith((" ", "\t")) and text.strip():
            inside = False
            if not foreign and re.match(r"[A-Za-z_][\w.]*(: |$)", text):
                found.append(text.strip())
        elif inside and "torch/distributed/run.py" in text:
            foreign = True
    if not found:
        return None
    return found[-1] if last_restart else found[0]
