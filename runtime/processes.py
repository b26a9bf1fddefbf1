"""What the kernel offers to end a process together with all its descendants. Linux has all of it; elsewhere the process
groups remain.

See prctl(2): PR_SET_CHILD_SUBREAPER makes a process the parent of descendants whose own parent ended, so that a daemon
cannot slip away; PR_SET_PDEATHSIG has the kernel kill a child whose parent ended.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Collection
from typing import Any, Optional, Union

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
# Without its enum: what a forked process touches is copied for it.
_SIGKILL = int(signal.SIGKILL)


@functools.cache
def _prctl() -> Optional[Callable[..., int]]:
    # Late, because ctypes takes longer to import than a small task takes to run; a forked process has it already.
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes

        function: Callable[..., int] = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):  # ImportError: a Python that was built without libffi
        return None
    return function


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, whose process id is given, ends."""
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + _SIGKILL)


def adopt_orphans(on: bool = True) -> None:
    """Become the parent of descendants whose own parent ends, or stop becoming it."""
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def adopts_orphans() -> bool:
    """Whether this process becomes the parent of descendants whose own parent ends."""
    prctl = _prctl()
    if prctl is None:
        return False
    import ctypes

    answer = ctypes.c_int(0)
    prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)


def children() -> list[int]:
    """The process ids of this process's children; empty where the system does not tell."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb", 0) as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return _children_by_scan()


def stat(process: Union[int, str], proc: str = "/proc") -> list[bytes]:
    """What proc(5) says of a process behind its name: its state, its parent, its group, its session and more.

    Raises
    ------
    OSError
        If there is no such process, or no such file system.
    """
    with open(f"{proc}/{process}/stat", "rb", 0) as file:
        # The name, in brackets, may hold anything.
        return file.read().rpartition(b")")[2].split()


def _children_by_scan() -> list[int]:
    # Kernels without CONFIG_PROC_CHILDREN.
    mine, found = str(os.getpid()).encode(), []
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in filter(str.isdigit, names):
        try:
            parent = stat(name)[1]
        except (OSError, IndexError):
            continue
        if parent == mine:
            found.append(int(name))
    return found


def reap(pid: int) -> Optional[int]:
    """The wait status of a child that ended, or None while it runs; a child that somebody else reaped counts as ended
    by an unknown cause (status 255 << 8)."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 255 << 8
    return status if found else None


def kill_children_except(known: Collection[int]) -> int:
    """Kill every child that is not known, and say how many there were. For whoever reaps all its children anyway."""
    count = 0
    for pid in children():
        if pid not in known:
            signal_process(pid, signal.SIGKILL)
            count += 1
    return count


def kill_and_reap_children_except(known: Collection[int]) -> int:
    """Kill and, where they end at once, reap all children but the known ones; says how many there were.

    The orphans of what was killed become children in turn, also of what ended at once. So call it until it says 0.
    """
    count = 0
    for pid in children():
        if pid not in known:
            signal_process(pid, signal.SIGKILL)
            reap(pid)
            count += 1
    return count


def reap_all_except(known: Collection[int]) -> None:
    """Reap every zombie among the children but the known ones."""
    if known:
        for pid in children():
            if pid not in known:
                reap(pid)
        return
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def signal_group(leader: int, number: int) -> None:
    """Signal a process group, or the process alone where it has not made its group yet."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        signal_process(leader, number)
    except PermissionError:
        # A member of the group changed its user; the others have been signalled.
        pass


def signal_process(pid: int, number: int) -> None:
    """Signal one process if it is still there."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


class Signals:
    """Signals as bytes on a descriptor, for a loop to read; what was there before comes back at the end.

    Parameters
    ----------
    numbers : collection of int
        The signals to take.
    """

    def __init__(self, numbers: Collection[int]) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._before: dict[int, Any] = {number: signal.signal(number, _noted) for number in numbers}
        self._descriptor = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._read

    def arrived(self) -> list[int]:
        """The signals since the last call; several of one kind may come as one."""
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []

    def in_child(self) -> None:
        """In a forked child: back to the system's own handling, with none of it left over."""
        signal.set_wakeup_fd(-1)
        for number in self._before:
            signal.signal(number, signal.SIG_DFL)
        self._close()

    def restore(self) -> None:
        """As it was before."""
        signal.set_wakeup_fd(self._descriptor)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._close()

    def _close(self) -> None:
        os.close(self._read)
        os.close(self._write)


def _noted(number: int, frame: object) -> None:
    """Nothing: the number is on the descriptor."""
