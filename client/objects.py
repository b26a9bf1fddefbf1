"""Flows, runs and steps as objects: ``Flow("TrainFlow").latest_run["train"].task.data.loss``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ..runtime import runs
from ..runtime.address import Address
from ..runtime.datastore import Datastore
from ..runtime.runs import RunInfo, RunStatus
from .lookup import NotFound, in_namespace, not_found, store_at, when
from .tasks import Data, Task


class Metaflow:
    """All flows of a datastore; iterate over it, or take one by its name."""

    def __init__(self, *, datastore: Datastore | str | None = None) -> None:
        self._store = store_at(datastore)

    @property
    def flows(self) -> list[Flow]:
        """The flows that have runs, by name."""
        return list(self)

    def __iter__(self) -> Iterator[Flow]:
        return (Flow(name, datastore=self._store) for name in runs.list_flows(self._store))

    def __getitem__(self, name: str) -> Flow:
        return Flow(name, datastore=self._store)

    def __repr__(self) -> str:
        return f"Metaflow(datastore={self._store.url!r})"


class Flow:
    """One flow and its runs, newest first.

    Parameters
    ----------
    name : str
        The flow's class name.
    datastore : str, optional
        Where its runs are; FLOWC_DATASTORE or ``.flowc`` otherwise.

    Raises
    ------
    NotFound
        If it has no runs there.
    """

    def __init__(self, name: str, *, datastore: Datastore | str | None = None) -> None:
        self._store = store_at(datastore)
        self.id = self.pathspec = name
        if not self._ids():
            raise not_found(f"in {self._store.url} there are no runs of flow", name, runs.list_flows(self._store))

    def _ids(self) -> list[str]:
        return runs.list_runs(self._store, self.id)[::-1]

    @property
    def latest_run(self) -> Run | None:
        """The newest run in the namespace; None where there is none."""
        return next(iter(self), None)

    @property
    def latest_successful_run(self) -> Run | None:
        """The newest run in the namespace that succeeded; None where there is none."""
        return next((run for run in self if run.successful), None)

    def runs(self, *tags: str) -> Iterator[Run]:
        """The runs in the namespace that have all these tags, newest first."""
        return (run for run in self if run.tags >= set(tags))

    def __iter__(self) -> Iterator[Run]:
        for run_id in self._ids():
            run = Run(f"{self.id}/{run_id}", datastore=self._store)
            if in_namespace(run._info):
                yield run

    def __getitem__(self, run_id: str | int) -> Run:
        return Run(f"{self.id}/{run_id}", datastore=self._store)

    def __contains__(self, run_id: object) -> bool:
        return str(run_id) in self._ids()

    def __repr__(self) -> str:
        return f"Flow({self.id!r})"


class Run:
    """One run: ``Run("TrainFlow/12")``. Iterate over its steps, or take one by its name.

    Attributes
    ----------
    id : str
        ``12``.
    pathspec : str
        ``TrainFlow/12``.
    created_at : datetime
        When it was started, local time.
    tags : frozenset of str
        The tags it was started with.
    origin_run_id : str or None
        The run that this one resumed.

    Raises
    ------
    NotFound
        If there is no such run.
    """

    def __init__(self, pathspec: str, *, datastore: Datastore | str | None = None) -> None:
        self._store = store_at(datastore)
        flow, slash, run_id = pathspec.strip("/").partition("/")
        if not slash or "/" in run_id:
            raise NotFound(f"{pathspec!r} names no run; write 'Flow/12'")
        if not self._store.exists(f"{flow}/{run_id}/run.json"):
            ids = Flow(flow, datastore=self._store)._ids()
            raise not_found(f"flow {flow} has no run", run_id, ids)
        self._info: RunInfo = runs.read_run(self._store, flow, run_id)
        self._records = self._info.records(self._store)
        self.id = run_id
        self.pathspec = self._info.prefix
        self.tags = self.user_tags = frozenset(self._info.tags)
        self.user = self._info.user
        self.created_at = when(self._info.created)
        self.origin_run_id = self._info.origin_run_id

    @property
    def parent(self) -> Flow:
        """Its flow."""
        return Flow(self._info.flow, datastore=self._store)

    def _status(self) -> RunStatus:
        return runs.read_status(self._store, self._info)

    @property
    def state(self) -> str:
        """``running``, ``done``, ``failed``, ``interrupted``, or ``lost`` where its scheduler died without a word."""
        return self._status().state

    @property
    def successful(self) -> bool:
        """Whether it ran to its end."""
        return self.state == runs.DONE

    @property
    def finished(self) -> bool:
        """Whether nobody works on it any more, however it ended."""
        return self.state != runs.RUNNING

    @property
    def finished_at(self) -> datetime | None:
        """When it ended, local time; None while it runs, or where nobody was there to note it."""
        return when(self._status().finished)

    @property
    def failure(self) -> Mapping[str, Any] | None:
        """What it failed on: address, attempt, rank, exit_code, signal, type, message, last_lines; None otherwise."""
        return self._status().failure

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of the flow's parameters, by name; of files, their size and hash."""
        return dict(self._info.parameters)

    @property
    def end_task(self) -> Task | None:
        """The task of the last step; None as long as it is not done."""
        last = self._info.outline.last
        tasks = Step._of(self, last).tasks()
        task = next(iter(tasks), None)
        return task if task is not None and task.successful else None

    @property
    def data(self) -> Data | None:
        """The artifacts of the last step; None as long as it is not done."""
        task = self.end_task
        return None if task is None else task.data

    def steps(self) -> Iterator[Step]:
        """The steps that have begun, in the order of the flow."""
        return iter(self)

    def __iter__(self) -> Iterator[Step]:
        for name in self._info.outline.steps:
            if self._records.rounds(name):
                yield Step._of(self, name)

    def __getitem__(self, step: str) -> Step:
        name, _, _ = step.partition("@")
        if name not in self._info.outline:
            raise not_found(f"run {self.pathspec} has no step", step, self._info.outline.steps)
        found = Step._of(self, step)
        if not any(True for _ in found._addresses()):
            raise NotFound(f"step {step!r} of run {self.pathspec} has not begun")
        return found

    def __contains__(self, step: object) -> bool:
        try:
            return isinstance(step, str) and self[step] is not None
        except NotFound:
            return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and (self.pathspec, self._store.url) == (other.pathspec, other._store.url)

    def __hash__(self) -> int:
        return hash((self.pathspec, self._store.url))

    def __repr__(self) -> str:
        return f"Run({self.pathspec!r})"


