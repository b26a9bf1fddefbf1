"""What a flow has started outside Python while it was imported, and what a fork does to it: threads, CUDA."""

from __future__ import annotations

import os
import sys

_PAUSE_HARD = 2
_THREADS = "/proc/self/task"
_MAPS = "/proc/self/maps"
_OPEN = "/proc/self/fd"
_CUDA = "/dev/nvidia-uvm"
"""What CUDA opens as soon as it is asked for anything, and keeps open. NVML, which nvidia-smi asks, does without."""


def cuda_has_begun() -> bool:
    """Whether this process has begun to use CUDA, so that a process that it forks could not."""
    try:
        numbers = os.listdir(_OPEN)
    except OSError:
        return False  # no such folder on this system
    return any(_target(number) == _CUDA for number in numbers)


def _target(number: str) -> str:
    try:
        return os.readlink(f"{_OPEN}/{number}")
    except OSError:
        return ""  # closed since


def end_native_threads() -> None:
    """End the threads that GNU OpenMP keeps for its next loop; that loop starts them again.

    They do not survive a fork, and the first loop in the forked process would wait for them for ever. Where they cannot
    be ended, one line on stderr says so.
    """
    try:
        # A pool of threads is there only where there is more than one thread; the usual flow pays for this look alone.
        if len(os.listdir(_THREADS)) < 2:
            return
        libraries = _openmp()
    except OSError:
        return  # no such folder on this system
    paused = [_pause(library) for library in libraries]
    if not all(paused):
        print(
            "flowc: warning: the flow started OpenMP threads while it was imported, and they cannot be ended before "
            "its tasks are forked; should a task hang, run with --isolation spawn",
            file=sys.stderr,
        )


def _openmp() -> list[str]:
    """Files of the GNU OpenMP libraries that are loaded; a package may bring one of its own."""
    found: dict[str, None] = {}
    with open(_MAPS, "rb") as file:
        for line in file:
            if b"libgomp" in line:
                path = line.split(None, 5)[5].rstrip(b"\n")
                found[os.fsdecode(path)] = None
    return [path for path in found if os.path.basename(path).startswith("libgomp")]


def _pause(library: str) -> bool:
    import ctypes

    try:
        # The library that is loaded already, not another copy of it.
        pause = ctypes.CDLL(library, mode=os.RTLD_NOW | os.RTLD_NOLOAD).omp_pause_resource_all
    except (OSError, AttributeError):
        return False
    return int(pause(_PAUSE_HARD)) == 0
