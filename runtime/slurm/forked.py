"""The process of an attempt that is forked from its supervisor."""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import contract
from ..__main__ import run_step


def run(step: str, environment: Mapping[str, str], reset: Iterable[int]) -> int:
    """Run a step's task in this process, which was just forked, as if it had been started for it; gives the exit code.

    Parameters
    ----------
    environment : mapping
        The attempt's.
    reset : iterable of int
        Signals that may be ignored, and go back to what they do by default.
    """
    os.setsid()
    for number in reset:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for name in [name for name in os.environ if name not in environment]:
        del os.environ[name]
    os.environ.update(environment)
    sys.argv[1:] = ["step", step, "--index", environment[contract.INDEX]]
    gc.enable()
    code = run_step(step, environment[contract.INDEX])
    _finish()
    return code


def _finish() -> None:
    """What the interpreter does at its end, but for taking itself apart: threads, what is registered, what is not yet
    written. As there, an exception in it is shown and changes nothing about how the step went."""
    threads: Any = sys.modules.get("threading")
    if threads is not None:
        _do(threads._shutdown)
    _do(atexit._run_exitfuncs)
    # Files that the step has left open; the standard streams are among them, unless the step has closed them.
    for each in gc.get_objects():
        if isinstance(each, io.IOBase) and not each.closed:
            _do(each.flush)


def _do(end: Callable[[], object]) -> None:
    try:
        end()
    except BaseException:
        import traceback

        traceback.print_exc()
