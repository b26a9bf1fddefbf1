"""Submitting regions: each job once, whoever sets out to do it, and however often, and wherever one dies on the way."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Optional

from ...dsl import FlowcError
from .. import contract
from ..address import Address
from ..lineage import Lineage
from ..outline import ContractError
from ..record import Record, Records
from ..runs import DONE, RunInfo
from ..slurm_limits import MOST_BEFORE
from .commands import (
    Commands,
    ControllerAway,
    Room,
    SlurmError,
    clean_environment,
    own_job,
    restated,
)
from .journal import Journal, Settings
from .naming import job_name
from .regions import Entry, Region, Submission, arrivals, build, dependency, follow, is_dynamic

_TASKS_OWN = frozenset(
    [
        contract.ATTEMPT,
        contract.CAUGHT,
        contract.GANG_MAIN,
        contract.GANG_MARK,
        contract.GANG_PORT,
        contract.GANG_RANK,
        contract.GANG_SIZE,
        contract.INDEX,
        contract.LOGS,
        contract.RETRIES_LEFT,
        contract.ROUND,
        contract.SLURM_BASE,
        contract.SLURM_INDEX,
        contract.SLURM_REGION,
    ]
)
"""Variables that belong to one task, and must not reach another one's job."""

_DEVICES = frozenset(["CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"])
"""What Slurm sets in a job with GPUs, and leaves as it is in one without."""

_WAIT = 0.2
_STRANGER = 180.0
"""Seconds after which whoever set out to submit a job from another machine, outside every job, counts as gone."""


class RunOver(FlowcError):
    """The run has ended, so nothing more of it is submitted."""


class _LeftToHolder(Exception):
    """Somebody else waits for room in the queue to submit a job."""


class TooManySplits(FlowcError):
    """A foreach is wider than the run lets through, or Slurm."""


