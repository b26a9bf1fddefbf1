"""``flowc status``: how a run stands, as its scheduler sees it, too."""

from __future__ import annotations

import json

import click

from .invocation import Invocation
from .options import datastore, with_parameters


@click.command("status")
@with_parameters(
    click.Argument(["run"], required=False),
    click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
    datastore(),
)
@click.pass_obj
def command(invocation: Invocation, run: str | None, as_json: bool) -> int:
    """Tell how a run stands: done, running, failed, interrupted or lost, and what of it waits in the queue.

    RUN is 12, Flow/12, Flow or latest, which is also meant where it is left out. The exit code is 1 where it failed or
    got lost, 130 where it was interrupted, else 0.
    """
    from ..runtime.runs import read_status
    from .selection import find, open_store
    from .submit import report_end

    store = open_store(invocation)
    info = find(invocation, store, run)
    jobs = []
    if info.target == "slurm":
        from ..runtime.slurm.status import look

        found = look(store, info)
        status = found.status
        jobs = [job._asdict() for job in found.jobs or ()]
    else:
        status = read_status(store, info)
    code = {"done": 0, "running": 0, "interrupted": 130}.get(status.state, 1)
    if as_json:
        data = {"flow": info.flow, "run_id": info.run_id, "target": info.target, **vars(status), "jobs": jobs}
        print(json.dumps(data, indent=2))
        return code
    print(f"run {info.prefix} on {info.target}: {status.state}")
    for job in jobs:
        because = f" ({job['reason']})" if job["reason"] not in ("None", "") else ""
        print(f"  {job['id']:<12} {job['state'].lower():<12} {job['name']}{because}")
    if code:
        report_end(invocation, store, info, status)
    return code
