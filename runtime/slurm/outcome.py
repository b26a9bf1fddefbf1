"""How an attempt went: what its records, its gang's reports and the end of its process say together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Optional

from .. import gang_report
from ..address import Address
from ..gang.failure import GangFailure
from ..logs import said_last
from ..record import Record, Records
from ..report import Failure, exit_of, gang_failure, task_failure
from ..task import REFUSED_CODE
from .output import Output

_CONTRACT = "ContractError"
_PREFIX = "flowc: "

_URGENCY = {"lost": 1, "preempted": 2, "formation": 3}
"""Which of the reports that disagree counts: a rank that was lost may yet say more about itself."""


def failure_of_task(
    records: Records, address: Address, attempt: int, status: int, output: Output, rank: Optional[int] = None
) -> Failure:
    """What to say about a task that is not done.

    Parameters
    ----------
    status : int
        The wait status of its process; 128 plus a signal's number counts as that signal.
    """
    status = as_signal(status)
    record = records.read(address, attempt)
    recorded = None if record is None or record.failure is None else record.failure.to_json()
    last = said_last(records.datastore, records.folder(address, attempt)) or output.lines()
    note = None
    if recorded is None and exit_of(status)[0] == REFUSED_CODE:
        said = [line for line in (*output.lines(), *last) if line.startswith(_PREFIX)]
        note = [_CONTRACT, said[-1][len(_PREFIX) :]] if said else None
    return task_failure(str(address), attempt, rank, status, recorded, note, last)


def failure_of_gang(records: Records, ranks: Sequence[Address], attempt: int, status: int, output: Output) -> Failure:
    """What to say about a gang of which not all ranks are done: the rank that failed first."""
    best: Optional[tuple[tuple[int, bool], GangFailure]] = None
    for rank, address in enumerate(ranks):
        report = gang_report.read(records, address, attempt)
        if report is None or report.rank >= len(ranks):
            continue
        urgency = _URGENCY.get(report.kind, 0), report.rank != rank
        if best is None or urgency < best[0]:
            best = urgency, report
    if best is not None:
        report = best[1]
        address = ranks[report.rank]
        record = records.read(address, attempt)
        recorded = None if record is None or record.failure is None else record.failure.to_json()
        last = said_last(records.datastore, records.folder(address, attempt)) or report.last_lines
        return gang_failure(str(address), attempt, report, recorded, last)
    failed: list[Record] = []
    for address in ranks:
        record = records.read(address, attempt)
        if record is not None and not record.done:
            failed.append(record)
    if failed:
        first = min(failed, key=lambda record: record.finished).address
        return failure_of_task(records, first, attempt, status, output, first.index[-1])
    quiet = next((a for a in ranks if said_last(records.datastore, records.folder(a, attempt))), ranks[0])
    return failure_of_task(records, quiet, attempt, status, output, quiet.index[-1])


def as_signal(status: int) -> int:
    """The wait status, where programs that pass a signal on as 128 plus its number have made a code of it."""
    if os.WIFEXITED(status):
        number = os.WEXITSTATUS(status) - 128
        if 0 < number < 32:
            return number
    return status
