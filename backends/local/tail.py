"""Following the log files of running tasks, line by line.

Tasks write straight into their logs, so that nothing is lost when the scheduler dies; the scheduler reads along.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_CHUNK = 1 << 18
_LONGEST = 1 << 16

Emit = Callable[[str, str], None]
"""Takes a stream's name (``stdout`` or ``stderr``) and one line without its end."""


class _Log:
    __slots__ = ("offset", "partial", "path", "stream")

    def __init__(self, path: str, stream: str) -> None:
        self.path = path
        self.stream = stream
        self.offset = 0
        self.partial = b""

    def read(self, emit: Emit, end: bool) -> None:
        try:
            size = os.stat(self.path).st_size
            if size > self.offset:
                with open(self.path, "rb", buffering=0) as file:
                    file.seek(self.offset)
                    while self.offset < size:
                        data = file.read(_CHUNK)
                        if not data:
                            break
                        self.offset += len(data)
                        self._split(data, emit)
                        if not end:
                            # One chatty task must not hold up the others; the rest comes with the next look.
                            break
        except OSError:
            # No log yet, or no longer: there is nothing to show.
            pass
        if end and self.partial:
            self._line(self.partial, emit)
            self.partial = b""

    def _split(self, data: bytes, emit: Emit) -> None:
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = self.partial + lines[0]
            self.partial = rest
            for line in lines:
                self._line(line, emit)
        else:
            self.partial += rest
        if len(self.partial) > _LONGEST:
            if b"\r" in self.partial:
                # A progress bar that has been redrawing its line.
                self.partial = self.partial[self.partial.rindex(b"\r") :]
            else:
                self._line(self.partial, emit)
                self.partial = b""

    def _line(self, line: bytes, emit: Emit) -> None:
        # As on a terminal, only what was written last over a line remains of it; the log keeps everything.
        shown = line.rstrip(b"\r").rpartition(b"\r")[2]
        emit(self.stream, shown.decode("utf-8", "replace"))


class Tail:
    """Both logs of one attempt.

    Parameters
    ----------
    folder : str
        The attempt's folder.
    emit : callable
        Called with each complete line, and at the end with an incomplete last one.
    """

    __slots__ = ("_emit", "_logs")

    def __init__(self, folder: str, emit: Emit) -> None:
        self._emit = emit
        self._logs = (_Log(folder + "/stdout.log", "stdout"), _Log(folder + "/stderr.log", "stderr"))

    def read(self, end: bool = False) -> None:
        """Emit what has been written since the last call; with ``end``, everything that is left."""
        for log in self._logs:
            log.read(self._emit, end)
