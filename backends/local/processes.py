"""What the kernel offers to end processes together with the one that started them. Linux has all of it; elsewhere the
process groups remain."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Collection

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@functools.cache
def _prctl() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes

        function: Callable[..., int] = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return function


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, whose process id is given, ends."""
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(137)


def adopt_orphans(on: bool = True) -> None:
    """Become the parent of descendants whose own parent ends, so that a daemon cannot slip away."""
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def children() -> list[int]:
    """The process ids of this process's children; empty where the system does not tell."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:
        return _children_by_scan()
    except OSError:
        return []


def _children_by_scan() -> list[int]:
    # Kernels without CONFIG_PROC_CHILDREN.
    mine, found = os.getpid(), []
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == mine:
                found.append(int(name))
    return found


def kill_children_except(known: Collection[int]) -> int:
    """Kill every child that is not known, and say how many there were."""
    count = 0
    for pid in children():
        if pid not in known:
            signal_process(pid, signal.SIGKILL)
            count += 1
    return count


def signal_group(leader: int, number: int) -> None:
    """Signal a task's process group, or the task alone where it has not made its group yet."""
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
