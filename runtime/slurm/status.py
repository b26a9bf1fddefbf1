"""What is true of a run on Slurm: what it says itself, and where it can say nothing any more, what Slurm says."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from typing import NamedTuple, Optional

from ..datastore.base import Datastore, DatastoreError
from ..logs import last_lines
from ..report import INTERRUPTED as INTERRUPTED_TYPE
from ..report import Failure
from ..runs import FAILED, INTERRUPTED, RUNNING, RunInfo, RunStatus, read_status
from .cancelling import cancel_others
from .commands import Commands, ControllerAway, LiveJob, SlurmError, SlurmMissing
from .journal import Journal, Settings
from .supervise import LOST

_YOUNG = 60.0
"""Seconds in which a run of which nothing is in the queue may just be being submitted."""

_WAITING = 300.0
"""Seconds in which whoever waits for room in the queue says again that it does, twice over: one try takes up to 140."""

_GOING = 90.0
"""Seconds in which cancelled jobs are gone: Slurm kills those that linger after KillWait, which is 30."""

_GOOD = ("COMPLETED", "RUNNING", "PENDING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED")


class JobsUnseen(SlurmError):
    """What the queue shows here says nothing about a run."""

    exit_code = 1


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
    try:
        elsewhere = _elsewhere(settings, commands)
    except ControllerAway:
        return Look(status)
    if elsewhere:
        sys.stderr.write(f"flowc: the jobs of run {run.prefix} cannot be seen from here; ask {elsewhere}\n")
        return Look(status)
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


def glance(datastore: Datastore, run: RunInfo) -> RunStatus:
    """The status of a look at a run; where Slurm does not answer here and now, what the run says itself."""
    try:
        return look(datastore, run, Commands(patience=0.0)).status
    except (SlurmError, DatastoreError):
        return read_status(datastore, run)


def _elsewhere(settings: Optional[Settings], commands: Commands) -> str:
    """Where to ask after a run of which nothing is in the queue; empty if that it is not there can be believed.

    Another cluster may have the same folders and not the jobs, and may hide them from other users (PrivateData).
    """
    if settings is None or settings.uid is None:
        return ""
    words = [] if os.getuid() in (0, settings.uid) else [f"as user {settings.user}"]
    here = commands.cluster().name if settings.cluster else ""
    if here != settings.cluster:
        words.append(f"on cluster {settings.cluster} (this is {here})")
    return " ".join(words)


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
    if not journal.jobs():
        return Failure(None, 0, LOST, "its submission was cut off before any job was submitted; resume the run")
    text = "nothing of it is in Slurm's queue any more, and no job said why it ended; resume the run"
    return lost_job(journal, commands) or Failure(None, 0, LOST, text)


def lost_job(journal: Journal, commands: Commands) -> Optional[Failure]:
    """The first job of a run of which Slurm says that it ended badly; None where it says so of none."""
    found = []
    for key, job in sorted(journal.jobs().items(), key=lambda item: item[1]):
        for shown in commands.show_all(job):
            state = shown.get("JobState", "")
            if state and state not in _GOOD and shown.get("Reason") != "DependencyNeverSatisfied":
                where = (shown.get("NodeList", ""), shown.get("StdOut", ""))
                # One that lacked memory for a while may have ended well all the same.
                found.append((state == "OUT_OF_MEMORY", shown.get("EndTime", ""), key, job, state, where))
    if not found:
        return None
    _, _, key, job, state, (nodes, output) = min(found)
    step, _, index = key.partition(".")
    address = f"{step}/{index}" if index and index[0].isdigit() and ".c" not in index else step
    on = f" on {nodes}" if nodes and nodes != "(null)" else ""
    text = f"job {job}{on} ended without a word of its own: Slurm says {state}"
    # What went wrong before flowc could run stands only there: a module, or a Python, that the node does not have.
    lines = tuple(last_lines(output))
    if on and output and not os.path.exists(output):
        text += f"; the nodes may not see this folder, for its output {output} was never begun"
    return Failure(address, 0, LOST, text, last_lines=lines)


def cancel(datastore: Datastore, run: RunInfo, commands: Optional[Commands] = None) -> int:
    """End a run: it is then ``interrupted``. Says how many entries of the queue were cancelled.

    Raises
    ------
    SlurmError
        If Slurm cannot be told, or the run's jobs cannot be seen from here; the run is then left as it is.
    """
    journal = Journal(datastore, run)
    settings = journal.settings
    commands = commands or Commands()
    try:
        elsewhere = _elsewhere(settings, commands)
        if elsewhere and settings is not None and not commands.live(settings.user, settings.prefix):
            text = f"run {run.prefix} is left as it is, for its jobs cannot be seen from here; cancel it {elsewhere}"
            raise JobsUnseen(text)
    except ControllerAway:
        pass  # the run's own jobs still hear of it
    journal.end(INTERRUPTED, time.time(), Failure(None, 0, INTERRUPTED_TYPE, "ended by flowc cancel"))
    count = 0
    # Jobs that were just being submitted may come to light only at the second look.
    for _ in range(20):
        found = cancel_others(journal, commands, None)
        count = max(count, found)
        if not found:
            break
        time.sleep(0.3)
    return count
