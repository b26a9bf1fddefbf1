"""Finding the script that a step starts, and telling why it failed."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Optional, Union

from ...dsl import FlowcError
from ..gang.output import write_all

_KEPT = 4000


_CONSEQUENCE = re.compile(
    r"(?i)(closed|reset|aborted) by (the )?peer|broken pipe|remote (process|worker|error)|ncclRemote"
)


def is_consequence(text: str) -> bool:
    """Whether a process said this because it lost another one. Which node notices its own process first is chance."""
    return _CONSEQUENCE.search(text) is not None


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
    """A pipe that passes all on to a descriptor and keeps the last lines, more than a report shows.

    Parameters
    ----------
    target : int
        Where the bytes go.
    notice : callable, optional
        Called with each line as it comes, in a thread of its own.
    """

    def __init__(self, target: int, notice: Callable[[str], None] = lambda line: None) -> None:
        source, self.write_end = os.pipe()
        self._notice = notice
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._thread = threading.Thread(target=self._pass_on, args=(source, target), daemon=True)
        self._thread.start()

    def close(self) -> list[str]:
        """No more is to come; the lines."""
        os.close(self.write_end)
        self._thread.join(2.0)
        return list(self._lines)

    def _pass_on(self, source: int, target: int) -> None:
        rest = b""
        while data := os.read(source, 1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            texts = [line.decode("utf-8", "backslashreplace") for line in lines]
            self._lines.extend(texts)
            rest = rest[-_KEPT:]
            for text in texts:
                self._notice(text)
            with suppress(OSError):  # nobody reads it
                write_all(target, data)
        if rest:
            self._lines.append(rest.decode("utf-8", "backslashreplace"))
        os.close(source)


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
