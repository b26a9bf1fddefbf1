"""Where the control rank of a job's gang is, that a signal may reach it alone.

What srun hands on, and what scancel sends, reaches every process of the step: those of the frameworks, too, which a
signal that they do not know would kill.
"""

from __future__ import annotations

import os
from typing import Optional

from ..processes import stat

PROC = "/proc"
_STARTED_BY = (b"start-flowc.py", b"flowc.runtime")


def find(job: str) -> Optional[int]:
    """The process that supervises rank 0 of the gang, a task of srun's on this node.

    Parameters
    ----------
    job : str
        The job's id, of a task of an array its own.

    Returns
    -------
    int or None
        Its id; None where it is not on this node, or cannot be seen.
    """
    parents: dict[int, int] = {}
    for name in filter(str.isdecimal, os.listdir(PROC)):
        try:
            if _is_of_rank_0(job, _words(name, "environ"), _words(name, "cmdline")):
                parents[int(name)] = _parent(name)
        except OSError:
            continue  # it is gone, or another user's
    # All that it has forked looks like it.
    return next((pid for pid, parent in sorted(parents.items()) if parent not in parents), None)


def _is_of_rank_0(job: str, environ: list[bytes], argv: list[bytes]) -> bool:
    if b"SLURM_PROCID=0" not in environ or b"SLURM_JOB_ID=" + job.encode() not in environ:
        return False
    starts = [at for at, word in enumerate(argv[:4]) if word.endswith(_STARTED_BY)]
    return bool(starts) and argv[starts[0] + 1 : starts[0] + 2] == [b"step"]


def _words(process: str, what: str) -> list[bytes]:
    with open(os.path.join(PROC, process, what), "rb") as file:
        return file.read().split(b"\0")


def _parent(process: str) -> int:
    return int(stat(process, PROC)[1])


__all__ = ["find"]
