"""Saving what a program leaves in ``current.checkpoint.directory`` while it still runs.

The step that started the program waits for its end, and a machine that is lost says nothing before. So a thread looks
at the folder, and has it saved when what was written there has been left alone for a while.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Optional

from ..dsl import current

if TYPE_CHECKING:
    from .checkpoint import Checkpoints

LOOK = 0.5
"""Seconds between two looks at the folder."""
APART = 10.0
"""Seconds between two savings, at least; also as many as the last one took."""
QUIET = 5.0
"""Seconds for which nothing in the folder may have changed."""
QUIET_IF_SMALL = 0.5
"""The same where all of it is so small that it is written in one go."""
SMALL = 64 * 1024 * 1024
"""Bytes up to which it is."""
ABANDONED = 60.0
"""Seconds after which a file whose name says that it is still being written is taken for one that was given up."""
TELL_AFTER = 120.0
"""Seconds after which it is said that the folder never is quiet."""

State = dict[str, tuple[int, ...]]
"""Names in a folder, and what changes when a file does; empty for folders."""


class StateChanged(Exception):
    """The folder changed while it was copied, so the copy is none of a state that it ever was in."""


def state_of(folder: str) -> State:
    """What lies in a folder now. Files are opened for that: a network file system then asks its server."""
    found: State = {}
    for place, folders, names in os.walk(folder, followlinks=True):
        for name in folders:
            found[os.path.relpath(os.path.join(place, name), folder)] = ()
        for name in names:
            path = os.path.join(place, name)
            found[os.path.relpath(path, folder)] = _signature(path)
    return found


def _signature(path: str) -> tuple[int, ...]:
    try:
        # A pipe that nobody writes to must not make one wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        return (error.errno or 1,)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    # The time of change can be set by nobody, unlike that of modification.
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def quiet_time(state: State) -> float:
    """For how many seconds a folder in this state must have been left alone to be taken for finished."""
    size = sum(signature[1] for signature in state.values() if len(signature) > 1)
    return QUIET_IF_SMALL if size <= SMALL else QUIET


def is_being_written(state: State) -> bool:
    """Whether a folder has a file whose name says that it is not finished, and which was written a moment ago."""
    now = time.time()
    for path, signature in state.items():
        names = path.split(os.sep)
        is_unfinished = any(name.startswith(".") or name.endswith((".tmp", ".part")) for name in names)
        if is_unfinished and len(signature) > 1 and abs(now - signature[2] / 1e9) < ABANDONED:
            return True
    return False


@contextmanager
def saved_while_it_runs() -> Iterator[None]:
    """Around a program that the step waits for: what it leaves in ``current.checkpoint.directory`` is saved.

    At the end a saving that has begun is finished, unless the folder has changed since.
    """
    checkpoints: Optional[Checkpoints] = current.get("checkpoint")
    if checkpoints is None:
        yield
        return
    watch = _Watch(checkpoints)
    watch.thread.start()
    try:
        yield
    finally:
        watch.stopped.set()
        watch.thread.join()


class _Watch:
    def __init__(self, checkpoints: Checkpoints) -> None:
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, name="flowc-checkpoint", daemon=True)
        self._checkpoints = checkpoints
        self._folder = ""
        self._state: State = {}
        self._since = self._next = self._pending_since = time.monotonic()
        self._told: set[str] = set()
        self._is_last = False

    def _run(self) -> None:
        rest = LOOK
        while not self.stopped.wait(rest):
            began = time.monotonic()
            try:
                self._look()
            except StateChanged:
                pass
            except Exception as error:
                self._tell("could not be saved while the program runs", str(error))
            rest = max(LOOK, time.monotonic() - began)

    def _look(self) -> None:
        folder = self._checkpoints.folder
        if folder is None:
            return
        state, now = state_of(folder), time.monotonic()
        if state != self._state:
            self._folder, self._state, self._since = folder, state, now
        if not any(state.values()) or self._checkpoints.holds(state):
            self._pending_since = now
        elif now - self._since >= quiet_time(state) and now >= self._next and not is_being_written(state):
            try:
                self._checkpoints.save_running(state, self._check)
            finally:
                self._next = time.monotonic() + max(APART, time.monotonic() - now)
        elif now - max(self._pending_since, self._next) > TELL_AFTER:
            self._tell("changes all the time", "it is saved once it is left alone for some seconds")

    def _check(self, is_whole: bool) -> None:
        # After the program's end the step waits; it need not wait for what is not its last state.
        if is_whole or (self.stopped.is_set() and not self._is_last):
            if state_of(self._folder) != self._state:
                raise StateChanged
            self._is_last = self.stopped.is_set()

    def _tell(self, what: str, more: str) -> None:
        if what not in self._told:
            self._told.add(what)
            with suppress(OSError, ValueError, AttributeError):  # nowhere to tell it
                print(f"flowc: current.checkpoint.directory {what}: {more}", file=sys.stderr, flush=True)
