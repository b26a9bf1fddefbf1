"""What a job does: it runs the attempts of its task, one after the other, and submits what follows from the last.

The process is the job's script itself (which replaces itself by it), so the signals that Slurm sends to the script come
here. It waits in one place for signals, the end of the attempt and the clock.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Optional

from ...dsl import FlowcError
from .. import contract, preemptions
from ..address import Address, parse_index
from ..datastore import open_datastore
from ..lineage import Lineage
from ..outline import ContractError, StepOutline
from ..record import Record
from ..report import PREEMPTED, RANK_LOST, TIMEOUT, Failure
from ..runs import FAILED, read_run
from ..variables import required
from .attempt import HEARD, Attempt, End, say
from .commands import Commands, ControllerAway, SlurmError, own_job
from .journal import Journal
from .submission import RunOver, Submitter, find_done

CANCELLED = "Cancelled"
"""Type of the failure of a task whose job was cancelled."""

LOST = "JobLost"
"""Type of the failure of a task whose job ended without a word of its own."""

_PARENTS = 8.0
"""Seconds within which the records of the tasks before must show on this machine; shared folders are not instant."""

_REASON = 1.0
_NEAR_LIMIT = "the job's time limit is near"


def supervise(step: str, command: Sequence[str], commands: Optional[Commands] = None) -> int:
    """Run a step's task to its end and see to what follows; returns the job's exit code.

    Raises
    ------
    FlowcError
        If the job does not fit its run, or the run cannot be read.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    datastore = open_datastore()
    run = read_run(datastore, _required(contract.FLOW_NAME), _required(contract.RUN_ID))
    return Job(Journal(datastore, run), step, command, commands or Commands()).run()


def _required(name: str) -> str:
    return required(name, "jobs of a run are submitted by submit.sh or by `flowc submit`")


