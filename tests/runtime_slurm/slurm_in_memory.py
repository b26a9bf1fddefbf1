"""A Slurm in memory, and runs on it whose tasks only commit records: to see what is submitted, when, and how often.

It knows arrays, afterany and aftercorr, dependencies that can never be met, cancelling and jobs that it has forgotten,
and it can end whoever submits in the middle of it, before or after the job has reached the queue.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowc.runtime import contract
from flowc.runtime.address import Address, parse_index
from flowc.runtime.datastore import open_datastore
from flowc.runtime.lineage import Lineage
from flowc.runtime.outline import ContractError, Outline
from flowc.runtime.record import DONE, Next, Record
from flowc.runtime.report import Failure
from flowc.runtime.runs import FAILED, RunInfo, create_run
from flowc.runtime.slurm.commands import Cluster, Commands, LiveJob, Room, SlurmError
from flowc.runtime.slurm.journal import Journal, Settings
from flowc.runtime.slurm.submission import Submitter, find_done

WAITS, RUNS, GOOD, BAD, CANCELLED = "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"


_PIDS = itertools.count(1 << 30)


class Killed(BaseException):
    """The process that was submitting is gone."""


@dataclass
class Job:
    """One job, or one array with its tasks."""

    id: str
    name: str
    step: str
    env: Mapping[str, str]
    nodes: str | None
    array: bool
    after: list[tuple[str, str]]
    states: dict[int, str] = field(default_factory=dict)
    restarts: int = 0

    def unit(self, position: int) -> str:
        """The id of one task of it."""
        return f"{self.id}_{position}" if self.array else self.id

    def address(self, position: int) -> Address:
        """The task that it is, as its supervisor works it out."""
        index = parse_index(self.env[contract.SLURM_INDEX])
        if self.array:
            index = (*index, int(self.env[contract.SLURM_BASE]) + position)
        return Address(self.step, index, int(self.env[contract.ROUND]))


class InMemory(Commands):
    """The queue.

    Parameters
    ----------
    crashes : set of (int, str)
        Which submission, counted from 1, ends its caller ``before`` or ``after`` it has reached the queue.
    limit : int
        How many tasks may be in the queue.
    """

    def __init__(
        self, max_array_size: int = 4, crashes: set[tuple[int, str]] | None = None, limit: int = 1_000_000
    ) -> None:
        super().__init__(patience=20.0)
        self.jobs: dict[str, Job] = {}
        self.forgotten: set[str] = set()
        self.count = 0
        self.crashes = crashes or set()
        self.lock = threading.RLock()
        self._size = max_array_size
        self._limit = limit
        self.waited = 0

    def submit(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        name: str,
        go_on: Callable[[], None],
        room: Room = Room(),  # noqa: B008
    ) -> str:
        array = [word for word in arguments if word.startswith("--array=")]
        size = len(list(numbers(array[0][8:]))) if array else 1
        begun = False
        while True:
            with self.lock:
                found = self.find(name) if begun else None
                if found is not None:
                    return found
                live = {unit.id: unit.state for unit in self.live("me", "")}
                if len(live) + size <= self._limit:
                    return self._submit(arguments, environment, name)
                # Whoever asks is running, too; it is among those that wait as soon as it has said so.
                others = room.others()
                at_work = [id_ for id_, state in live.items() if state == RUNS and id_ not in others]
                if begun and not at_work and not self.ready():
                    raise SlurmError(f"there is never room for {name}")
            if not begun:
                begun = True
                self.waited += 1
                room.begins()
            time.sleep(0.002)
            go_on()

    def _submit(self, arguments: Sequence[str], environment: Mapping[str, str], name: str) -> str:
        with self.lock:
            self.count += 1
            if (self.count, "before") in self.crashes:
                raise Killed
            options = dict(word[2:].split("=", 1) for word in arguments if word.startswith("--"))
            assert options["export"] == "ALL" and options["kill-on-invalid-dep"] == "yes"
            assert options["job-name"] == name
            assert all(job.name != name for job in self.jobs.values()), f"{name} was submitted twice"
            after = [
                (kind, id_)
                for part in options.get("dependency", "").split(",")
                if part
                for kind, *ids in [part.split(":")]
                for id_ in ids
            ]
            if any(id_ in self.forgotten for _, id_ in after):
                raise SlurmError("Job dependency problem")
            ids = list(range(1)) if "array" not in options else list(numbers(options["array"]))
            assert len(ids) <= self._size and all(0 <= number < self._size for number in ids)
            step = Path(arguments[-1]).stem
            job = Job(
                str(100 + self.count), name, step, dict(environment), options.get("nodes"), "array" in options, after
            )
            assert (contract.SLURM_BASE in environment) == job.array
            job.states = dict.fromkeys(ids, WAITS)
            self.jobs[job.id] = job
            if (self.count, "after") in self.crashes:
                raise Killed
            return job.id

    def find(self, name: str) -> str | None:
        with self.lock:
            found = [job.id for job in self.jobs.values() if job.name == name and job.id not in self.forgotten]
            return found[0] if found else None

    def live(self, user: str, prefix: str) -> list[LiveJob]:
        with self.lock:
            return [
                LiveJob(job.unit(position), state, "None", job.name)
                for job in self.jobs.values()
                if job.name.startswith(prefix)
                for position, state in job.states.items()
                if state in (WAITS, RUNS)
            ]

    def is_live(self, job: str) -> bool:
        id_, _, position = job.partition("_")
        with self.lock:
            states = self.jobs[id_].states if id_ in self.jobs else {}
            return any(state in (WAITS, RUNS) for at, state in states.items() if not position or at == int(position))

    def is_running(self, job: str) -> bool:
        id_, _, position = job.partition("_")
        with self.lock:
            states = self.jobs[id_].states if id_ in self.jobs else {}
            return any(state == RUNS for at, state in states.items() if not position or at == int(position))

    def cancel(self, jobs: Sequence[str]) -> None:
        with self.lock:
            for name in jobs:
                id_, _, position = name.partition("_")
                for at, state in self.jobs[id_].states.items():
                    if state in (WAITS, RUNS) and (not position or at == int(position)):
                        self.jobs[id_].states[at] = CANCELLED

    def cluster(self) -> Cluster:
        return Cluster("memory", self._size)

    # What Slurm does by itself ----------------------------------------------------------------------------------------

    def ready(self) -> list[tuple[Job, int]]:
        """The tasks that may start now; those that never can are cancelled."""
        with self.lock:
            found = []
            for job in self.jobs.values():
                for position, state in job.states.items():
                    if state != WAITS:
                        continue
                    verdicts = [self._met(kind, id_, position) for kind, id_ in job.after]
                    if any(verdict is None for verdict in verdicts):
                        job.states[position] = CANCELLED
                    elif all(verdicts):
                        found.append((job, position))
            return found

    def _met(self, kind: str, id_: str, position: int) -> bool | None:
        if id_ in self.forgotten:
            return True
        states = self.jobs[id_].states
        if kind == "afterany":
            return all(state in (GOOD, BAD, CANCELLED) for state in states.values())
        assert position in states, "aftercorr on an array without that task"
        return None if states[position] in (BAD, CANCELLED) else states[position] == GOOD


def numbers(text: str) -> list[int]:
    """The ids that an array's specification names."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


