"""Taking the jobs of a run out of the queue."""

from __future__ import annotations

from typing import Optional

from .commands import Commands
from .journal import Journal


def cancel_others(journal: Journal, commands: Commands, own: Optional[str]) -> int:
    """Cancel all jobs of a run but this one; says how many entries of the queue that were.

    Raises
    ------
    SlurmError
    """
    settings = journal.settings
    if settings is None:
        return 0
    base, _, position = (own or "").partition("_")
    jobs: dict[str, None] = {}
    for live in commands.live(settings.user, settings.prefix):
        if live.state in ("COMPLETING", "COMPLETED") or live.id == own:
            continue
        array, _, _ = live.id.partition("_")
        # An array is cancelled as a whole, but for the one that this job is a task of.
        jobs[live.id if position and array == base else array] = None
    commands.cancel(list(jobs))
    return len(jobs)
