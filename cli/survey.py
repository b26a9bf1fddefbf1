"""What the records of a run say about its steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..compiler.plan import Plan
from ..runtime.address import Address
from ..runtime.datastore.base import Datastore
from ..runtime.record import Record, Records
from ..runtime.runs import RUNNING, RunInfo, RunStatus
from .selection import tasks_of_step
from .tally import Tally


@dataclass(frozen=True)
class TaskState:
    """One task of a run: ``state`` is done, caught, failed, running or stopped."""

    address: Address
    state: str
    attempts: int
    record: Record | None


def task_state(records: Records, address: Address, *, alive: bool) -> TaskState:
    """How a task stands; ``alive`` tells whether its run still goes on."""
    attempts = records.attempts(address)
    count = attempts[-1] + 1 if attempts else 0
    record = records.read(address)
    if record is not None:
        return TaskState(address, "caught" if record.failure else "done", count, record)
    latest = records.latest(address)
    if alive and (latest is None or latest.attempt < count - 1):
        return TaskState(address, "running", count, latest)
    return TaskState(address, "failed" if latest is not None else "stopped", count, latest)


def _whole_gangs(ranks: list[TaskState]) -> list[TaskState]:
    """Ranks, where one that is done counts as stopped as long as its gang as a whole is not done."""
    gangs: dict[tuple[int, tuple[int, ...]], list[TaskState]] = {}
    for task in ranks:
        gangs.setdefault((task.address.round, task.address.index[:-1]), []).append(task)
    seen = []
    for gang in gangs.values():
        sizes = {task.record.size for task in gang if task.record is not None}
        whole = all(task.state in ("done", "caught") for task in gang) and sizes == {len(gang)}
        running = any(task.state == "running" for task in gang)
        for task in gang:
            half = task.state == "done" and not whole and not running
            seen.append(replace(task, state="stopped") if half else task)
    return seen


def survey(info: RunInfo, store: Datastore, status: RunStatus) -> Tally:
    """Count a run's tasks, step by step; times are in seconds since 1970."""
    tally = Tally(Plan.from_json(info.plan))
    records = info.records(store)
    failed = str((status.failure or {}).get("address") or "")
    for step in tally:
        addresses = tasks_of_step(records, step.name)
        tasks = [task_state(records, address, alive=status.state == RUNNING) for address in addresses]
        for task in _whole_gangs(tasks) if step.step.kind == "gang" else tasks:
            # A process that was killed leaves no record; the run's own status names it.
            state = "failed" if task.state == "stopped" and str(task.address) == failed else task.state
            if state == "caught":
                step.caught += 1
                state = "done"
            setattr(step, state, getattr(step, state) + 1)
            record = task.record
            if record is None:
                continue
            if record.next is not None and record.next.width is not None:
                tally.open(record.next.to[0], record.next.width)
            if record.origin is not None:
                step.cloned += 1
            elif step.began is None or record.started < step.began:
                step.began = record.started
            if record.origin is None:
                step.ended = max(step.ended or 0.0, record.finished)
    return tally
