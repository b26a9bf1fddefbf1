"""What is to happen later: retries after their wait, time limits, the kill after the grace."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable


class Timer:
    """Something that is to happen at a time; `cancel` takes it back."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None] | None) -> None:
        self.action = action

    def cancel(self) -> None:
        """Do nothing when the time comes."""
        self.action = None


class Timers:
    """Timers in the order of their times.

    Parameters
    ----------
    clock : callable
        Seconds since any fixed moment; it must never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        """How many are still to happen."""
        return sum(timer.action is not None for _, _, timer in self._heap)

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Call ``action`` once, that many seconds from now."""
        timer = Timer(action)
        heapq.heappush(self._heap, (self._clock() + seconds, next(self._order), timer))
        return timer

    def wait(self) -> float | None:
        """Seconds until the next one is due, 0 where one is; None where there is none."""
        self._drop_cancelled()
        return max(0.0, self._heap[0][0] - self._clock()) if self._heap else None

    def run_due(self) -> None:
        """Call what is due, in order."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            action = heapq.heappop(self._heap)[2].action
            if action is not None:
                action()

    def clear(self) -> None:
        """Cancel all of them."""
        self._heap.clear()

    def _drop_cancelled(self) -> None:
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