class Step:
    """One step of a run: ``Step("TrainFlow/12/train")``; ``train@2`` is its second round alone.

    Iterate over its tasks, in the order of their indices, or take one by its index: ``step["0.3"]``, ``step[3]``.
    """

    def __init__(self, pathspec: str, *, datastore: Datastore | str | None = None) -> None:
        run, slash, step = pathspec.strip("/").rpartition("/")
        if run.count("/") != 1 or not slash:
            raise NotFound(f"{pathspec!r} names no step; write 'Flow/12/train'")
        self._take(Run(run, datastore=datastore)[step].parent, step)

    @classmethod
    def _of(cls, run: Run, step: str) -> Step:
        found = cls.__new__(cls)
        found._take(run, step)
        return found

    def _take(self, run: Run, step: str) -> None:
        self.parent = run
        self.id = step
        self.pathspec = f"{run.pathspec}/{step}"

    def _addresses(self) -> Iterator[Address]:
        """Its tasks that have begun; the last round first, since its values are those that went on."""
        name, _, wanted = self.id.partition("@")
        records = self.parent._records
        rounds = [int(wanted)] if wanted.isdigit() else range(records.rounds(name), 0, -1)
        for round in rounds:
            yield from records.tasks(name, round)

    @property
    def task(self) -> Task:
        """A task: the only one, or the first of the last round."""
        return next(iter(self))

    def tasks(self) -> Iterator[Task]:
        """All tasks, the last round first, in the order of their indices."""
        return iter(self)

    @property
    def control_task(self) -> Task:
        """Of a gang, the task of rank 0."""
        return next(task for task in self if not task.indices or task.indices[-1] == 0)

    @property
    def created_at(self) -> datetime | None:
        """When its first task was started, local time."""
        return min((task.created_at for task in self if task.created_at is not None), default=None)

    @property
    def finished_at(self) -> datetime | None:
        """When its last task ended, local time; None as long as one has not."""
        ends = [task.finished_at for task in self]
        known = [end for end in ends if end is not None]
        return max(known, default=None) if len(known) == len(ends) else None

    def __iter__(self) -> Iterator[Task]:
        return (Task._of(self.parent, address) for address in self._addresses())

    def __getitem__(self, index: str | int) -> Task:
        there = list(self._addresses())
        for address in there:
            if address.task_id == str(index):
                return Task._of(self.parent, address)
        raise not_found(f"step {self.pathspec} has no task", str(index), [address.task_id for address in there])

    def __contains__(self, index: object) -> bool:
        return any(address.task_id == str(index) for address in self._addresses())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and (self.parent, self.id) == (other.parent, other.id)

    def __hash__(self) -> int:
        return hash((self.parent, self.id))

    def __repr__(self) -> str:
        return f"Step({self.pathspec!r})"
