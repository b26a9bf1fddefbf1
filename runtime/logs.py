"""Where a task's output goes, and the last of it."""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import TYPE_CHECKING, Optional, Protocol

from .datastore.base import Datastore, DatastoreError

if TYPE_CHECKING:
    from threading import Thread

STREAMS = ("stdout", "stderr")

_EVERY = 30.0
"""Seconds after which what is new in a log is sent to a datastore without files; large logs wait for longer."""

_RATE = 256 * 1024
"""Bytes of a log that are sent in a second, at most, in the long run: it is sent whole each time."""

_TIMES_AS_LONG = 10
"""How many times as long as a sending took the pause after it is, at least."""

_BLOCK = 1 << 20
"""Bytes of the blocks in which a log is kept that is sent."""

_FIRST, _LAST = 16, 48
"""Blocks that are kept of its beginning and of its end."""


class Log(Protocol):
    """Where output is written."""

    def write(self, data: bytes, /) -> Optional[int]:
        """Add to it."""

    def flush(self) -> None:
        """Let others see what was written."""

    def close(self) -> None:
        """End it."""


def redirect(datastore: Datastore, folder: str) -> None:
    """Let this process's standard output and error go to ``stdout.log`` and ``stderr.log`` of an attempt.

    Parameters
    ----------
    folder : str
        Key of the attempt's folder.

    Raises
    ------
    DatastoreError
        If they cannot be created.
    """
    opened = _open(datastore, folder)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number, fd in enumerate(opened, 1):
        os.dup2(fd, number)
        os.close(fd)


def copies(datastore: Datastore, folder: str) -> tuple[Log, ...]:
    """The files that :func:`redirect` writes to, for whoever copies the output there; errors as there.

    Where the datastore has no files, they are kept here, and sent from time to time and when they are closed. The
    process may fork until the first of them is written to.
    """
    try:
        datastore.path(folder)
    except DatastoreError:
        return tuple(_Sent(datastore, f"{folder}/{stream}.log") for stream in STREAMS)
    return tuple(os.fdopen(fd, "ab", 0) for fd in _open(datastore, folder))


class _Sent:
    """What is written, sent whole to a key of a datastore again and again as it grows.

    A thread sends, so that nobody who writes ever waits for the store. Of a log that is too large to be kept in memory,
    the beginning and the end are sent.
    """

    def __init__(self, datastore: Datastore, key: str) -> None:
        from threading import Condition

        self._datastore, self._key = datastore, key
        self._blocks: list[bytes] = []
        self._open = bytearray()
        self._size = self._sent = self._left_out = 0
        self._changed = Condition()
        self._begun = self._closed = False
        self._sender: Optional[Thread] = None

    def write(self, data: bytes) -> None:
        with self._changed:
            if self._size == self._sent:
                self._changed.notify()
            self._size += len(data)
            self._open += data
            while len(self._open) >= _BLOCK:
                self._blocks.append(bytes(self._open[:_BLOCK]))
                del self._open[:_BLOCK]
                if len(self._blocks) >= _FIRST + _LAST:
                    self._left_out += len(self._blocks.pop(_FIRST))
        if not self._begun:
            self._begin()

    def flush(self) -> None:
        """Nothing: the thread sees to it."""

    def close(self) -> None:
        """Send what has not been sent yet."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._sender is not None:
            self._sender.join()
        else:
            self._send()

    def _begin(self) -> None:
        from threading import Thread

        # Not before something is written: whoever opens the log may still fork.
        self._begun = True
        sender = Thread(target=self._send_on, daemon=True)
        try:
            sender.start()
            self._sender = sender
        except RuntimeError:
            pass  # no more threads for this container: it is sent when it is closed

    def _send_on(self) -> None:
        pause, ended = _EVERY, False
        while not ended:
            with self._changed:
                self._changed.wait_for(lambda: self._closed, pause)
                self._changed.wait_for(lambda: self._closed or self._size != self._sent)
                ended = self._closed
            began = time.monotonic()
            size = self._send()
            pause = max(_EVERY, _TIMES_AS_LONG * (time.monotonic() - began), size / _RATE)

    def _send(self) -> int:
        """Send what is there, unless it is what was sent last; how many bytes that are."""
        with self._changed:
            written = self._size
            pieces = [*self._blocks, bytes(self._open)]
            if self._left_out:
                pieces.insert(_FIRST, b"\n[flowc: %d bytes are left out here]\n" % self._left_out)
        if written != self._sent:
            try:
                self._datastore.put(self._key, pieces)
                self._sent = written
            except Exception:  # noqa: S110
                pass  # a task is not ended by its log
        return sum(map(len, pieces))


def _open(datastore: Datastore, folder: str) -> list[int]:
    path = datastore.path(folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        os.makedirs(path, exist_ok=True)
        return [os.open(f"{path}/{stream}.log", flags, 0o666) for stream in STREAMS]
    except OSError as error:
        remedy = "free some space or choose another datastore" if error.errno == errno.ENOSPC else "check the datastore"
        text = f"the logs in {path} cannot be written: {error.strerror}: {error.filename}; {remedy}"
        raise DatastoreError(text) from error


def last_lines(path: str, count: int = 20, limit: int = 1 << 14, start: int = 0) -> list[str]:
    """The last lines of a log from ``start`` on, at most ``count`` of them and at most ``limit`` bytes; empty where
    there is none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - limit))
            data = file.read()
    except OSError:
        return []
    return data.decode("utf-8", "replace").splitlines()[-count:]


def said_last(datastore: Datastore, folder: str) -> tuple[str, ...]:
    """The last lines of an attempt, of its stderr or else its stdout."""
    try:
        path = datastore.path(folder)
    except DatastoreError:
        return _said_last_elsewhere(datastore, folder)
    return tuple(last_lines(f"{path}/stderr.log") or last_lines(f"{path}/stdout.log"))


def _said_last_elsewhere(datastore: Datastore, folder: str, count: int = 20, limit: int = 1 << 14) -> tuple[str, ...]:
    for stream in reversed(STREAMS):
        key = f"{folder}/{stream}.log"
        try:
            data = datastore.read_part(key, max(0, datastore.size(key) - limit), limit)
        except (FileNotFoundError, DatastoreError):
            continue
        lines = data.decode("utf-8", "replace").splitlines()[-count:]
        if lines:
            return tuple(lines)
    return ()
