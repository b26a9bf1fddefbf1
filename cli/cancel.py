"""``flowc cancel``: end a run."""

from __future__ import annotations

import sys

import click

from .elsewhere import Where, pick, resume_command, where_options
from .invocation import Invocation
from .options import datastore, with_parameters


@click.command("cancel")
@with_parameters(
    click.Argument(["run"]),
    click.Option(
        ["--force"],
        is_flag=True,
        help="Do not let the run say good-bye. On Argo: terminate it, and remove its JobSets from here.",
    ),
    *where_options(),
    datastore(),
)
@click.pass_obj
def command(
    invocation: Invocation, run: str, force: bool, target: str | None, context: str | None, namespace: str | None
) -> int:
    """End a run; it is then interrupted, and can be resumed.

    RUN is 12, Flow/12, Flow or latest.
    """
    client, found = pick(invocation, run, Where(target, context, namespace))
    state = client.look(found).status.state
    if state != "running":
        print(f"run {found.prefix} has ended already: it is {state}", file=sys.stderr)
        if not force:
            return 0
    ended = client.cancel(found, force=force, tell=lambda line: print(line, file=sys.stderr))
    if state != "running":
        return 0
    if ended is False:
        return 1
    print(f"run {found.prefix} is cancelled", file=sys.stderr)
    resume = resume_command(invocation, found)
    if resume:
        print(f"to go on:  {resume}", file=sys.stderr)
    return 0
