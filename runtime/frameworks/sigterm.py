"""SIGTERM stays Python's where a library puts a handler of its own in the system's table, past Python."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

_POLL = 0.1
_STRUCT_SIZE = 512
"""More bytes than any system's ``struct sigaction`` has."""
_NUMBER = int(signal.SIGTERM)


@contextmanager
def kept_for_python() -> Iterator[None]:
    """Inside the block SIGTERM runs the handler that Python knows of, whatever C code has set in the meantime.

    Such a library wants to be told of preemption, and the step never would be. No hook says when it happens, so a
    thread looks now and then. What the step itself does with ``signal.signal`` is left as it is.
    """
    system = _SystemTable.open()
    if system is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL):
            if callable(signal.getsignal(_NUMBER)):
                system.put_back()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _SystemTable:
    """What sigaction(2) says about SIGTERM, and what it said when Python's own handler stood there."""

    def __init__(self, ctypes: Any, sigaction: Any) -> None:
        self._ctypes = ctypes
        self._sigaction = sigaction
        self._pythons = self._read()

    @classmethod
    def open(cls) -> Optional[_SystemTable]:
        """None where Python has no handler, or the system's library cannot be called."""
        if not callable(signal.getsignal(_NUMBER)):
            return None
        try:
            import ctypes

            return cls(ctypes, ctypes.CDLL(None, use_errno=True).sigaction)
        except (ImportError, OSError, AttributeError):
            return None

    def put_back(self) -> None:
        """Set Python's handler if another one is there."""
        # The address of the handler comes first in the structure on every system that these frameworks run on.
        size = self._ctypes.sizeof(self._ctypes.c_void_p)
        if self._read()[:size] != self._pythons[:size]:
            self._sigaction(_NUMBER, self._pythons, None)

    def _read(self) -> bytes:
        found = self._ctypes.create_string_buffer(_STRUCT_SIZE)
        self._sigaction(_NUMBER, None, found)
        return bytes(found.raw)


__all__ = ["kept_for_python"]
