"""One attempt of a job's task: a process, the clock, and the signals that come meanwhile."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Optional

from .. import contract
from ..address import Address
from ..outline import ContractError
from ..report import PREEMPTED, TIMEOUT, Failure, exit_of, too_long

if TYPE_CHECKING:
    from .supervise import Job

HEARD = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD}
"""The signals that a job waits for, in one place; they are blocked everywhere else."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a task that takes too long."""

_OWN = (signal.SIGUSR1, signal.SIGTERM)
"""What the job's script may have set to be ignored until the job is ready for it."""

_PYTHONS = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores, and a script of bash could never again take as any program does."""

_START = 120.0
"""Seconds that an attempt with a timeout may take until its step's process is there."""

_LOOK = 0.1
_LONGEST_VARIABLE = 120_000
"""Bytes of one environment variable that Linux surely takes: MAX_ARG_STRLEN is 128 KiB, with the name and a zero."""


class End(NamedTuple):
    """How an attempt ended.

    Parameters
    ----------
    failure : Failure or None
        None if it is done.
    left : bool
        The job is being taken away; nothing more can be done in it, and somebody else says why.
    """

    failure: Optional[Failure] = None
    left: bool = False


class Attempt:
    """One attempt.

    Parameters
    ----------
    number : int
        Of the attempt, from 0.
    left : int
        How many more may follow it.
    caught : dict or None
        For ``@catch``: the failure that this attempt only records.
    """

    def __init__(self, job: Job, number: int, left: int, caught: Optional[dict[str, str]]) -> None:
        from .output import Output

        self.job = job
        self.number = number
        self.caught = caught
        self.environment = self._environment(left, caught)
        self.output = Output()
        self.timed_out: Optional[Failure] = None
        self.kill_at: Optional[float] = None
        self.pid = 0

    def _environment(self, left: int, caught: Optional[dict[str, str]]) -> dict[str, str]:
        address = self.job.address
        environment = {
            **os.environ,
            contract.INDEX: address.task_id if address.index else "",
            contract.ROUND: str(address.round),
            contract.ATTEMPT: str(self.number),
            contract.RETRIES_LEFT: str(left),
            contract.LOGS: "datastore",
        }
        environment.setdefault(contract.PREEMPT_GRACE, f"{self._saving():.15g}")
        # Attempts are numbered here; a gang would add the restarts of its job to the number.
        environment.pop("SLURM_RESTART_COUNT", None)
        environment.pop(contract.CAUGHT, None)
        if caught is not None:
            environment[contract.CAUGHT] = _short_json(caught)
        return environment

    def run(self) -> End:
        """Run the attempt to its end."""
        job = self.job
        if signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, 0) is not None:
            # It came between two attempts, and this one would never get it.
            job.asked_to_end(self.number)
            return End(left=True)
        if job.warned and self.caught is None:
            # Too late to begin: the time that is left is for saving what there is. To record a failure takes none.
            return End(self._preempted())
        if job.step.retry is not None or job.step.catch is not None:
            # What an attempt leaves running must not meet the next one.
            from ..processes import adopt_orphans

            adopt_orphans(True)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = self._spawned() if job.command else self._forked()
        status = self._wait()
        self._sweep()
        if job.is_done(self.number):
            return End()
        if job.taken_away:
            return End(left=True)
        return End(self._failure(status))

    def _spawned(self) -> int:
        """Start the script that sets up the attempt."""
        command = self.job.command
        program = command[0]
        path = program if "/" in program else _find(program)
        given = (*_OWN, *_PYTHONS)
        try:
            return os.posix_spawn(path, command, self.environment, setsid=True, setsigmask=(), setsigdef=given)
        except NotImplementedError:  # an old C library
            return os.posix_spawn(path, command, self.environment, setpgroup=0, setsigmask=(), setsigdef=given)

    def _forked(self) -> int:
        """Fork the step's process from this one, which has read what it needs."""
        # Imported before: what a forked process writes to, the kernel copies for it.
        from .forked import run

        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            code = run(self.job.step.name, self.environment, _OWN)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    # Waiting ----------------------------------------------------------------------------------------------------------

    def _wait(self) -> int:
        timeout = self.job.step.timeout
        # Modules, a container and the interpreter come before the step, and are given time of their own.
        late_at = None if not timeout else time.monotonic() + timeout + _START
        begun = not timeout
        while True:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                return status
            now = time.monotonic()
            if not begun and self._has_begun():
                begun, late_at = True, now + (timeout or 0.0)
            if late_at is not None and now >= late_at:
                late_at = None
                self._timeout()
            if self.kill_at is not None and now >= self.kill_at:
                self.kill_at = now + 5.0
                self._signal(signal.SIGKILL)
            look_at = None if begun else now + _LOOK
            due = min((at for at in (late_at, self.kill_at, look_at) if at is not None), default=now + 3600.0)
            heard = signal.sigtimedwait(HEARD, max(0.0, due - now))
            if heard is None or heard.si_signo == signal.SIGCHLD:
                continue
            if heard.si_signo == signal.SIGUSR1:
                self._warned()
            else:
                # Slurm has sent SIGTERM to every process of the job, so the attempt has it, too.
                self.job.asked_to_end(self.number)
                self.kill_at = self.kill_at or time.monotonic() + self._saving() + 1.0

    def _has_begun(self) -> bool:
        """Whether the step's own process is there: the first thing that it does is to open its log."""
        job = self.job
        return job.journal.datastore.exists(f"{job.records.folder(job.first, self.number)}/stdout.log")

    def _warned(self) -> None:
        """The time limit of the job is near: there is time for a checkpoint, or to go on to a retry or a catch."""
        if self.job.warned or self.kill_at is not None:
            return
        self.job.warned = True
        if self.job.saves:
            say("the job's time limit is near; the attempt is asked to save a checkpoint and to end")
            self._ask_to_end(self._saving() + 1.0)
            return
        say("the job's time limit is near; the attempt is ended")
        rank = 0 if self.job.gang else None
        text = "was still at work when the time limit of its job was near; give the step more time"
        self.timed_out = Failure(str(self.job.first), self.number, TIMEOUT, text, rank)
        self._ask_to_end(GRACE)

    def _timeout(self) -> None:
        if self.kill_at is not None:
            return
        job = self.job
        seconds = job.step.timeout
        # The control rank stays until all are done; one that has committed its work is not late.
        late = job.late(self.number) or job.ranks
        ranks = [address.index[-1] for address in late] if job.gang else []
        rank = ranks[0] if ranks else None
        self.timed_out = Failure(str(late[0]), self.number, TIMEOUT, too_long(seconds, ranks), rank)
        saves = job.gang or job.step.grace is not None
        self._ask_to_end(max(GRACE, self._saving() + 1.0) if saves else GRACE)

    def _saving(self) -> float:
        """Seconds that it has to save a checkpoint when it is asked to end."""
        said = self.job.step.grace
        try:
            return contract.preempt_grace(said)
        except ValueError:  # which the ranks say themselves
            return said or 30.0

    def _ask_to_end(self, grace: float) -> None:
        self.kill_at = time.monotonic() + grace
        if not self._is_srun():
            self._signal(signal.SIGTERM)
        elif self.job.gang:
            self._ask_gang_to_end()
        else:
            self.job.commands.signal_steps(self.job.job, "TERM")

    def _ask_gang_to_end(self) -> None:
        from ..processes import signal_process
        from . import control_rank

        control = control_rank.find(os.environ.get("SLURM_JOB_ID", ""))
        if control is not None:
            signal_process(control, signal.SIGTERM)  # it tells the others
        else:
            # srun kills its tasks at SIGTERM. This one it hands on, to every process of every rank.
            self._signal(signal.SIGUSR1)

    def _is_srun(self) -> bool:
        try:
            with open(f"/proc/{self.pid}/comm") as file:
                return file.read().strip() == "srun"
        except OSError:
            return False

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def _sweep(self) -> None:
        """What the attempt has left behind goes with it."""
        self._signal(signal.SIGKILL)
        if self.job.step.retry is None and self.job.step.catch is None:
            return  # it goes with the job
        from ..processes import kill_and_reap_children_except

        until = time.monotonic() + 5.0
        while kill_and_reap_children_except(()) and time.monotonic() < until:
            time.sleep(0.002)

    # What became of it ------------------------------------------------------------------------------------------------

    def _failure(self, status: int) -> Failure:
        from ..logs import said_last
        from .outcome import as_signal, failure_of_gang, failure_of_task

        job = self.job
        if self.timed_out is not None:
            code, name = exit_of(as_signal(status))
            late = Address.parse(self.timed_out.address or "")
            last = said_last(job.journal.datastore, job.records.folder(late, self.number)) or self.output.lines()
            return self.timed_out._replace(exit_code=code, signal=name, last_lines=last)
        if job.gang:
            failure = failure_of_gang(job.records, job.ranks, self.number, status, self.output)
        else:
            failure = failure_of_task(job.records, job.address, self.number, status, self.output)
        if job.warned and failure.type != PREEMPTED and failure.exit_code is None:
            failure = failure._replace(type=PREEMPTED, message=self._preempted().message)
        return failure

    def _preempted(self) -> Failure:
        rank = 0 if self.job.gang else None
        text = "was asked to end because the time limit of its job was near"
        return Failure(str(self.job.first), self.number, PREEMPTED, text, rank)


def _short_json(texts: Mapping[str, str]) -> str:
    """Texts as JSON that a variable can hold; of long ones, which are tracebacks, the ends."""
    size = max(map(len, texts.values()), default=0)
    while True:
        found = json.dumps({name: text[-size:] if size else "" for name, text in texts.items()})
        if len(found) <= _LONGEST_VARIABLE or not size:
            return found
        size = size * 2 // 3


def _find(program: str) -> str:
    import shutil

    found = shutil.which(program)
    if found is None:
        raise ContractError(f"there is no program {program} on the PATH of this machine")
    return found


def say(text: str) -> None:
    """Tell the job's own output."""
    sys.stderr.write(f"flowc: {text}\n")
    sys.stderr.flush()
