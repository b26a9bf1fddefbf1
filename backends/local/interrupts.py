"""Ctrl-C, SIGTERM and SIGHUP, counted instead of raised, so that a run ends in good order."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Counts the signals that ask the run to end, inside a ``with`` block.

    Outside the main thread, where Python delivers no signals, it counts nothing. Where one has come, SIGINT is ignored
    afterwards, and would no more raise KeyboardInterrupt.

    Attributes
    ----------
    count : int
        How many have come.
    name : str
        The last one's name.
    read_fd : int
        Becomes readable when one has come.
    """

    def __init__(self) -> None:
        self.count = 0
        self.name = ""
        self.read_fd, self._write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._before: dict[int, Any] = {}
        self._wakeup = -1

    def __enter__(self) -> Interrupts:
        try:
            self._wakeup = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        except ValueError:  # not the main thread
            return self
        for number in _NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
                # Under nohup SIGHUP, and in a background job SIGINT, are ignored; so they stay.
                self._before[number] = signal.signal(number, self._count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            if self.count and handler is signal.default_int_handler:
                # Whoever presses Ctrl-C once more has been heard; what is left is to say so and to exit with 130.
                handler = signal.SIG_IGN
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._wakeup)
        os.close(self.read_fd)
        os.close(self._write_fd)

    @property
    def descriptors(self) -> tuple[int, int]:
        """The descriptors that it keeps open; a process forked meanwhile has to close them."""
        return self.read_fd, self._write_fd

    def drain(self) -> None:
        """Make ``read_fd`` unreadable again."""
        try:
            while os.read(self.read_fd, 512):
                pass
        except BlockingIOError:
            pass

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.name = signal.Signals(number).name
