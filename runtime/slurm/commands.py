"""Slurm's own programs. Arguments are lists; nothing passes through a shell."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Optional

from ...dsl import FlowcError
from .. import contract

_CLEARED = ("SLURM", "SBATCH_", "SRUN_", "SQUEUE_", "SCANCEL_", "SALLOC_")
_KEPT = frozenset(
    ["SLURM_CONF", "SLURM_CONF_SERVER", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_RESERVATION"]
)
"""Where the cluster is, and what a user of many sites says there once for all jobs that do not say it themselves."""

_REFUSAL = r"Batch job submission failed: (.*)"
"""How sbatch ends, with Slurm's own reason. The lines before it may be a site's own, of its job_submit.lua."""

_AWAY = (
    "(?i)unable to contact slurm controller|unable to establish controller|in standby mode|primary not responding"
    "|socket timed out on send/recv|zero bytes were transmitted or received|unexpected message received"
    "|communication (connection|shutdown) failure|message (send|receive) failure"
    "|transport endpoint is not connected|connection (refused|reset|timed out)|no route to host|network is unreachable"
    "|resource temporarily unavailable|unable to create job record, try again|job update not available right now"
    "|job can not be altered now, try again|failed to connect to authentication agent|(?m:^[a-z]+ timed out$)"
)
"""What Slurm says, and this file, where the controller was not reached or could not do it just then."""

_NO_MUNGE = "error: Munge (en|de)code failed: (Failed to (access|connect)|Socket)"
"""Slurm then ends in words that it has for wrong credentials, too."""

_FULL = "(Max|Grp)SubmitJob|submit job limit reached"
"""How a limit on the number of somebody's jobs is called (https://slurm.schedmd.com/resource_limits.html): it lets more
in when others have ended. sbatch says the reason in a line of its own, before the one that stands for many reasons."""

_FULL_FOR_MANY = "GrpSubmitJob|MaxSubmitJobs?PerAccount"
"""Those of them that count the jobs of others, too."""

_FULL_FOR_ALL = "temporarily unable to accept job|job queue full|MaxJobCount"
"""How sbatch says that the controller holds MaxJobCount jobs, of whomever (https://slurm.schedmd.com/slurm.conf.html).
It tries again by itself for two minutes."""

_WAITS = "flowc waits for room in the queue"
"""Comment of a job that does so, for flowc's other runs to see."""

_STUCK = ("Dependency", "DependencyNeverSatisfied", "JobHeldUser", "JobHeldAdmin")
"""Reasons of jobs that nothing makes room by: they may wait for what is to be submitted, or for a person."""

_SQUEUE = ("squeue", "--all", "--noheader")
"""Without --all it shows not even one's own jobs where their partition is hidden."""

_PATIENCE = 600.0
_FULL_WAIT = 20.0
_LONGEST_ANSWER = 120.0


class SlurmError(FlowcError):
    """Slurm does not do what was asked."""


class SlurmMissing(SlurmError):
    """There is no Slurm on this machine."""


class ControllerAway(SlurmError):
    """The controller does not answer, for as long as one may wait for it."""


class Answer(NamedTuple):
    """What a program of Slurm said."""

    code: int
    out: str
    err: str

    @property
    def away(self) -> bool:
        """Whether the controller could not be asked, and the same may well succeed later."""
        if self.code == 0 or self.full:
            return False
        refusal = re.search(_REFUSAL, self.err)
        reason = self.err if refusal is None else refusal.group(1)
        return re.search(_AWAY, reason) is not None or re.search(_NO_MUNGE, self.err) is not None

    @property
    def full(self) -> bool:
        """Whether it was refused only because so many jobs are there already."""
        return self.code != 0 and (re.search(_FULL, self.err) is not None or self.full_for_all)

    @property
    def full_for_all(self) -> bool:
        """Whether those are the jobs of all users."""
        return self.code != 0 and re.search(_FULL_FOR_ALL, self.err, re.IGNORECASE) is not None

    @property
    def full_for_many(self) -> bool:
        """Whether those may be the jobs of other users, too."""
        return self.full_for_all or (self.code != 0 and re.search(_FULL_FOR_MANY, self.err) is not None)


class Cluster(NamedTuple):
    """What a run has to know of its cluster: the name, and how many tasks an array may have."""

    name: str
    max_array: int


def _sleep(seconds: float, why: str) -> None:
    time.sleep(seconds)


class Room(NamedTuple):
    """What is to be known while a submission waits until there are fewer jobs.

    Parameters
    ----------
    begins : callable
        Called when the waiting begins, and from time to time while it goes on.
    others : callable
        Gives the ids of the jobs that wait for the same, and so do not end before there is room.
    pause : callable
        Waits for so many seconds and is told for what; raises what there is to say where this process is to end.
    """

    begins: Callable[[], None] = lambda: None
    others: Callable[[], Collection[str]] = tuple
    pause: Callable[[float, str], None] = _sleep


class LiveJob(NamedTuple):
    """A job, or some tasks of an array, that the queue holds: ``id`` as scancel takes it."""

    id: str
    state: str
    reason: str
    name: str


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what belongs to the job that one is in.

    sbatch would hand SLURM_* on to the new job, whose srun would then go by the old job's numbers.
    """
    return {name: value for name, value in environ.items() if name in _KEPT or not name.startswith(_CLEARED)}


def restated(environment: Mapping[str, str], script: str) -> list[str]:
    """The options of a job script for which somebody's environment has a default of its own, for the command line.

    Slurm lets the variables go before the lines of the script, and the command line before both
    (https://slurm.schedmd.com/sbatch.html, input environment variables). They are not taken away: the jobs that follow
    have their environment from this one.
    """
    found = []
    try:
        with open(script, encoding="utf-8") as file:
            for line in file:
                if line.strip() and not line.startswith("#"):
                    break  # as sbatch does
                words = line.split()[1:2] if line.startswith("#SBATCH --") else []
                found += [word for word in words if _variable(word) in environment]
    except OSError:  # sbatch says it better
        pass
    return found


def _variable(option: str) -> str:
    return "SBATCH_" + option[2:].partition("=")[0].upper().replace("-", "_")


def _wanted_array() -> Optional[int]:
    """How many tasks an array may have for whoever submits; None where it is not said."""
    text = os.environ.get(contract.SLURM_MAX_ARRAY)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise SlurmError(f"{contract.SLURM_MAX_ARRAY}={text!r} is not a number of tasks above 0")
    return int(text)


def own_job(environ: Mapping[str, str]) -> Optional[str]:
    """The id of the job that this process is part of, as Slurm's programs take it; None outside a job."""
    if environ.get("SLURM_ARRAY_JOB_ID") and environ.get("SLURM_ARRAY_TASK_ID"):
        return f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ.get("SLURM_JOB_ID") or None


class Commands:
    """What flowc asks of Slurm.

    Parameters
    ----------
    patience : float, optional
        Seconds for which a controller that does not answer is asked again; else FLOWC_SLURM_PATIENCE, else 600.
    """

    def __init__(self, patience: Optional[float] = None) -> None:
        if patience is None:
            patience = contract.seconds(contract.SLURM_PATIENCE) or _PATIENCE
        self.patience = patience
        self.full_wait = min(_FULL_WAIT, patience)

    def submit(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        name: str,
        go_on: Callable[[], None],
        room: Room = Room(),  # noqa: B008 (it cannot be changed)
    ) -> str:
        """Submit a job, exactly once, and give its id.

        Parameters
        ----------
        arguments : sequence of str
            Those of sbatch.
        name : str
            Of the job; it tells whether a submission of which no answer came has arrived.
        go_on : callable
            Called before each further try; raises what there is to say where the job is not wanted any more.
        room : Room, optional
            For a submission that has to wait for its place in the queue.

        Raises
        ------
        SlurmError
            If Slurm refuses it.
        ControllerAway
            If the controller stays away.
        """
        command = ["sbatch", "--parsable", *arguments]

        def again() -> Optional[str]:
            go_on()
            return self.find(name)

        answer = self._ask(command, environment, again)
        if not isinstance(answer, str) and answer.full:
            why = f"{name} has to wait until there are fewer jobs: {_said(answer)}"
            sys.stderr.write(f"flowc: {why}\n")
            sys.stderr.flush()
            with self._marked_as_waiting():
                answer = self._wait_for_room(answer, command, environment, again, room, why)
        if isinstance(answer, str):
            return answer
        if answer.code != 0:
            raise SlurmError(f"Slurm refused the job {name}: {_said(answer)}")
        return answer.out.strip().splitlines()[-1].split(";")[0]

    def _wait_for_room(
        self,
        answer: Answer | str,
        command: Sequence[str],
        environment: Mapping[str, str],
        again: Callable[[], Optional[str]],
        room: Room,
        why: str,
    ) -> Answer | str:
        """Submit as soon as there is room, for as long as there are jobs that will end; a job that is more than the
        limit itself never fits.
        """
        room.begins()
        while not isinstance(answer, str) and answer.full and self._others_go_on(answer, room.others()):
            room.pause(self.full_wait, why)
            room.begins()
            try:
                # Another job may have taken this one for gone meanwhile, and have submitted in its place.
                found = again()
            except ControllerAway:
                continue
            answer = found or self._ask(command, environment, again)
        return answer

    def _others_go_on(self, refusal: Answer, waiting: Collection[str]) -> bool:
        """Whether there are jobs beside this one, and those that wait as it does, that may end before anything else
        does."""
        if refusal.full_for_many and self._hides_jobs():
            return True
        stay = {own_job(os.environ), *waiting}
        whose = [] if refusal.full_for_many else [f"--user={os.getuid()}"]
        # Those that have ended count, too, until the controller forgets them (MinJobAge), but not for other limits.
        states = ["--states=all"] if refusal.full_for_all else []
        answer = self._run([*_SQUEUE, *whose, *states, "--format=%i|%r|%k"])
        jobs = [line.strip().split("|", 2) for line in answer.out.splitlines() if line.count("|") >= 2]
        return answer.away or any(
            id_ not in stay and reason not in _STUCK and comment != _WAITS for id_, reason, comment in jobs
        )

    def _hides_jobs(self) -> bool:
        """Whether the cluster shows nobody the jobs of others."""
        answer = self._run(["scontrol", "show", "config"])
        return re.search(r"^PrivateData\s*=.*\bjobs\b", answer.out, re.MULTILINE) is not None

    @contextmanager
    def _marked_as_waiting(self) -> Iterator[None]:
        """Say of the own job that it waits, and does not end before: jobs of other runs must not wait for it."""
        job = own_job(os.environ)
        if job is None:
            yield
            return
        before = self._run([*_SQUEUE, f"--jobs={job}", "--format=%k"]).out.strip()
        update = ["scontrol", "update", f"JobId={job}"]
        self._run([*update, f"Comment={_WAITS}"])
        try:
            yield
        finally:
            self._run([*update, f"Comment={'' if before in ('(null)', _WAITS) else before}"])

    def find(self, name: str) -> Optional[str]:
        """The id of the job or array of that name that the controller still knows, whatever became of it."""
        answer = self._run([*_SQUEUE, "--states=all", f"--name={name}", "--format=%i"])
        if answer.code != 0:
            if answer.away:
                raise ControllerAway(_said(answer))
            raise SlurmError(f"squeue failed: {_said(answer)}")
        ids = [line.strip().split("_")[0] for line in answer.out.splitlines() if line.strip()]
        return ids[0] if ids else None

    def live(self, user: str, prefix: str) -> list[LiveJob]:
        """The user's jobs that wait or run and whose names begin with ``prefix``."""
        answer = self._asked([*_SQUEUE, f"--user={user}", "--format=%i|%T|%r|%j"])
        found = []
        for line in answer.out.splitlines():
            id_, _, rest = line.strip().partition("|")
            state, _, rest = rest.partition("|")
            reason, _, name = rest.rpartition("|")
            if name.startswith(prefix):
                found.append(LiveJob(id_, state, reason, name))
        return found

    def is_live(self, job: str) -> bool:
        """Whether a job waits or runs."""
        return bool(self._states(job))

    def is_running(self, job: str) -> bool:
        """Whether a job runs now; one that was put back into the queue does not."""
        return "RUNNING" in self._states(job)

    def _states(self, job: str) -> list[str]:
        answer = self._run([*_SQUEUE, f"--jobs={job}", "--format=%T"])
        if answer.code != 0:
            if answer.away:
                raise ControllerAway(_said(answer))
            return []
        return answer.out.split()

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel jobs; those that are gone already do not matter."""
        for at in range(0, len(jobs), 100):
            self._asked(["scancel", "--quiet", *jobs[at : at + 100]], tolerant=True)

    def signal_steps(self, job: str, name: str) -> None:
        """Send a signal to all tasks of a job that srun has started, and not to its script."""
        self._run(["scancel", "--quiet", f"--signal={name}", job])

    def requeue(self, job: str) -> bool:
        """Put a job back into the queue, to start anew; whether Slurm does it."""
        return self._asked(["scontrol", "requeue", job], tolerant=True).code == 0

    def show(self, job: str) -> dict[str, str]:
        """What the controller knows of a job; empty where it knows nothing, any more or at all."""
        return next(reversed(self.show_all(job)), {})

    def show_all(self, job: str) -> list[dict[str, str]]:
        """The same of each task of an array."""
        answer = self._run(["scontrol", "--oneliner", "show", "job", job])
        if answer.code != 0:
            return []
        lines = [line for line in answer.out.splitlines() if line.strip()]
        return [dict(pair for word in line.split(" ") if len(pair := word.split("=", 1)) == 2) for line in lines]

    def cluster(self) -> Cluster:
        """What a run has to know of the cluster.

        Raises
        ------
        SlurmError
            If Slurm does not say, or FLOWC_SLURM_MAX_ARRAY is no number.
        """
        config = self._asked(["scontrol", "show", "config"]).out
        name = re.search(r"^ClusterName\s*=\s*(\S+)", config, re.MULTILINE)
        size = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
        tasks = re.search(r"(?i)^SchedulerParameters\s*=.*\bmax_array_tasks=(\d+)", config, re.MULTILINE)
        sizes = [int(found.group(1)) for found in (size, tasks) if found] or [1000]
        return Cluster(name.group(1) if name else "", max(1, min(*sizes, _wanted_array() or sizes[0])))

    # Asking -----------------------------------------------------------------------------------------------------------

    def _asked(self, command: Sequence[str], *, tolerant: bool = False) -> Answer:
        answer = self._ask(command, None, lambda: None)
        assert isinstance(answer, Answer)
        if answer.code != 0 and not tolerant:
            raise SlurmError(f"{command[0]} failed: {_said(answer)}")
        return answer

    def _ask(
        self, command: Sequence[str], environment: Optional[Mapping[str, str]], again: Callable[[], Optional[str]]
    ) -> Answer | str:
        """Run a command until the controller answers; ``again`` may have the answer before another try."""
        until = time.monotonic() + self.patience
        wait = 0.5
        answer = self._run(command, environment)
        while answer.away:
            if time.monotonic() + wait > until:
                raise ControllerAway(f"Slurm's controller has not answered for {self.patience:g} s: {_said(answer)}")
            time.sleep(wait)
            wait = min(2 * wait, 30.0)
            try:
                found = again()
            except ControllerAway:
                continue
            if found is not None:
                return found
            answer = self._run(command, environment)
        return answer

    def _run(self, command: Sequence[str], environment: Optional[Mapping[str, str]] = None) -> Answer:
        import subprocess

        env = clean_environment(os.environ if environment is None else environment)
        # Ids of arrays in full, not with "..." in the middle.
        env["SLURM_BITSTR_LEN"] = "0"
        if command[0] == "sbatch":
            del env["SLURM_BITSTR_LEN"]
        try:
            done = subprocess.run(  # noqa: S603 (a list of words, no shell)
                list(command),
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_LONGEST_ANSWER,
            )
        except FileNotFoundError:
            raise SlurmMissing(
                f"there is no {command[0]} on this machine's PATH; run this where Slurm's programs are"
            ) from None
        except subprocess.TimeoutExpired as error:
            said = (error.stderr or b"").decode("utf-8", "replace")
            return Answer(1, "", f"{said}\n{command[0]} timed out")
        return Answer(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def _said(answer: Answer) -> str:
    lines = [line.strip() for line in (answer.err or answer.out).splitlines() if line.strip()]
    text = "; ".join(lines[-3:]) or f"exit code {answer.code}"
    return text.replace("sbatch: error: ", "").replace("Batch job submission failed: ", "")
