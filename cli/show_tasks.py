"""What ``flowc show`` says of tasks: their attempts, why these failed, and how the ranks of a gang ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..runtime import gang_report
from ..runtime.address import Address
from ..runtime.gang.ends import ends_text
from ..runtime.report import PREEMPTED
from ..runtime.runs import RUNNING
from .report import reason
from .screen import duration
from .selection import tasks_of

if TYPE_CHECKING:
    from ..runtime.datastore.base import Datastore
    from ..runtime.gang.failure import RankEnd
    from ..runtime.record import Record, Records
    from ..runtime.runs import RunInfo, RunStatus

_BY_ITSELF = ("exit", "signal", "abort")


class _Attempt(NamedTuple):
    number: int
    state: str
    record: Record | None
    why: str
    ranks: Sequence[RankEnd]


def show_tasks(store: Datastore, info: RunInfo, status: RunStatus, text: str, *, as_json: bool) -> None:
    """Print the tasks that ``train/0.3`` or ``train`` stands for; of each gang, the ranks' ends with its first one."""
    records = info.records(store)
    gangs: set[tuple[str, tuple[int, ...]]] = set()
    shown = []
    for address in tasks_of(info, records, text):
        numbers = records.attempts(address)
        ranks: list[Address] = []
        gang = info.outline.steps[address.step].kind == "gang"
        if gang and (address.folder, address.index[:-1]) not in gangs:
            gangs.add((address.folder, address.index[:-1]))
            ranks = _ranks(records, address)
        attempts = [
            _attempt(records, address, number, status, ranks, gang=gang, last=number == numbers[-1])
            for number in numbers
        ]
        if as_json:
            shown.append(_as_json(address, attempts))
        else:
            _print(f"{info.prefix}/{address}", attempts)
    if as_json:
        print(json.dumps({"flow": info.flow, "run_id": info.run_id, "tasks": shown}, indent=2))


def _ranks(records: Records, address: Address) -> list[Address]:
    """All ranks of the gang that a task is one of, also those that never began."""
    outer = address.index[:-1]
    begun = [each.index[-1] for each in records.tasks(address.step, address.round) if each.index[:-1] == outer]
    return [Address(address.step, (*outer, rank), address.round) for rank in range(max(begun) + 1)]


def _attempt(
    records: Records,
    address: Address,
    number: int,
    status: RunStatus,
    ranks: Sequence[Address],
    *,
    gang: bool,
    last: bool,
) -> _Attempt:
    record = records.read(address, number)
    report = gang_report.read(records, address, number) if gang else None
    named = status.failure or {}
    # A process that was killed leaves no record; its gang's report or the run's own status names it.
    first = report is not None and report.rank == address.index[-1]
    is_named = named.get("address") == str(address) and named.get("attempt") == number
    if record is not None and record.done:
        state = "caught" if record.failure else "done"
    elif (report is not None and report.kind == "preempted") or (is_named and named.get("type") == PREEMPTED):
        state = "preempted"  # of a gang every rank: it is asked to end as a whole
    elif record is not None or first or is_named:
        state = "failed"
    else:
        state = "running" if last and report is None and status.state == RUNNING else "stopped"
    why = ""
    if record is not None and record.failure is not None:
        why = reason(record.failure.to_json())
    elif report is not None:
        why = str(report)
    elif state == "failed":
        why = reason(named)
    elif state == "preempted":
        why = str(named.get("message") or "")
    ends = gang_report.ends(records, ranks, number) if ranks else ()
    return _Attempt(number, state, record, why, ends)


def _print(task: str, attempts: Sequence[_Attempt]) -> None:
    print(f"{task}: {attempts[-1].state if attempts else 'stopped'}")
    for attempt in attempts:
        record = attempt.record
        after = f" after {duration(record.finished - record.started)}" if record is not None else ""
        why = attempt.why.splitlines()
        print(f"  attempt {attempt.number}: {attempt.state}{after}" + (f": {why[0]}" if why else ""))
        for line, end in ends_text(attempt.ranks):
            print(f"    {line}")
            if end.kind in _BY_ITSELF and end.last_lines:
                print("\n".join(["", *(f"        {said}".rstrip() for said in end.last_lines), ""]))
    print()


def _as_json(address: Address, attempts: Sequence[_Attempt]) -> dict[str, Any]:
    return {
        "task": str(address),
        "state": attempts[-1].state if attempts else "stopped",
        "attempts": [
            {
                "attempt": attempt.number,
                "state": attempt.state,
                "started": None if attempt.record is None else attempt.record.started,
                "finished": None if attempt.record is None else attempt.record.finished,
                "why": attempt.why or None,
                "ranks": [end.to_json() for end in attempt.ranks],
            }
            for attempt in attempts
        ],
    }
