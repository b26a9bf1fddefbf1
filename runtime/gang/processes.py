"""What the kernel offers to end a process together with all its descendants. Linux has all of it; elsewhere the process
group remains.

See prctl(2): PR_SET_CHILD_SUBREAPER makes a process the parent of descendants whose own parent ended, so that a daemon
cannot slip away; PR_SET_PDEATHSIG has the kernel kill a child whose parent ended.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Collection
from typing import Any, Optional

try:
    import ctypes
except ImportError:  # a Python that was built without libffi
    ctypes = None  # type: ignore[assignment]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


def _find_prctl() -> Optional[Callable[..., int]]:
    if not sys.platform.startswith("linux") or ctypes is None:
        return None
    try:
        function: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return None
    return function


# Once, where the module is loaded: every rank forked from there has it already.
_prctl = _find_prctl()


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, whose process id is given, ends."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def adopt_orphans(on: bool) -> bool:
    """Become, or stop being, the parent of orphaned descendants; tells whether this process was that before."""
    if _prctl is None:
        return False
    before = ctypes.c_int(0)
    _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    if bool(before.value) != on:
        _prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)
    return bool(before.value)


def children() -> list[int]:
    """The process ids of this process's children; empty where the system does not tell."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return _children_by_scan()


def _children_by_scan() -> list[int]:
    # Kernels without CONFIG_PROC_CHILDREN.
    mine, found = str(os.getpid()).encode(), []
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in filter(str.isdigit, names):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = file.read().rpartition(b")")[2].split()[1]
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
    """Kill and, where they end at once, reap all children but the known ones; says how many are still there.

    The orphans of what was killed become children in turn, so call it until it says 0.
    """
    left = 0
    for pid in children():
        if pid in known:
            continue
        signal_process(pid, signal.SIGKILL)
        if reap(pid) is None:
            left += 1
    return left


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
