"""What ends a rank's programs where its supervisor has been killed, and no scheduler does.

The kernel kills the body with its supervisor, but not what the body has started: Ray's and Dask's daemons or
DeepSpeed's launcher would go on for ever. Slurm's steps, a pod and the local backend end all of a rank's processes
themselves.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

from .. import contract, processes

_PATIENCE = 10.0
"""Seconds in which what is being killed has to be gone."""
_POLL = 0.01
_DISMISSED = b"."


class Guard:
    """A process that waits for the end of this one; to be made before the body, which must not outlive it unguarded.

    Parameters
    ----------
    mark : str
        What the variable ``FLOWC_GANG_MARK`` is in the environment of every program of the rank, and of no other.
    in_child : callable
        Gives up, in the forked process, what is this process's alone.

    Raises
    ------
    OSError
        If there can be no more processes or descriptors.

    Attributes
    ----------
    pid : int
        Its process id.
    descriptor : int
        Which no other process than this one may keep open.
    """

    def __init__(self, mark: str, in_child: Callable[[], None]) -> None:
        source, self.descriptor = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(source)
            os.close(self.descriptor)
            raise
        if self.pid == 0:
            try:
                in_child()
                _close_all_but(source)
                told = b""
                while chunk := os.read(source, 64):
                    told += chunk
                if not told.endswith(_DISMISSED):
                    _kill_all(f"{contract.GANG_MARK}={mark}".encode(), int(told or -1))
            finally:
                os._exit(0)
        os.close(source)

    def watch(self, session: int) -> None:
        """Say which session is the body's, for what it has forked."""
        self._tell(str(session).encode())

    def dismiss(self) -> None:
        """There is nothing left to guard."""
        self._tell(_DISMISSED)
        os.close(self.descriptor)
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass

    def _tell(self, what: bytes) -> None:
        try:
            os.write(self.descriptor, what)
        except BrokenPipeError:
            pass  # somebody killed it


def _close_all_but(descriptor: int) -> None:
    # Whoever reads what the supervisor wrote, or is connected to it, shall see that it has ended.
    for name in os.listdir("/dev/fd"):
        if int(name) != descriptor:
            try:
                os.close(int(name))
            except OSError:
                pass


def _kill_all(mark: bytes, session: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        found = list(_marked(mark, session))
        if not found:
            return
        for pid in found:
            processes.signal_process(pid, signal.SIGKILL)
        time.sleep(_POLL)


def _marked(mark: bytes, session: int) -> Iterator[int]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    found: set[int] = set()
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, names):
        try:
            state, parent, _, own_session = processes.stat(name)[:4]
            with open(f"/proc/{name}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except (OSError, ValueError):
            continue
        if state in (b"Z", b"X"):
            continue
        children.setdefault(int(parent), []).append(int(name))
        if int(own_session) == session or mark in variables:
            found.add(int(name))
    # Who gives itself a title, as Ray's agents do, writes it where its environment stood.
    todo = list(found)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    yield from found
