"""``flowc show``: one run, its tasks, or the steps of a flow."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from .flow_command import compile_or_exit, path_of
from .invocation import Invocation
from .options import datastore, with_parameters
from .screen import duration, is_terminal, moment, print_table

if TYPE_CHECKING:
    from ..runtime.datastore.base import Datastore
    from ..runtime.runs import RunInfo, RunStatus
    from .tally import StepTally, Tally


@click.command("show")
@with_parameters(
    click.Argument(["run"], required=False, metavar="[RUN[/STEP[/INDEX]]]"),
    click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
    datastore(),
)
@click.pass_obj
def command(invocation: Invocation, run: str | None, as_json: bool) -> int:
    """Show one run: its parameters, its steps and their times, and what it failed on.

    RUN is 12, Flow/12, Flow or latest, which is also meant where it is left out. Of a task (12/train/0.3) or the tasks
    of a step (12/train), show each attempt and why it failed; of a gang, how all its ranks ended. For a flow's file,
    show its steps.
    """
    if run is None and invocation.file is not None:
        return _show_flow(invocation, invocation.file)
    if run is not None and path_of(run).endswith(".py"):
        return _show_flow(invocation, run)
    from .selection import find, find_with_address, open_store
    from .survey import survey

    store = open_store(invocation)
    info, tasks = find_with_address(invocation, store, run) if run else (find(invocation, store, run), "")
    status = _status(store, info)
    if tasks:
        from .show_tasks import show_tasks

        show_tasks(store, info, status, tasks, as_json=as_json)
        return 0
    tally = survey(info, store, status)
    if as_json:
        print(json.dumps(_as_json(info, status, tally), indent=2))
        return 0
    _print_head(info, status)
    _print_steps(info, status, tally)
    if status.failure:
        from .report import attempts_of, failure_lines
        from .selection import spelling

        name = spelling(invocation, store, info.flow, info.run_id)
        attempts = attempts_of(info.plan, status.failure.get("address"))
        lines = failure_lines(status.failure, invocation=invocation, run=name, attempts=attempts)
        print("\n" + "\n".join(lines))
    return 0


def _status(store: Datastore, info: RunInfo) -> RunStatus:
    """How a run stands. On Slurm nobody is there to say that its last job is lost, so Slurm is asked."""
    from ..runtime.runs import RUNNING, read_status

    status = read_status(store, info)
    if status.state != RUNNING or info.target != "slurm":
        return status
    from ..runtime.slurm.status import glance

    return glance(store, info)


def _show_flow(invocation: Invocation, spec: str) -> int:
    plan = compile_or_exit(invocation, spec, stand_in=True).plan
    assert plan is not None
    print(f"{plan.name}" + (f": {_first_line(plan.doc)}" if plan.doc else ""))
    print()
    rows = []
    for step in plan.steps:
        leave, targets = step.leave, ", ".join(step.leave.targets)
        how = {"foreach": "foreach", "gang": "gang", "switch": "switch"}.get(leave.kind, "")
        rows.append([step.name, f"{how} -> {targets}".strip() if targets else "end", _first_line(step.doc)])
    print_table(["STEP", "NEXT", "ABOUT"], rows)
    return 0


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else ""


def _print_head(info: RunInfo, status: RunStatus) -> None:
    rows = [
        ("run", info.prefix),
        ("state", status.state),
        ("started", moment(info.created)),
        ("took", duration(status.finished - status.started) if status.finished and status.started else ""),
        ("user", info.user),
        ("tags", " ".join(info.tags)),
        ("resumes", f"{info.flow}/{info.origin_run_id}" if info.origin_run_id else ""),
        ("file", "/".join(filter(None, [info.source.get("folder"), info.source.get("file")]))),
    ]
    values = [(f"--{name}", _parameter(value)) for name, value in info.parameters.items()]
    for name, value in [*rows, *values]:
        if value:
            print(f"{name:<10} {value}")
    if status.state == "lost":
        print("           whoever ran it is gone without a word; flowc resume continues it")
    print()


def _parameter(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("file"), dict) and set(value) == {"file"}:
        return f"(a file of {value['file'].get('size')} bytes)"
    return value if isinstance(value, str) else json.dumps(value)


def _print_steps(info: RunInfo, status: RunStatus, tally: Tally) -> None:
    now = status.finished or time.time()
    if is_terminal(sys.stdout):
        from .screen import console
        from .tree import RunTree

        tree = RunTree(info.prefix, tally, status.started or info.created)
        tree.now, tree.state = now, status.state
        console().print(tree)
        return
    rows = [
        [
            "  " * step.depth + step.name,
            state_of(step, status.state),
            *(str(count or "") for count in (step.done, step.running, step.failed)),
            duration(step.ended - step.began) if step.began and step.ended else "",
            ", ".join(_remarks(step)),
        ]
        for step in tally
    ]
    print_table(["STEP", "STATE", "DONE", "RUNNING", "FAILED", "TIME", ""], rows, right=[2, 3, 4, 5])


def state_of(step: StepTally, run: str) -> str:
    """A step's state where the run as a whole has come to its own."""
    if step.state == "waiting":
        return {"done": "not taken", "running": "waiting"}.get(run, "not begun")
    if step.state == "running" and run != "running":
        return "stopped"
    return step.state


def _remarks(step: StepTally) -> list[str]:
    counts = ((step.cloned, "taken over"), (step.caught, "caught"), (step.stopped, "stopped"))
    return [step.kind] * bool(step.kind) + [f"{count} {word}" for count, word in counts if count]


def _as_json(info: RunInfo, status: RunStatus, tally: Tally) -> dict[str, Any]:
    return {
        "flow": info.flow,
        "run_id": info.run_id,
        "state": status.state,
        "created": info.created,
        "started": status.started,
        "finished": status.finished,
        "user": info.user,
        "tags": list(info.tags),
        "origin_run_id": info.origin_run_id,
        "parameters": dict(info.parameters),
        "steps": [
            {
                "name": step.name,
                "kind": step.step.kind,
                "state": state_of(step, status.state),
                "tasks": {
                    name: getattr(step, name) for name in ("done", "running", "failed", "stopped", "caught", "cloned")
                },
                "total": step.total,
                "started": step.began,
                "finished": step.ended,
            }
            for step in tally
        ],
        "failure": status.failure,
    }
