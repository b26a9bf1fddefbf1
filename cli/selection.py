"""Which run, and which of its tasks, the user means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from ..runtime.address import Address
from ..runtime.datastore import open_datastore
from ..runtime.datastore.base import Datastore
from ..runtime.runs import RunError, RunInfo, find_run, list_flows, list_runs, read_run
from .invocation import Invocation

if TYPE_CHECKING:
    from ..runtime.record import Records

LATEST = "latest"


def open_store(invocation: Invocation) -> Datastore:
    """The datastore of this call.

    Raises
    ------
    DatastoreError
        If there can be none at that URL.
    """
    return open_datastore(invocation.datastore_url)


def find(invocation: Invocation, store: Datastore, text: str | None) -> RunInfo:
    """The run that ``12``, ``Flow/12``, ``Flow``, ``latest`` or nothing (the latest) stands for.

    Raises
    ------
    RunError
        If it is none, or more than one.
    """
    text = (text or LATEST).strip("/")
    flow = invocation.flow
    if text == LATEST:
        return find_run(flow, store) if flow else _latest(store)
    head, slash, rest = text.partition("/")
    if slash and rest == LATEST:
        return find_run(head, store)
    if flow and not slash and text != flow and not list_runs(store, text):
        return read_run(store, flow, text)
    return find_run(text, store)


def _latest(store: Datastore) -> RunInfo:
    flows = list_flows(store)
    if not flows:
        raise RunError(f"there are no runs in {store.url}; is it the right datastore? (--datastore, FLOWC_DATASTORE)")
    return max((find_run(flow, store) for flow in flows), key=lambda info: info.created)


def find_with_address(invocation: Invocation, store: Datastore, text: str) -> tuple[RunInfo, str]:
    """The run and what follows it in ``12/train/0.3``, ``Flow/12/train``, ``latest/train``, ``Flow/train/0.3``."""
    parts = [part for part in text.split("/") if part]
    if not parts:
        raise click.UsageError("name a run and a task: 12/train/0.3")
    taken = 1
    if parts[0] != LATEST and not _is_run(invocation, store, parts[0]) and len(parts) > 1:
        named = parts[1] == LATEST or parts[1].isdigit() or store.exists(f"{parts[0]}/{parts[1]}/run.json")
        taken = 2 if named else 1
    return find(invocation, store, "/".join(parts[:taken])), "/".join(parts[taken:])


def _is_run(invocation: Invocation, store: Datastore, word: str) -> bool:
    return word.isdigit() or bool(invocation.flow and store.exists(f"{invocation.flow}/{word}/run.json"))


def tasks_of(info: RunInfo, records: Records, text: str) -> list[Address]:
    """The tasks that ``train/0.3``, ``train`` (a step), ``train@2`` (a round of it) or nothing (all) stands for.

    Raises
    ------
    click.UsageError
        If the run has no such step or task; the message names what there is.
    """
    if not text:
        return [address for step in info.outline.steps for address in tasks_of_step(records, step)]
    try:
        wanted = Address.parse(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if wanted.step not in info.outline:
        from ..compiler.diagnostics import nearest

        near = nearest(wanted.step, info.outline.steps)
        hint = f"did you mean {near}?" if near else f"it has {', '.join(info.outline.steps)}"
        raise click.UsageError(f"run {info.prefix} has no step {wanted.step}; {hint}")
    there = tasks_of_step(records, wanted.step)
    if not there:
        raise click.UsageError(f"step {wanted.step} of run {info.prefix} has not begun")
    if "/" not in text:
        return [address for address in there if "@" not in text or address.round == wanted.round]
    if wanted in there:
        return [wanted]
    some = ", ".join(map(str, there[:5])) + (", ..." if len(there) > 5 else "")
    raise click.UsageError(f"run {info.prefix} has no task {wanted}; there is {some}")


def tasks_of_step(records: Records, step: str) -> list[Address]:
    """Every task of a step that has begun, by round and index."""
    return [address for round in range(1, records.rounds(step) + 1) for address in records.tasks(step, round)]


def spelling(invocation: Invocation, store: Datastore, flow: str, run_id: str) -> str:
    """The run as the user may write it: its id alone where no other flow has a run of that id."""
    if invocation.flow == flow:
        return run_id
    for other in store.list(""):
        if other != flow and store.exists(f"{other}/{run_id}/run.json"):
            return f"{flow}/{run_id}"
    return run_id


def shown(store: Datastore) -> str:
    """The datastore as people write it: relative where it lies below the current folder."""
    if "://" in store.url:
        return store.url
    relative = os.path.relpath(store.url)
    return store.url if relative.startswith(os.pardir) else relative