class Job:
    """One job at work.

    Attributes
    ----------
    address : Address
        Its task; of a gang, without the rank.
    ranks : list of Address
        The task alone, or all ranks of the gang.
    taken_away : bool
        Slurm ends the job: nothing more can be begun in it.
    warned : bool
        Its time limit is near.
    waits : str
        Why it is still there when its task is done; empty where it is not for that.
    """

    def __init__(self, journal: Journal, step: str, command: Sequence[str], commands: Commands) -> None:
        self.journal = journal
        self.run_info = journal.run
        self.outline = self.run_info.outline
        self.records = self.run_info.records(journal.datastore)
        self.commands = commands
        self.command = list(command)
        if step not in self.outline:
            raise ContractError(
                f"flow {self.run_info.flow} has no step {step!r}; it has {', '.join(self.outline.steps)}"
            )
        self.step: StepOutline = self.outline[step]
        self.address = _address(step)
        self.job = own_job(os.environ) or f"pid{os.getpid()}"
        self.ranks: list[Address] = []
        self.taken_away = False
        self.warned = False
        self.waits = ""

    @property
    def gang(self) -> bool:
        """Whether it is a gang."""
        return self.step.kind == "gang"

    @property
    def saves(self) -> bool:
        """Whether an attempt may leave a checkpoint, from which the next one goes on."""
        return "checkpoint" in self.step.features

    @property
    def first(self) -> Address:
        """The task, or rank 0 of the gang."""
        return self.ranks[0]

    def run(self) -> int:
        """Do what is left to do; returns the exit code."""
        if os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
            from .output import BEGUN

            say(BEGUN[len("flowc: ") :])
        if self.journal.has_ended:
            self.journal.tell()
            say("the run has ended; nothing is left to do")
            return 1
        try:
            if not self._claim():
                return 0
            self._find_ranks()
            record = find_done(self.run_info, self.records, self.address)
            if record is None:
                self._check_parents()
                record = self._attempts()
                if record is None or self._started_anew_for_memory():
                    return 1
            self._consequences(record)
            return 0
        except RunOver as error:
            say(str(error))
            return 1
        except Exception as error:
            if not isinstance(error, FlowcError):
                # Such as no room for another process. The run's other jobs must not go on without an end.
                import traceback

                traceback.print_exc()
            self._fail(Failure(str(self.address), 0, type(error).__name__, str(error)))
            return 1

    # Before -----------------------------------------------------------------------------------------------------------

    def _claim(self) -> bool:
        """Make sure that no other job does the same; False where another one has done it, or does it."""
        number = 0
        while True:
            holder = self.journal.claim(self.address, self.job, number)
            if holder is None:
                return True
            # Two jobs for one task can only come from a submission that seemed lost and was not.
            say(f"job {holder} is at work on {self.address} already")
            while self._is_live(holder):
                if self.journal.has_ended:
                    raise RunOver("the run has ended")
                self._pause(5.0)
            if find_done(self.run_info, self.records, self.address) is not None:
                return False
            number += 1

    def _is_live(self, holder: str) -> bool:
        try:
            return self.commands.is_live(holder)
        except ControllerAway:
            return True  # nobody can say otherwise; it is asked again

    def _find_ranks(self) -> None:
        if not self.gang:
            self.ranks = [self.address]
            return
        control = Address(self.address.step, (*self.address.index, 0), self.address.round)
        depth = len(control.index) - 1
        size = self._patiently(lambda: Lineage(self.outline, self.records, control).width(depth))
        self.ranks = [Address(control.step, (*self.address.index, rank), control.round) for rank in range(size)]

    def _check_parents(self) -> None:
        """A task trusts the records of those before it, not the scheduler: that an unknown job went well, Slurm says
        of every job that it has forgotten."""

        def look() -> int:
            lineage = Lineage(self.outline, self.records, self.first)
            if self.step.joins is None:
                lineage.parent()
            else:
                for number in range(lineage.branches()):
                    lineage.branch(number)
            return 0

        try:
            self._patiently(look)
        except ContractError:
            from .status import lost_job

            lost = lost_job(self.journal, self.commands)
            if lost is None:
                raise
            self._fail(lost)
            raise RunOver("a job before this one is lost") from None

    def _patiently(self, look: object) -> int:
        assert callable(look)
        wait, until = 0.1, time.monotonic() + _PARENTS
        while True:
            try:
                found: int = look()
                return found
            except ContractError:
                if time.monotonic() > until:
                    raise
            self._pause(wait)
            wait *= 2

    def _started_anew_for_memory(self) -> bool:
        """Have Slurm start the job again, to end well at once; False where there is no need, or Slurm does not.

        Of a job in which a process was killed for want of memory it says OUT_OF_MEMORY, whatever came afterwards, and
        a task of another array that waits for this one would never begin.
        """
        if contract.SLURM_BASE not in os.environ:
            return False
        from .out_of_memory import lacked_memory

        if not lacked_memory() or not self.commands.requeue(self.job):
            return False
        say("the job lacked memory for a while, which Slurm takes for its failure; a new start of it ends well")
        signal.sigtimedwait({signal.SIGTERM}, 120.0)
        return True

    def _pause(self, seconds: float) -> None:
        """Wait; SIGTERM ends it with the job."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            found = signal.sigtimedwait(HEARD, left)
            if found is None:
                return
            if found.si_signo in (signal.SIGTERM, signal.SIGINT):
                self._asked_to_end(None)
                raise RunOver("the job was taken away")
            if found.si_signo == signal.SIGUSR1:
                self.warned = True

    # Attempts ---------------------------------------------------------------------------------------------------------

    def _attempts(self) -> Optional[Record]:
        """Make attempts until one is done; None where the task has failed for good or the job is taken away."""
        retry, caught = self.step.retry, None
        times = 0 if retry is None else retry.times
        while True:
            before = self.records.attempts(self.first)
            failed = self.journal.failed(self.address, before)
            preempted = len(before) - failed
            left = max(0, times - failed)
            number = before[-1] + 1 if before else 0
            end = self._attempt(number, left, caught)
            if end.failure is None and not end.left:
                record = find_done(self.run_info, self.records, self.address)
                assert record is not None
                return record
            if end.left:
                return None
            failure = end.failure
            assert failure is not None
            if self.journal.has_ended:
                raise RunOver("the run has ended")
            say(str(failure))
            if caught is None and failure.type == PREEMPTED and times and preempted < preemptions.MOST:
                self.journal.set_preempted(self.address, number)
                why = _NEAR_LIMIT if self.warned else "the job is preempted" if self._is_preempted() else ""
                if why:
                    self._start_anew(why)
                    return None
                continue
            self.journal.set_failed(self.address, number)
            if caught is None and left and (self.warned or failure.type == RANK_LOST):
                # In this allocation there is no time for another attempt, or no node in the place of the lost one.
                self._start_anew(_NEAR_LIMIT if self.warned else "a rank was lost")
                return None
            if caught is None and left:
                assert retry is not None
                self._pause(retry.wait_before(failed + 1))
                if self.journal.has_ended:
                    raise RunOver("the run has ended")
            elif caught is None and self.step.catch is not None:
                caught = {"type": failure.type, "message": failure.message, "traceback": failure.traceback}
            else:
                self._fail(failure)
                return None

    def _start_anew(self, why: str) -> None:
        """Give the job back to Slurm, which starts it again, perhaps elsewhere; dependants wait on."""
        say(f"{why}; the task goes on in a new start of the job")
        if not self.commands.requeue(self.job):
            text = f"{why}, and Slurm does not start the job again (--no-requeue?)"
            self._fail(Failure(str(self.first), 0, PREEMPTED, text))
            return
        # Slurm ends this process; an exit code of its own would end the job.
        signal.sigtimedwait({signal.SIGTERM}, 120.0)

    def _attempt(self, number: int, left: int, caught: Optional[dict[str, str]]) -> End:
        for address in self.ranks[:1]:
            self.journal.datastore.create_folder(self.records.folder(address, number))
        return Attempt(self, number, left, caught).run()

    def is_done(self, number: int) -> bool:
        """Whether every rank has committed its record in this attempt."""
        return not self.late(number)

    def late(self, number: int) -> list[Address]:
        """The ranks that have not."""
        found = []
        for address in self.ranks:
            record = self.records.read(address, number)
            if record is None or not record.done:
                found.append(address)
        return found

    # Ending -----------------------------------------------------------------------------------------------------------

    def asked_to_end(self, attempt: int) -> None:
        """Slurm ends the job: find out why, and say so while there is time."""
        self._asked_to_end(attempt)

    def _asked_to_end(self, attempt: Optional[int]) -> None:
        if self.taken_away:
            return
        self.taken_away = True
        if self.journal.has_ended:
            return
        why, requeue = self._why_ended()
        address = str(self.first if self.ranks else self.address)
        if why == "":
            text = f"job {self.job} was cancelled from outside (scancel)"
            self._fail(Failure(address, attempt or 0, CANCELLED, text))
        elif why == "TIME LIMIT" and self._is_preempted():
            text = f"job {self.job} was preempted, and its partition's grace time is over"
            if self.step.retry is not None and self.commands.requeue(self.job):
                say(f"{text}; the task goes on in a new start of the job")
            else:
                self._fail(Failure(address, attempt or 0, PREEMPTED, text))
        elif why == "TIME LIMIT":
            text = f"job {self.job} reached its time limit; "
            text += f"its task is done, but {self.waits}" if self.waits else "give the step more time"
            self._fail(Failure(address, attempt or 0, TIMEOUT, text))
        elif why == "PREEMPTION":
            text = f"job {self.job} was preempted"
            if not requeue or self.step.retry is None:
                self._fail(Failure(address, attempt or 0, PREEMPTED, text))
            elif self.commands.requeue(self.job):
                # Under PreemptMode=CANCEL Slurm ends what it preempts, and starts it again only if it is asked to.
                say(f"{text}; the task goes on in a new start of the job")
            else:
                say(f"{text}, and Slurm starts it again")
        elif requeue:
            say(f"the job is ended from outside ({(why or 'nobody says why').lower()}) and may start again")
        else:
            text = f"job {self.job} was ended by Slurm: {(why or 'nobody says why').lower()}"
            self._fail(Failure(address, attempt or 0, LOST, text))

    def _is_preempted(self) -> bool:
        """Whether Slurm wants the job's nodes for another and waits for as long as the partition's GraceTime says.

        It tells the steps of the job, not its script. What still runs when the time is over is requeued, or ended as if
        it had reached its time limit: both were seen.
        """
        try:
            return self.commands.show(self.job).get("PreemptTime", "None") != "None"
        except SlurmError:
            return False

    def _why_ended(self) -> tuple[Optional[str], bool]:
        """What Slurm ends the job for, empty where somebody cancelled it and None where it does not say; and whether it
        may start the job again.

        While a job is ending, the controller shows nothing but that. Its reason stands in the job's output.
        """
        from .output import cancelled_for

        until = time.monotonic() + _REASON
        why = cancelled_for()
        while why is None and time.monotonic() < until:
            time.sleep(0.05)
            why = cancelled_for()
        if why in ("", "TIME LIMIT"):
            return why, False
        known = self.commands.show(self.job)
        state = known.get("JobState", "")
        if why is None and state in ("CANCELLED", "TIMEOUT"):
            return ("" if state == "CANCELLED" else "TIME LIMIT"), False
        return why, known.get("Requeue") != "0"

    def _fail(self, failure: Failure) -> None:
        say(str(failure))
        if not self.journal.end(FAILED, time.time(), failure):
            return
        from .cancelling import cancel_others

        try:
            cancel_others(self.journal, self.commands, self.job)
        except SlurmError as error:
            say(f"the run's other jobs could not be cancelled, and end when they come to it: {error}")

    def _consequences(self, record: Record) -> None:
        region = os.environ.get(contract.SLURM_REGION)
        submitter = Submitter(self.journal, self.commands, heed=self._heed, pause=self._pause_for_room)
        submitter.draw(self.address, record, region)

    def _pause_for_room(self, seconds: float, why: str) -> None:
        """Wait until there may be room in the queue; a new start of the job has nothing but that to do."""
        self.waits = why
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.warned and self.step.retry is not None:
                self._start_anew(f"{_NEAR_LIMIT}, and {why}")
                raise RunOver("what follows the task is left to that start")
            self._pause(min(left, 1.0))

    def _heed(self) -> None:
        """Hear, between two tries to submit, whether the job is to end."""
        if signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, 0) is not None:
            self._asked_to_end(None)
            raise RunOver("the job was taken away")


def _address(step: str) -> Address:
    try:
        index = parse_index(os.environ.get(contract.SLURM_INDEX, ""))
        base = os.environ.get(contract.SLURM_BASE)
        if base:
            index = (*index, int(base) + int(_required("SLURM_ARRAY_TASK_ID")))
        return Address(step, index, int(os.environ.get(contract.ROUND) or 1))
    except ValueError as error:
        raise ContractError(f"the job's place in the flow cannot be read from its environment: {error}") from error
