"""What a forked process does before and after the task that it is there for."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from _thread import _count as thread_count
from typing import Any

from ...runtime.processes import adopt_orphans, die_with_parent

_DEFAULTS = (int(signal.SIGTERM), int(signal.SIGHUP), int(signal.SIGCHLD))
_SIGINT, _SET_MASK, _DEFAULT = int(signal.SIGINT), int(signal.SIG_SETMASK), int(signal.SIG_DFL)
# Not those of the signal module, which look for an enum member for every handler: every page that a task writes to is
# copied for it.
_plain: Any = getattr(signal, "_signal", signal)
_set_handler = _plain.signal
_set_mask = _plain.pthread_sigmask

_LOG = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_ready: tuple[Any, ...] = ()


def begin(server: int) -> None:
    """Turn a copy of the server into a task's process: a session of its own that dies with the server.

    Parameters
    ----------
    server : int
        The server's process id.
    """
    os.setsid()
    die_with_parent(server)
    adopt_orphans()
    for number in _DEFAULTS:
        _set_handler(number, _DEFAULT)
    _set_handler(_SIGINT, signal.default_int_handler)
    _set_mask(_SET_MASK, ())
    gc.enable()
    if "numpy.random.mtrand" in sys.modules:
        _fresh_random_numbers(sys.modules["numpy.random.mtrand"])


def redirect(folder: str) -> None:
    """Let standard output and error go to ``stdout.log`` and ``stderr.log`` in the folder, line by line.

    Raises
    ------
    OSError
        If they cannot be created.
    """
    # Two levels, the task's folder and the attempt's; the step's is there after its first task.
    for level in (folder.rpartition("/")[0], folder):
        try:
            os.mkdir(level)
        except FileExistsError:
            pass
        except FileNotFoundError:
            os.makedirs(level, exist_ok=True)
    for name, standard in (("/stdout.log", 1), ("/stderr.log", 2)):
        fd = os.open(folder + name, _LOG, 0o666)
        os.dup2(fd, standard)
        os.close(fd)
    prepare_streams()


def make_ready() -> None:
    """Do in the server what is then done for every task: no input, nothing to do at the end but what a step adds."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    if nothing:
        os.dup2(nothing, 0)
        os.close(nothing)
    else:
        os.set_inheritable(0, True)  # there was none at all
    prepare_streams()
    # What the command line registered for its own end is not for every task to do.
    atexit._clear()
    # Functions of libraries are looked up when they are first called: here, and not in every task.
    os.getppid()
    gc.enable()
    gc.disable()
    try:
        os.mkdir("/")
    except OSError:
        pass


def prepare_streams() -> None:
    """Let ``sys.stdout`` and ``sys.stderr`` write UTF-8 line by line. Done in the server, it is done for every task."""
    global _ready
    if _ready and _ready[0] is sys.stdout and _ready[1] is sys.stderr:
        return
    sys.stdout = _line_by_line(sys.stdout, 1)
    sys.stderr = _line_by_line(sys.stderr, 2)
    _ready = sys.stdout, sys.stderr


def _line_by_line(stream: Any, fd: int) -> Any:
    # Loggers may hold the stream that was there while the flow was imported, so it is kept where it writes to the same
    # descriptor.
    try:
        if stream.fileno() == fd:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
            return stream
    except (AttributeError, OSError, ValueError):
        pass
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def finish() -> None:
    """What the interpreter does at its end: wait for threads and child processes, run what is registered, write out."""
    # The same calls as in a process that multiprocessing forks: joins threads, idle ones of executors included.
    threads: Any = sys.modules.get("threading")
    if threads is not None and (thread_count() or getattr(threads, "_threading_atexits", True)):
        threads._shutdown()
    children = sys.modules.get("multiprocessing.util")
    if children is not None:
        children._exit_function()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _fresh_random_numbers(module: Any) -> None:
    # Python reseeds its own generator after a fork. NumPy's would give the same numbers to every item of a foreach. One
    # that the flow seeded itself while it was imported has no seed sequence, and keeps its state as in a fresh process.
    try:
        if module._rand._bit_generator.seed_seq is not None:
            module.seed()
    except AttributeError:
        module.seed()
