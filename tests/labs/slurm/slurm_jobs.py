"""What Slurm's commands print of jobs, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = "\x1f"
SQUEUE = ["squeue", "--noheader", "--array", "--all", "-o", _MARK.join(("%i", "%F", "%T", "%r", "%N", "%E", "%j"))]
"""The command whose lines :func:`jobs_of` reads."""

ENDED = frozenset(
    (
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    )
)


@dataclass(frozen=True)
class Job:
    """One line of squeue.

    Attributes
    ----------
    id : str
        ``12``, or ``12_3`` for a task of an array.
    array : str
        The array's own number; that of the job if it is none.
    state : str
        ``PENDING``, ``RUNNING``, ``COMPLETED``, ``FAILED``, ...
    reason, nodes, dependency, name : str
        As squeue prints them: why it waits, ``node[0-1]``, ``afterok:7(unfulfilled)``; "" for none.
    """

    id: str
    array: str
    state: str
    reason: str
    nodes: str
    dependency: str
    name: str

    @property
    def index(self) -> int:
        """In its array; 0 if it is none."""
        return int(self.id.partition("_")[2] or 0)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ENDED


def jobs_of(text: str) -> list[Job]:
    """The jobs that squeue printed."""
    found = []
    for line in text.splitlines():
        number, array, state, reason, nodes, dependency, name = line.split(_MARK)
        found.append(Job(number, array, state, _given(reason), nodes, _given(dependency), name))
    return found


def _given(text: str) -> str:
    return "" if text in ("(null)", "None") else text


def details_of(text: str) -> dict[str, str]:
    """The fields of the job that ``scontrol -o show job`` printed."""
    pieces = re.split(r" (?=[A-Za-z/:]+=)", text.splitlines()[0])
    return dict(piece.split("=", 1) for piece in pieces)
