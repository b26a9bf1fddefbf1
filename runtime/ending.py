"""Writing down how a run ended, where no process of flowc watched it: from the scheduler's word and the records."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from ..dsl import FlowSpec
from . import contract, gang_report
from .address import Address
from .beginning import begin
from .datastore.base import Datastore
from .logs import said_last
from .outline import ContractError
from .parameters import ParameterError
from .record import Record, Records
from .report import INTERRUPTED as INTERRUPTED_TYPE
from .report import PREEMPTED, PROCESS_FAILURE, TIMEOUT, Failure, gang_failure, signal_name
from .runs import DONE, FAILED, INTERRUPTED, RUNNING, RunInfo, RunStatus, read_run, read_status, write_status
from .task import DONE_CODE

if TYPE_CHECKING:
    from .gang import GangFailure

_GOOD, _BAD = ("Succeeded",), ("Failed", "Error")
_SHUTDOWN = ("shutdown with strategy", "Stopped with strategy")
"""What Argo says of a node that ended because somebody stopped or terminated the workflow: of a pod, of its retries."""

_ATTEMPT, _ITEM = re.compile(r"\(([0-9]+)\)$"), re.compile(r"\(([0-9]+):")
"""How Argo names a node of one attempt, and one of an item: ``work(3:5)(1)`` is item 3, which is 5, once more."""

_AT_ONCE = 10
"""Records that are read at the same time: boto3 keeps as many connections open."""


def end(
    datastore: Datastore, flow: str, run_id: str, load: Callable[[], tuple[type[FlowSpec], str]], status: str
) -> int:
    """Set the run's status.json for good, and say how it ended on stdout; returns the exit code.

    A run whose first task never came to create it is created, if FLOWC_PLAN is set, so that its failure can be seen.
    One that had failed or was interrupted, and was then tried again, ends anew; one that is done stays done.

    Parameters
    ----------
    status : str
        The scheduler's word, in Argo's: Succeeded, Failed or Error.

    Raises
    ------
    ContractError, RunError, DatastoreError
        If there is no run and none can be created, the word is another one, or nothing can be written.
    """
    if status not in _GOOD + _BAD:
        raise ContractError(f"a run does not end as {status!r}; it ends as {', '.join(_GOOD + _BAD)}")
    failure = None
    if os.environ.get(contract.PLAN):
        try:
            run = begin(datastore, flow, run_id, load)
        except (ParameterError, ContractError) as error:
            run = begin(datastore, flow, run_id, load, strict=False)
            failure = Failure(None, 0, type(error).__name__, str(error))
    else:
        run = read_run(datastore, flow, run_id)
    before = read_status(datastore, run)
    if before.state not in (RUNNING, FAILED, INTERRUPTED):
        sys.stdout.write(f"flowc: run {run.prefix} has ended as {before.state}\n")
        return DONE_CODE
    if status in _GOOD:
        ended = RunStatus(DONE, before.started, time.time())
    else:
        failure = failure or first_failure(datastore, run, told())
        state = INTERRUPTED if failure.type == INTERRUPTED_TYPE else FAILED
        ended = RunStatus(state, before.started, time.time(), failure=failure.to_json())
        sys.stdout.write(f"flowc: {failure}\n")
    write_status(datastore, run, replace(ended, started=before.started or run.created))
    sys.stdout.write(f"flowc: run {run.prefix} is {ended.state}\n")
    return DONE_CODE


class Told(NamedTuple):
    """A failure as the scheduler tells it: of which of its nodes, made from which template, and what."""

    node: str
    message: str
    finished: str
    template: str = ""


def told() -> tuple[Told, ...]:
    """What FLOWC_FAILURES says, oldest first; nothing where it is not set or cannot be read.

    Of a list that is cut off, what is whole; that the workflow was shut down is also seen in the rest.
    """
    text = os.environ.get(contract.FAILURES) or "[]"
    try:
        data = json.loads(text if text.lstrip()[:1] in ("[", '"') else base64.b64decode(text, validate=True))
        # Argo gives its list as a text within the text.
        data = json.loads(data) if isinstance(data, str) else data
        found = [_told(item) for item in data]
    except (ValueError, binascii.Error, TypeError, AttributeError):
        found = list(_salvaged(text))
    return tuple(sorted(found, key=lambda item: item.finished))


def _salvaged(text: str) -> Iterator[Told]:
    """The whole objects at the beginning of a list that cannot be read to its end."""
    if text.lstrip()[:1] == '"':
        text = re.sub(r'\\(["\\])', r"\1", text.lstrip()[1:])  # the text within the text
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        try:
            item, end = decoder.raw_decode(text, at)
        except ValueError:
            break
        yield _told(item)
        at = text.find("{", end)
    mark = next((mark for mark in _SHUTDOWN if at >= 0 and mark in text[at:]), None)
    if mark is not None:
        yield Told("", f"Argo's list of failures is cut off; it tells of: {mark}", "")


def _told(item: Mapping[str, Any]) -> Told:
    node = str(item.get("displayName") or item.get("templateName") or "")
    message, template = str(item.get("message") or item.get("phase") or ""), str(item.get("templateName") or "")
    return Told(node, message, str(item.get("finishedAt") or ""), template)


def first_failure(datastore: Datastore, run: RunInfo, said: tuple[Told, ...]) -> Failure:
    """The failure that ended a run: the oldest that a record or a gang tells of, else what the scheduler said.

    A task that left nothing (its pod was killed, or never started) is named with the scheduler's reason.
    """
    records = run.records(datastore)
    undone = _undone(run, records)
    known = {(task.address, task.attempt): task.record for task in undone}
    recorded: list[tuple[float, Failure]] = []
    silent: list[Failure] = []
    for address, attempt, record, report in undone:
        late = record is not None and record.failure is not None and record.failure.type == TIMEOUT
        if report is not None and not late:
            first = Address(address.step, (*address.index[:-1], report.rank), address.round)
            if (first, attempt) not in known:
                known[first, attempt] = records.read(first, attempt)
            of_first = known[first, attempt]
            why = of_first.failure.to_json() if of_first is not None and of_first.failure is not None else None
            at = record.finished if record is not None else of_first.finished if of_first is not None else 0.0
            recorded.append((at, gang_failure(str(first), attempt, report, why, report.last_lines)))
        elif record is not None and record.failure is not None:
            kind, message, trace = record.failure
            failure = Failure(str(address), attempt, kind, message, record.rank, 1, None, trace)
            recorded.append((record.finished, failure))
        else:
            message = "ended without committing its record"
            silent.append(Failure(str(address), attempt, PROCESS_FAILURE, message))
    if said and not recorded:
        said = (*_of_steps_that_never_began(run, records, said), *said)
    failure = _chosen(recorded, silent, said)
    if failure.address is None or failure.last_lines:
        return failure
    # Only of the one that is told: of thousands, that would be thousands of logs.
    folder = records.folder(Address.parse(failure.address), failure.attempt)
    return failure._replace(last_lines=said_last(datastore, folder))


def _of_steps_that_never_began(run: RunInfo, records: Records, said: tuple[Told, ...]) -> Iterator[Told]:
    """What is told of them. Argo also tells of attempts that others followed, of what was caught, and of whole DAGs."""
    for template in dict.fromkeys(item.template for item in said):
        step = template.replace("-", "_")
        if step in run.outline.steps and not records.rounds(step):
            yield from (item for item in said if item.template == template)


def _chosen(recorded: list[tuple[float, Failure]], silent: list[Failure], said: tuple[Told, ...]) -> Failure:
    """Of what failed, each with the time at which it did, and of what left nothing, what ended the run."""
    stopped = [item.message for item in said if any(mark in item.message for mark in _SHUTDOWN)]
    if stopped or any(item[1].type == TIMEOUT for item in recorded):
        # A gang tells that it was asked to end; that was not its failure.
        recorded = [item for item in recorded if item[1].type != PREEMPTED]
    if recorded:
        return min(recorded, key=lambda item: item[0])[1]
    if stopped:
        return Failure(None, 0, INTERRUPTED_TYPE, stopped[0])
    if silent:
        return _explained(silent, said)
    reason = f"{said[0].node}: {said[0].message}" if said else "no task of it left a record of why"
    return Failure(None, 0, PROCESS_FAILURE, reason)


def _explained(silent: list[Failure], said: tuple[Told, ...]) -> Failure:
    """A task that left no record, with what the scheduler says of its step: of itself and its last attempt, if it does.

    Argo also tells of earlier attempts, of other items and, within the same second, of the nodes that stand for all
    attempts or all items, which only say that there are no more or that one failed.
    """
    attempted = {_ATTEMPT.sub("", item.node) for item in said if _ATTEMPT.search(item.node)}
    attempted |= {node.rpartition("(")[0] for node in [*attempted, *(item.node for item in said)] if _ITEM.search(node)}
    found: list[tuple[tuple[bool, bool, bool, int], Failure, Told]] = []
    for failure in silent:
        address = Address.parse(failure.address or "")
        for item in said:
            if item.template.replace("-", "_") != address.step:
                continue
            index, attempt = _ITEM.search(item.node), _ATTEMPT.search(item.node)
            other_item = index is not None and int(index[1]) not in address.index
            other_attempt = attempt is not None and int(attempt[1]) != failure.attempt
            # Of a gang Argo counts the JobSets alone, so no number may fit: then the last one does.
            latest = -int(attempt[1]) if attempt is not None else 0
            found.append(((other_item, item.node in attempted, other_attempt, latest), failure, item))
    if not found:
        return silent[0]._replace(message=f"{said[0].node}: {said[0].message}" if said else silent[0].message)
    _, failure, item = min(found, key=lambda each: each[0])
    number = re.search(r"exit code ([0-9]+)", item.message)
    if number is None:
        return failure._replace(message=item.message)
    # As the first process of the container gives it: a signal is 128 and its number.
    code = int(number[1])
    ended = failure._replace(exit_code=code)
    if code > 128:
        ended = failure._replace(signal=signal_name(code - 128))
    return ended._replace(message=f"{ended.ending}: {item.message}")


class _Undone(NamedTuple):
    """A task that was begun and is not done, with what its last attempt left."""

    address: Address
    attempt: int
    record: Optional[Record]
    report: Optional[GangFailure]


def _undone(run: RunInfo, records: Records) -> list[_Undone]:
    """The tasks that were begun and are not done, in the order of the flow, of rounds and of indices.

    There may be thousands of tasks: what there is of them is listed in one go, and only records that are there are
    read.
    """
    begun = _begun(records)
    order = {step: at for at, step in enumerate(run.outline.steps)}
    addresses = [address for address in begun if address.step in order]
    addresses.sort(key=lambda address: (order[address.step], address.round, address.index))

    def look(address: Address) -> Optional[_Undone]:
        recorded = begun[address]
        last, of_last = max(recorded), None
        for attempt in sorted(recorded, reverse=True):
            record = records.read(address, attempt) if recorded[attempt] else None
            if record is not None and record.done:
                return None
            if attempt == last:
                of_last = record
        gang = run.outline.steps[address.step].kind == "gang"
        return _Undone(address, last, of_last, gang_report.read(records, address, last) if gang else None)

    with ThreadPoolExecutor(_AT_ONCE) as readers:
        return [task for task in readers.map(look, addresses) if task is not None]


def _begun(records: Records) -> dict[Address, dict[int, bool]]:
    """The attempts of every task that was begun: whether each has a record, by its number."""
    found: dict[Address, dict[int, bool]] = {}
    for name in records.datastore.walk(records.prefix):
        # step/index/attempt/what it left
        parts = name.split("/")
        if len(parts) < 4 or not parts[2].isdecimal():
            continue
        try:
            address = Address.parse(f"{parts[0]}/{parts[1]}")
        except ValueError:
            continue
        attempts, attempt = found.setdefault(address, {}), int(parts[2])
        attempts[attempt] = attempts.get(attempt, False) or parts[3:] == ["record.json"]
    return found
