"""``flowc dump``: the artifacts of a run's tasks."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

import click

from .invocation import Invocation
from .options import datastore, with_parameters
from .screen import print_table, size

if TYPE_CHECKING:
    from ..runtime.address import Address
    from ..runtime.artifacts import ArtifactStore
    from ..runtime.record import Record, Records
    from ..runtime.runs import RunInfo
    from .survey import TaskState

_UNREADABLE = "(cannot be loaded:"
_WIDTH = 100
"""Characters of a value's text in the list of all artifacts."""


@click.command("dump")
@with_parameters(
    click.Argument(["task"], metavar="RUN[/STEP[/INDEX]]"),
    click.Option(
        ["--name", "--include", "names"], metavar="NAME", multiple=True, help="Only this artifact, in full. Repeatable."
    ),
    click.Option(["--private"], is_flag=True, help="Also artifacts whose name begins with _."),
    click.Option(
        ["--max-value-size"],
        type=click.IntRange(min=0),
        default=1000,
        show_default=True,
        help="Do not load values that are stored in more bytes than this (a --name is always loaded).",
    ),
    click.Option(["--file", "file"], metavar="FILE", help="Pickle {task: {artifact: value}} into this file."),
    datastore(),
)
@click.pass_obj
def command(
    invocation: Invocation, task: str, names: tuple[str, ...], private: bool, max_value_size: int, file: str | None
) -> int:
    """Print the artifacts of a task (12/train/0.3), of a step's tasks (12/train), or of all of a run (12).

    The exit code is 1 where one that a --name asks for cannot be loaded.
    """
    from ..runtime.artifacts import ArtifactStore
    from ..runtime.runs import RUNNING, make_importable, read_status
    from .selection import find_with_address, open_store
    from .survey import task_state

    store = open_store(invocation)
    info, text = find_with_address(invocation, store, task)
    records = info.records(store)
    alive = read_status(store, info).state == RUNNING
    wanted = {part for name in names for part in name.split(",") if part}
    artifacts = ArtifactStore(store, info.flow)
    make_importable(info)
    found: dict[str, dict[str, Any]] = {}
    missing, whole = set(wanted), True
    state = None
    for address in _tasks(invocation, info, records, task, text):
        state = task_state(records, address, alive=alive)
        chosen = _chosen(state.record, wanted, private)
        if file is not None:
            found[str(address)] = {name: artifacts.load(ref, name) for name, ref in chosen.items()}
        else:
            whole = _print_task(info, state, chosen, artifacts, None if wanted else max_value_size) and whole
        missing -= set(chosen)
        if missing and "/" in text:
            raise click.UsageError(_missing(address, sorted(missing), state.record))
    if missing and state is not None:
        raise click.UsageError(_missing(address, sorted(missing), state.record))
    if file is not None:
        with open(file, "wb") as out:
            pickle.dump(found, out, protocol=4)
        print(f"{sum(map(len, found.values()))} artifacts of {len(found)} tasks are in {file}", file=sys.stderr)
    return 0 if whole else 1


def _tasks(invocation: Invocation, info: RunInfo, records: Records, task: str, text: str) -> list[Address]:
    """The tasks to print; an artifact's name in place of an index is a mistake that is easily made."""
    from .selection import tasks_of

    try:
        return tasks_of(info, records, text)
    except click.UsageError as error:
        before, _, last = text.strip("/").rpartition("/")
        step = before.partition("/")[0].partition("@")[0]
        if step not in info.outline or not last.isidentifier() or last == "_":
            raise
        where = task.strip("/").rpartition("/")[0]
        hint = f"for the artifact {last}: {invocation.command('dump', where)} --name {last}"
        raise click.UsageError(f"{error.message}; {hint}") from None


def _chosen(record: Record | None, wanted: set[str], private: bool) -> dict[str, Any]:
    refs = dict(record.artifacts) if record is not None else {}
    if wanted:
        return {name: ref for name, ref in refs.items() if name in wanted}
    return {name: ref for name, ref in sorted(refs.items()) if private or not name.startswith("_")}


def _missing(address: Address, names: list[str], record: Record | None) -> str:
    from ..compiler.diagnostics import nearest

    there = sorted(record.artifacts) if record is not None else []
    near = nearest(names[0], there)
    hint = f"did you mean {near}?" if near else f"it has {', '.join(there) or 'none'}"
    return f"{address} has no artifact {names[0]}; {hint}"


def _print_task(
    info: RunInfo, state: TaskState, refs: dict[str, Any], artifacts: ArtifactStore, limit: int | None
) -> bool:
    """Print the artifacts of one task; whether all that were asked for by name could be loaded."""
    note = "" if state.state == "done" else f"  ({state.state})"
    print(f"{info.prefix}/{state.address}{note}")
    texts = {name: _text(artifacts, name, ref, limit) for name, ref in refs.items()}
    if limit is None:
        for name, text in texts.items():
            print(f"{name} = {text}")
    elif refs:
        print_table(
            ["NAME", "TYPE", "SIZE", "VALUE"],
            [[name, str(ref.get("type", "")), size(ref.get("size", 0)), texts[name]] for name, ref in refs.items()],
            right=[2],
        )
    print()
    return limit is not None or not any(text.startswith(_UNREADABLE) for text in texts.values())


def _text(artifacts: ArtifactStore, name: str, ref: Any, limit: int | None) -> str:
    """A value as text: on one short line where there is a limit; what is too large or does not load says so."""
    if limit is not None and ref.get("size", 0) > limit:
        return "(not loaded; see --name and --max-value-size)"
    try:
        value = artifacts.load(ref, name)
        if limit is None:
            return repr(value)
        text = " ".join(repr(value).split())
    except Exception as error:
        # The value's own code runs here: a class that has changed since must not hide the other artifacts.
        return f"{_UNREADABLE} {error})"
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
