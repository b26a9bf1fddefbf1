"""``flowc cancel``: end a run."""

from __future__ import annotations

import os
import signal
import sys

import click

from .invocation import Invocation
from .options import datastore, with_parameters


@click.command("cancel")
@with_parameters(click.Argument(["run"]), datastore())
@click.pass_obj
def command(invocation: Invocation, run: str) -> int:
    """End a run; it is then interrupted, and can be resumed.

    RUN is 12, Flow/12, Flow or latest.
    """
    from ..runtime.runs import RUNNING, read_status
    from .selection import find, open_store, spelling

    store = open_store(invocation)
    info = find(invocation, store, run)
    if info.target == "slurm":
        from ..runtime.slurm.status import cancel, look

        status = look(store, info).status
    else:
        status = read_status(store, info)
    if status.state != RUNNING:
        print(f"run {info.prefix} has ended already: it is {status.state}", file=sys.stderr)
        return 0
    if info.target == "slurm":
        cancel(store, info)
    elif status.pid is None or status.host != os.uname().nodename:
        raise click.UsageError(f"run {info.prefix} runs on {status.host or 'another machine'}; cancel it there")
    else:
        os.kill(status.pid, signal.SIGTERM)
    resume = invocation.command("resume", spelling(invocation, store, info.flow, info.run_id))
    print(f"run {info.prefix} is cancelled\nto go on:  {resume}", file=sys.stderr)
    return 0
