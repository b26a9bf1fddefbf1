"""What is true of a run on Slurm: what it says itself, and where it can say nothing any more, what Slurm says."""

from __future__ import annotations

import time
from collections import Counter
from typing import NamedTuple, Optional

from ..datastore.base import Datastore
from ..report import INTERRUPTED as INTERRUPTED_TYPE
from ..report import Failure
from ..runs import FAILED, INTERRUPTED, RUNNING, RunInfo, RunStatus, read_status
from .cancelling import cancel_others
from .commands import Commands, ControllerAway, LiveJob, SlurmMissing
from .journal import Journal
from .supervise import LOST

_YOUNG = 60.0
"""Seconds in which a run of which nothing is in the queue may just be being submitted."""

_WAITING = 300.0
"""Seconds in which whoever waits for room in the queue says again that it does, twice over: one try takes up to 140."""

_GOING = 90.0
"""Seconds in which cancelled jobs are gone: Slurm kills those that linger after KillWait, which is 30."""

_GOOD = ("COMPLETED", "RUNNING", "PENDING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED")


class Look(NamedTuple):
    """A look at a run.

    Parameters
    ----------
    status : RunStatus
    jobs : tuple of LiveJob or None
        What of it waits or runs; None where Slurm could not be asked.
    """

    status: RunStatus
    jobs: Optional[tuple[LiveJob, ...]] = None

    @property
    def counts(self) -> dict[str, int]:
        """How many entries of the queue are in which state."""
        return dict(Counter(job.state for job in self.jobs or ()))


def look(datastore: Datastore, run: RunInfo, commands: Optional[Commands] = None) -> Look:
    """How a run stands. Where it says that it is running and nothing of it is in the queue, it is over: a job ended
    without a word, as when its node died. That is then written down as what it failed on.
    """
    journal = Journal(datastore, run)
    journal.tell()
    status = read_status(datastore, run)
    if status.state != RUNNING:
        return Look(status)
    settings = journal.settings
    commands = commands or Commands()
    try:
        jobs = () if settings is None else tuple(commands.live(settings.user, settings.prefix))
    except (ControllerAway, SlurmMissing):
        return Look(status)
    if jobs:
        return Look(status, jobs)
    # A job may have ended, and submitted others, between the two looks.
    journal.tell()
    status = read_status(datastore, run)
    if status.state != RUNNING or (time.time() - run.created < _YOUNG and not journal.jobs()):
        return Look(status, jobs)
    if time.time() - journal.last_waited() < _WAITING:
        return Look(status, jobs)
    if settings is not None and commands.live(settings.user, settings.prefix):
        return Look(status, jobs)
    journal.end(FAILED, time.time(), _why(journal, commands))
    return Look(read_status(datastore, run), jobs)


def wait_until_gone(datastore: Datastore, run: RunInfo, commands: Optional[Commands] = None) -> bool:
    """Wait until nothing of a run that has ended is at work any more: its jobs are cancelled, which takes them a
    moment, and until then their tasks may still be done. False where that takes longer than it should.
    """
    settings = Journal(datastore, run).settings
    if settings is None:
        return True
    commands = commands or Commands()
    until, wait = time.monotonic() + _GOING, 0.1
    try:
        while commands.live(settings.user, settings.prefix):
            if time.monotonic() > until:
                return False
            time.sleep(wait)
            wait = min(2 * wait, 2.0)
    except (ControllerAway, SlurmMissing):
        return False
    return True


def _why(journal: Journal, commands: Commands) -> Failure:
    """What can still be found out about a run that ended without saying so."""
    known = journal.jobs()
    if not known:
        return Failure(None, 0, LOST, "its submission was cut off before any job was submitted; resume the run")
    found = []
    for key, job in sorted(known.items(), key=lambda item: item[1]):
        for shown in commands.show_all(job):
            state = shown.get("JobState", "")
            if state and state not in _GOOD and shown.get("Reason") != "DependencyNeverSatisfied":
                found.append((shown.get("EndTime", ""), key, job, state, shown.get("NodeList", "")))
    if not found:
        return Failure(
            None, 0, LOST, "nothing of it is in Slurm's queue any more, and no job said why it ended; resume the run"
        )
    _, key, job, state, nodes = min(found)
    step, _, index = key.partition(".")
    address = f"{step}/{index}" if index and index[0].isdigit() and ".c" not in index else step
    on = f" on {nodes}" if nodes and nodes != "(null)" else ""
    text = f"job {job}{on} ended without a word of its own: Slurm says {state}"
    return Failure(address, 0, LOST, text)


def cancel(datastore: Datastore, run: RunInfo, commands: Optional[Commands] = None) -> int:
    """End a run: it is then ``interrupted``. Says how many entries of the queue were cancelled.

    Raises
    ------
    SlurmError
        If Slurm cannot be told.
    """
    journal = Journal(datastore, run)
    journal.end(INTERRUPTED, time.time(), Failure(None, 0, INTERRUPTED_TYPE, "ended by flowc cancel"))
    commands = commands or Commands()
    count = 0
    # Jobs that were just being submitted may come to light only at the second look.
    for _ in range(20):
        found = cancel_others(journal, commands, None)
        count = max(count, found)
        if not found:
            break
        time.sleep(0.3)
    return count