class Simulation:
    """A run of a flow of which the tasks do nothing but commit where they lead to.

    Attributes
    ----------
    ran : list of Address
        The jobs (of a gang: without the rank) whose work was done, in order.
    """

    def __init__(
        self,
        root: Path,
        plan: Mapping[str, object],
        next_of: Callable[[Address], Next],
        commands: InMemory,
        seed: int = 0,
        origin: str | None = None,
    ) -> None:
        self.datastore = open_datastore(str(root))
        self.run_info: RunInfo = create_run(self.datastore, plan, {}, target="slurm", origin_run_id=origin)
        self.outline: Outline = self.run_info.outline
        self.records = self.run_info.records(self.datastore)
        self.journal = Journal(self.datastore, self.run_info)
        size = commands.cluster().max_array
        self.journal.begin(Settings("me", f"F.{self.run_info.run_id}.", str(root / "code"), size))
        self.commands = commands
        self.next_of = next_of
        self.rng = random.Random(seed)
        self.ran: list[Address] = []
        self.failing: Callable[[Address], bool] = lambda address: False
        self._lock = threading.Lock()

    def submit(self) -> None:
        """What `submit` does; a kill in the middle of it is survived by nobody."""
        try:
            self._submitter({}, None).begin()
        except Killed:
            pass

    def go(self) -> None:
        """Let the queue run empty."""
        while ready := self.commands.ready():
            self.step(*self.rng.choice(ready))

    def step(self, job: Job, position: int) -> None:
        """One job from its start to its end; where it is killed while it submits what follows, it starts anew."""
        with self.commands.lock:
            if job.states[position] != WAITS:
                return
            job.states[position] = RUNS
        unit = job.unit(position)
        address = job.address(position)
        assert self.journal.claim(address, unit) is None, f"{address} has two jobs"
        try:
            record = find_done(self.run_info, self.records, address)
            if record is None:
                if self.failing(address) or self.journal.has_ended:
                    job.states[position] = BAD
                    return
                try:
                    record = self._work(address)
                except ContractError as error:  # a task before it failed without a word
                    self.journal.end(FAILED, 1.0, Failure(str(address), 0, "JobLost", str(error)))
                    job.states[position] = BAD
                    return
            self._submitter(job.env, unit).draw(address, record, job.env[contract.SLURM_REGION])
            job.states[position] = GOOD
        except Killed:
            job.restarts += 1
            job.states[position] = WAITS

    def _submitter(self, env: Mapping[str, str], unit: str | None) -> Submitter:
        """As if in a process of its own, which does not exist any more when somebody looks for it."""
        submitter = Submitter(self.journal, self.commands, env, unit)
        submitter._pid = next(_PIDS)
        return submitter

    def _work(self, address: Address) -> Record:
        step = self.outline[address.step]
        ranks = [address]
        if step.kind == "gang":
            control = Address(address.step, (*address.index, 0), address.round)
            size = Lineage(self.outline, self.records, control).width(len(address.index))
            ranks = [Address(address.step, (*address.index, rank), address.round) for rank in range(size)]
        lineage = Lineage(self.outline, self.records, ranks[0])
        if step.joins is None:
            lineage.parent()
        else:
            for number in range(lineage.branches()):
                lineage.branch(number)
        with self._lock:
            self.ran.append(address)
        size = len(ranks)
        for rank, each in reversed(list(enumerate(ranks))):
            place = (rank, size) if step.kind == "gang" else (None, None)
            record = Record(each, 0, DONE, 1.0, 2.0, {}, self.next_of(each), None, None, *place)
            self.records.commit(record)
        return record