def task_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what belongs to one task, be it flowc's or Slurm's."""
    dropped = _TASKS_OWN | _DEVICES if own_job(environ) else _TASKS_OWN
    return {name: value for name, value in clean_environment(environ).items() if name not in dropped}


def find_done(run: RunInfo, records: Records, address: Address) -> Optional[Record]:
    """The record of a job that is done, of a gang that of rank 0; None where it is not, or not all ranks of it."""
    step = run.outline[address.step]
    if step.kind != "gang":
        return records.read(address)
    from ..cloning import whole_gang

    control = Address(address.step, (*address.index, 0), address.round)
    if not records.attempts(control):
        return None
    size = Lineage(run.outline, records, control).width(len(control.index) - 1)
    ranks = [Address(address.step, (*address.index, rank), address.round) for rank in range(size)]
    found = whole_gang(records, ranks, lambda record: record is not None and record.done)
    return found[0] if found else None


class Submitter:
    """Submits what follows in one run.

    Parameters
    ----------
    journal : Journal
        Of a run that has settings.
    commands : Commands
    environ : mapping, optional
        The environment that jobs get, with what is set for each; else that of this process.
    job : str, optional
        The job that this process is; else what the environment says.
    heed : callable, optional
        Called between two tries; raises what there is to say where this process is to end.
    pause : callable, optional
        Waits for room in the queue; see `Room`.
    """

    def __init__(
        self,
        journal: Journal,
        commands: Commands,
        environ: Optional[Mapping[str, str]] = None,
        job: Optional[str] = None,
        heed: Callable[[], None] = lambda: None,
        pause: Optional[Callable[[float, str], None]] = None,
    ) -> None:
        settings = journal.settings
        if settings is None:
            raise ContractError(f"run {journal.run.prefix} was never submitted to Slurm: it has no settings there")
        self.settings: Settings = settings
        self.journal = journal
        self.commands = commands
        self.run = journal.run
        self.outline = self.run.outline
        self.parameters = self.run.parameters
        self.records = self.run.records(journal.datastore)
        self._environ = task_environment(os.environ if environ is None else environ)
        self._job = job or own_job(os.environ)
        self._heed = heed
        self._pause = pause or Room().pause
        self._pid = os.getpid()

    # What a job that is done leads to ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Submit the run's first region."""
        self._regions(deque(["begin"]))

    def draw(self, address: Address, record: Record, region: Optional[str] = None) -> None:
        """See to everything that follows from a job that is done; may be done again at any time.

        Parameters
        ----------
        address : Address
            The job, of a gang without the rank.
        record : Record
            Its own, or rank 0's.
        region : str, optional
            The region that the job was submitted with.

        Raises
        ------
        RunOver
            If the run has ended meanwhile.
        SlurmError
            If Slurm does not take a job.
        """
        todo = deque([region] if region else [])
        todo.extend(self._drawn(address, record))
        self._regions(todo)

    def _drawn(self, address: Address, record: Record) -> list[str]:
        """The regions that a job that is done opens."""
        onward = record.next
        assert onward is not None
        step = self.outline[address.step]
        if onward.kind == "end":
            self.journal.end(DONE, record.finished)
            return []
        found = []
        if onward.kind == "foreach" and (onward.width or 0) > self.settings.max_num_splits:
            raise TooManySplits(
                f"step {address.step} fans out into {onward.width:,} tasks of {onward.to[0]}; the limit is "
                f"{self.settings.max_num_splits:,}. Give --max-num-splits {onward.width} if that many are meant"
            )
        if follow(self.outline, address, onward, self.parameters):
            found.append(_name("after", address))
        for join, round in arrivals(self.outline, address, onward.to, self.parameters):
            complete = self._arrive(address, join, round)
            if complete is not None:
                found.append(_name("join", complete))
        assert found or not is_dynamic(self.outline, step, self.parameters) or onward.kind == "switch"
        return found

    def _arrive(self, address: Address, join: str, round: int) -> Optional[Address]:
        """Say that an input of a join has arrived; gives the join's task where it was the last one."""
        target = self.outline[join]
        split = self.outline[str(target.joins)]
        index = address.index[: len(target.scope)]
        # A split that lies in a loop is entered again only after its join, in a higher round than any before it.
        at = self._round_of_split(split.name, index, address) if split.loop is not None else 1
        key = Address(join, index, at)
        if split.leave_kind == "foreach":
            opener = self.records.read(Address(split.name, index, at))
            if opener is None or opener.next is None or opener.next.width is None:
                raise ContractError(f"{address} leads to {join}, but nothing says how wide {split.name} is")
            which, wanted = address.index[len(target.scope)], opener.next.width
        else:
            which = next(i for i, group in enumerate(target.inputs) if address.step in group)
            wanted = len(target.inputs)
        if self.journal.arrive(key, which, round) < wanted:
            return None
        return Address(join, index, self.journal.highest_round(key))

    def _round_of_split(self, split: str, index: tuple[int, ...], address: Address) -> int:
        for round in range(address.round, 0, -1):
            if self.records.read(Address(split, index, round)) is not None:
                return round
        raise ContractError(f"{address} comes from {split}, of which there is no record")

    # Regions ----------------------------------------------------------------------------------------------------------

    def _regions(self, todo: deque[str]) -> bool:
        """Submit regions, and those that they open; False where some of it is left to somebody who waits for room."""
        whole = True
        while todo:
            name = todo.popleft()
            if self.journal.is_submitted(name):
                continue
            region = self.journal.region(name)
            if region is None:
                region = self.journal.lay_out(name, self._build(name))
            jobs: dict[str, str] = {}
            try:
                for submission in region.submissions:
                    jobs[submission.key] = self._submit(submission, jobs, name)
            except _LeftToHolder:
                # To wait with it would keep this job in the queue, in which there is no room.
                whole = False
                continue
            for address in region.done:
                record = find_done(self.run, self.records, address)
                assert record is not None
                todo.extend(self._drawn(address, record))
            whole = self._set_submitted(name, region, todo) and whole
        return whole

    def _set_submitted(self, name: str, region: Region, todo: deque[str]) -> bool:
        # What the region's done jobs lead to hangs on nothing but this region, so it counts as submitted after that.
        if region.done and todo and not self._regions(todo):
            return False
        self.journal.set_submitted(name)
        return True

    def _build(self, name: str) -> Region:
        kind, _, text = name.partition(".")
        if kind == "begin":
            entries = [Entry(self.outline.first, (), 1)]
        else:
            address = _address(text)
            if kind == "join":
                entries = [Entry(address.step, address.index, address.round)]
            else:
                record = find_done(self.run, self.records, address)
                if record is None or record.next is None:
                    raise ContractError(f"{address} is not done, so nothing follows from it yet")
                entries = follow(self.outline, address, record.next, self.parameters)
        done = None
        if self.run.origin_run_id is not None:

            def done(address: Address) -> bool:
                return find_done(self.run, self.records, address) is not None

        region = build(self.outline, entries, self.parameters, self.settings.max_array, done)
        for submission in region.submissions:
            if len(submission.after) > MOST_BEFORE:
                raise TooManySplits(
                    f"step {submission.step} has to wait for {len(submission.after):,} job arrays of up to "
                    f"{self.settings.max_array:,} tasks, and a job of Slurm's can wait for {MOST_BEFORE:,}: let arrays "
                    f"have more tasks (FLOWC_SLURM_MAX_ARRAY, the cluster's MaxArraySize), or make the foreach narrower"
                )
        return region

    # One job ----------------------------------------------------------------------------------------------------------

    def _submit(self, submission: Submission, jobs: Mapping[str, str], region: str) -> str:
        """The id of the submission's job, which is submitted where it has not been."""
        key = submission.key
        name = job_name(self.settings.prefix, key)
        until = time.monotonic() + self.commands.patience
        while True:
            job = self.journal.job(key)
            if job is not None:
                return job
            if self._job is not None and os.environ.get("SLURM_JOB_NAME") == name:
                # It is this very job, and whoever submitted it was gone before it could write its id down.
                job = self._job.partition("_")[0]
                self.journal.set_job(key, job, name)
                return job
            self._check_going_on()
            number, holder = self.journal.intent(key)
            if holder is None or self._is_gone(holder):
                if self.journal.intend(key, number, self._holder()):
                    return self._hand_over(submission, jobs, region, number)
            elif self.journal.is_waiting(key, number - 1):
                raise _LeftToHolder
            elif time.monotonic() > until:
                raise SlurmError(f"{holder} set out to submit {key} and has not done so for {self.commands.patience} s")
            else:
                time.sleep(_WAIT)

    def _check_going_on(self) -> None:
        self._heed()
        if self.journal.has_ended:
            raise RunOver(f"run {self.run.prefix} has ended")

    def _holder(self) -> dict[str, Any]:
        return {"job": self._job, "host": os.uname().nodename, "pid": self._pid, "at": time.time()}

    def _is_gone(self, holder: Mapping[str, Any]) -> bool:
        """Whether whoever set out to submit a job cannot do so any more."""
        if holder["host"] == os.uname().nodename and holder["pid"] == self._pid:
            return bool(holder["job"] == self._job)  # this very process, whose try failed
        if holder["job"] is not None:
            if holder["job"] == self._job:
                return True  # this job before it was started again
            try:
                return not self.commands.is_running(holder["job"])
            except ControllerAway:
                return False
        if holder["host"] == os.uname().nodename:
            return not _runs(holder["pid"])
        return time.time() - float(holder["at"]) > _STRANGER

    def _hand_over(self, submission: Submission, jobs: Mapping[str, str], region: str, number: int) -> str:
        name = job_name(self.settings.prefix, submission.key)
        job = self._look_up(name) if number else None
        room = Room(
            lambda: self.journal.set_waiting(submission.key, number, self._job), self.journal.waiting, self._pause
        )
        if job is None:
            arguments = self._arguments(submission, name, jobs)
            environment = self._environment(submission, region)
            try:
                job = self.commands.submit(arguments, environment, name, self._check_going_on, room)
            except SlurmError as error:
                if "dependency" not in str(error).lower():
                    raise
                # A job that went before is forgotten by now. Every task looks at its parents' records anyway.
                known = {key: id_ for key, id_ in jobs.items() if self.commands.is_live(id_)}
                arguments = self._arguments(submission, name, known)
                job = self.commands.submit(arguments, environment, name, self._check_going_on, room)
        self.journal.set_job(submission.key, job, name)
        return job

    def _look_up(self, name: str) -> Optional[str]:
        until = time.monotonic() + self.commands.patience
        while True:
            try:
                return self.commands.find(name)
            except ControllerAway:
                if time.monotonic() > until:
                    raise
                time.sleep(1.0)

    def _arguments(self, submission: Submission, name: str, jobs: Mapping[str, str]) -> list[str]:
        arguments = [
            "--export=ALL",
            "--kill-on-invalid-dep=yes",
            f"--job-name={name}",
            f"--output={self.journal.log_path(name)}",
        ]
        after = [(jobs[key], kind) for key, kind in submission.after if key in jobs]
        if after:
            arguments.append(f"--dependency={dependency(after)}")
        if submission.array is not None:
            arguments.append(f"--array={submission.array}")
        if submission.nodes is not None:
            arguments.append(f"--nodes={submission.nodes}")
        script = f"{self.settings.code}/steps/{submission.step}.sbatch"
        return [*arguments, *restated(self._environ, script), script]

    def _environment(self, submission: Submission, region: str) -> dict[str, str]:
        index = Address(submission.step, submission.at).task_id if submission.at else ""
        environment = {
            **self._environ,
            contract.SLURM_INDEX: index,
            contract.SLURM_REGION: region,
            contract.ROUND: str(submission.round),
        }
        if submission.array is not None:
            environment[contract.SLURM_BASE] = str(submission.base)
        return environment


def run_environment(run: RunInfo, datastore: str, code: str, flow_file: str, bundled: bool) -> dict[str, str]:
    """What every job of a run is told beside its place: the variables that name the run and its code.

    Parameters
    ----------
    datastore : str
        Absolute path of its root.
    code : str
        Folder of the staged code.
    flow_file : str
        Path of the flow's file in it.
    bundled : bool
        Whether flowc itself is in it.
    """
    environment = {
        contract.DATASTORE: datastore,
        contract.FLOW_NAME: run.flow,
        contract.RUN_ID: run.run_id,
        contract.CODE: code,
        contract.FLOW_FILE: flow_file,
        contract.USER: run.user,
    }
    if bundled:
        before = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
        environment["PYTHONPATH"] = os.pathsep.join([code, *before])
    return environment


def _name(kind: str, address: Address) -> str:
    return f"{kind}.{address.folder}.{address.task_id}"


def _address(text: str) -> Address:
    folder, _, index = text.partition(".")
    return Address.parse(f"{folder}/{index}")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
