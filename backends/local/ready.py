"""The queue of tasks that may start, first come, first served."""

from __future__ import annotations

from collections import deque

from ...runtime.frontier import Family


class ReadyQueue:
    """Families in the order in which they became ready, expanded one task (or one whole gang) at a time.

    Strictly first come, first served: a gang at the head waits for its slots and nothing passes it, so that a stream of
    small tasks cannot starve it.
    """

    def __init__(self) -> None:
        self._families: deque[Family] = deque()
        self._position = 0
        self._length = 0

    def __len__(self) -> int:
        """How many tasks wait."""
        return self._length

    def push(self, family: Family) -> None:
        """Add a family at the end; one of width 0 adds nothing."""
        if family.size:
            self._families.append(family)
            self._length += family.size

    def head(self) -> tuple[Family, int] | None:
        """What is to start next: a family and the position in it (0 for a gang); None where nothing waits."""
        return (self._families[0], self._position) if self._families else None

    def pop(self) -> None:
        """Take the head off: one task, or all ranks of a gang."""
        family = self._families[0]
        taken = family.size if family.gang else 1
        self._length -= taken
        self._position += taken
        if self._position >= family.size:
            self._families.popleft()
            self._position = 0

    def clear(self) -> None:
        """Forget everything that waits."""
        self._families.clear()
        self._position = self._length = 0


def fits(slots: int, free: int, limit: int) -> bool:
    """Whether work that needs ``slots`` may start when ``free`` of ``limit`` are free.

    A gang wider than the limit starts when it has the machine to itself, with all its ranks.
    """
    return free >= min(slots, limit)
