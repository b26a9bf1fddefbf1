"""``flowc runs``: which runs there are."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from .invocation import Invocation
from .options import datastore, with_parameters
from .screen import duration, moment, print_table


@click.command("runs")
@with_parameters(
    click.Argument(["flow"], required=False),
    click.Option(["--limit", "-n"], type=click.IntRange(min=1), default=20, show_default=True, help="At most so many."),
    click.Option(["--all", "everything"], is_flag=True, help="No limit."),
    click.Option(["--tag", "tags"], metavar="TAG", multiple=True, help="Only runs with this tag. Repeatable."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
    datastore(),
)
@click.pass_obj
def command(
    invocation: Invocation, flow: str | None, limit: int, everything: bool, tags: tuple[str, ...], as_json: bool
) -> int:
    """List runs, newest first: of all flows, or of one FLOW."""
    from ..runtime.runs import RunError, find_run, list_flows, list_runs, read_run, read_status
    from .selection import open_store, shown

    store = open_store(invocation)
    flow = flow or invocation.flow
    if flow and not list_runs(store, flow) and flow != invocation.flow:
        find_run(f"{flow}/", store)
    found = []
    for name in [flow] if flow else list_flows(store):
        for run_id in list_runs(store, name):
            try:
                found.append(read_run(store, name, run_id))
            except RunError as error:
                print(f"flowc: {error}", file=sys.stderr)
    found = [info for info in found if set(tags) <= set(info.tags)]
    found.sort(key=lambda info: (info.created, info.run_id), reverse=True)
    left_out = 0 if everything else max(len(found) - limit, 0)
    rows: list[dict[str, Any]] = []
    for info in found[: len(found) - left_out]:
        status = read_status(store, info)
        rows.append(
            {
                "flow": info.flow,
                "run_id": info.run_id,
                "state": status.state,
                "created": info.created,
                "finished": status.finished,
                "user": info.user,
                "tags": list(info.tags),
                "origin_run_id": info.origin_run_id,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print(f"there are no runs{f' of {flow}' if flow else ''} in {shown(store)}", file=sys.stderr)
        return 0
    print_table(
        ["RUN", "STATE", "STARTED", "TOOK", "USER", "TAGS"],
        [
            [
                f"{row['flow']}/{row['run_id']}",
                row["state"],
                moment(row["created"]),
                duration(row["finished"] - row["created"]) if row["finished"] else "",
                row["user"],
                " ".join([*row["tags"], *([f"resumes:{row['origin_run_id']}"] if row["origin_run_id"] else [])]),
            ]
            for row in rows
        ],
        right=[3],
        state=1,
    )
    if left_out:
        print(f"and {left_out} older; --all lists them", file=sys.stderr)
    return 0
