"""``flowc status``: how a run stands, as its scheduler sees it, too."""

from __future__ import annotations

import json

import click

from .elsewhere import Where, pick, report_end, where_options
from .invocation import Invocation
from .options import datastore, with_parameters


@click.command("status")
@with_parameters(
    click.Argument(["run"], required=False),
    click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
    *where_options(),
    datastore(),
)
@click.pass_obj
def command(
    invocation: Invocation,
    run: str | None,
    as_json: bool,
    target: str | None,
    context: str | None,
    namespace: str | None,
) -> int:
    """Tell how a run stands: done, running, failed, interrupted or lost, and what of it waits in the queue.

    RUN is 12, Flow/12, Flow or latest, which is also meant where it is left out. The exit code is 1 where it failed or
    got lost, 130 where it was interrupted, else 0.
    """
    where = Where(target, context, namespace)
    client, found = pick(invocation, run, where)
    look = client.look(found)
    status = look.status
    code = {"done": 0, "running": 0, "interrupted": 130}.get(status.state, 1)
    if as_json:
        facts = {"jobs": [], **look.facts}
        data = {"flow": found.flow, "run_id": found.run_id, "target": found.target, **vars(status), **facts}
        print(json.dumps(data, indent=2))
        return code
    print(f"run {found.prefix} on {found.target}: {status.state}")
    for line in look.lines:
        print(f"  {line}")
    if code:
        report_end(invocation, found, status, where)
    return code
