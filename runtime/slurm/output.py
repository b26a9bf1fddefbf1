"""The job's own output: what Slurm and the attempts write into it."""

from __future__ import annotations

import os
from typing import Optional

_CANCELLED = r"\*\*\* JOB \S+ ON \S+ CANCELLED AT \S+(?: (?i:DUE TO) ([^*]+))? \*\*\*"

BEGUN = "flowc: the job is started again"
"""How a job that was started again begins in its output."""


class Output:
    """The part of the job's own output that an attempt has written: what was said before the step's process began."""

    def __init__(self) -> None:
        try:
            self._path = os.readlink("/proc/self/fd/2")
            self._start = os.stat(self._path).st_size
        except OSError:
            self._path, self._start = "", 0

    def lines(self) -> tuple[str, ...]:
        """The last of its lines."""
        if not self._path:
            return ()
        from ..logs import last_lines

        return tuple(last_lines(self._path, start=self._start))


def cancelled_for() -> Optional[str]:
    """What Slurm ends this job for, as its daemon writes it into the job's output: ``TIME LIMIT``, ``PREEMPTION``,
    ``NODE FAILURE``, empty where somebody cancelled it; None where it has written nothing.

    A job that was started again appends to the output of the start before, so only the last such line is of it.
    """
    from ..logs import last_lines

    try:
        lines = last_lines(os.readlink("/proc/self/fd/2"))
    except OSError:
        return None
    import re

    for line in reversed(lines):
        found = re.search(_CANCELLED, line)
        if found is not None:
            why = (found.group(1) or "").split(",")[0].strip()
            # What somebody cancelled had no reason once, and has by now that of the signal: DUE to SIGNAL Terminated.
            return "" if why.upper().startswith("SIGNAL") else why
        if line.startswith(BEGUN):
            return None
    return None
