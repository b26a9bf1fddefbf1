"""Where a task's output goes, and the last of it."""

from __future__ import annotations

import errno
import io
import os
import sys
import time
from typing import BinaryIO

from .datastore.base import Datastore, DatastoreError

STREAMS = ("stdout", "stderr")

_EVERY = 30.0
"""Seconds after which a log that grows is sent again to a datastore without files."""


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


def copies(datastore: Datastore, folder: str) -> tuple[BinaryIO, ...]:
    """The files that :func:`redirect` writes to, for whoever copies the output there; errors as there.

    Where the datastore has no files, they are kept here, and sent from time to time and when they are closed.
    """
    try:
        datastore.path(folder)
    except DatastoreError:
        return tuple(_Sent(datastore, f"{folder}/{stream}.log") for stream in STREAMS)
    return tuple(os.fdopen(fd, "ab", 0) for fd in _open(datastore, folder))


class _Sent(io.BytesIO):
    """What is written, sent to a key of a datastore again and again as it grows."""

    def __init__(self, datastore: Datastore, key: str) -> None:
        super().__init__()
        self._datastore, self._key = datastore, key
        self._sent, self._at = 0, time.monotonic()

    def flush(self) -> None:
        if time.monotonic() - self._at > _EVERY:
            self._send()

    def close(self) -> None:
        if not self.closed:
            self._send()
        super().close()

    def _send(self) -> None:
        self._at = time.monotonic()
        data = self.getvalue()
        if len(data) != self._sent:
            try:
                self._datastore.write(self._key, data)
                self._sent = len(data)
            except DatastoreError:
                pass  # a task is not ended by its log


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


def _said_last_elsewhere(datastore: Datastore, folder: str, count: int = 20) -> tuple[str, ...]:
    for stream in reversed(STREAMS):
        try:
            lines = datastore.read(f"{folder}/{stream}.log").decode("utf-8", "replace").splitlines()[-count:]
        except (FileNotFoundError, DatastoreError):
            continue
        if lines:
            return tuple(lines)
    return ()
