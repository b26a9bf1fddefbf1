"""Which scheduler a run is on, and what is the same for all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from ..runtime import contract
from .invocation import Invocation
from .screen import colours

if TYPE_CHECKING:
    from ..backends.clients import Client, Run
    from ..runtime.runs import RunStatus

ASKED = ("local", "argo", "slurm")
"""Targets whose runs can be asked about."""


@dataclass(frozen=True)
class Where:
    """Where a run is, as the options say."""

    target: str | None = None
    context: str | None = None
    namespace: str | None = None

    def __post_init__(self) -> None:
        if self.target is None and (self.context or self.namespace):
            raise click.UsageError("--context and --namespace need the target, too: --target argo")

    @property
    def words(self) -> list[str]:
        """The options again, for commands that the user can paste."""
        pairs = (("--target", self.target), ("--context", self.context), ("--namespace", self.namespace))
        return [word for name, value in pairs if value for word in (name, value)]


def cluster_options() -> list[click.Parameter]:
    """Options that pick a Kubernetes cluster."""
    return [
        click.Option(["--context"], metavar="NAME", help="A context of the kubeconfig; otherwise the current one."),
        click.Option(["--namespace", "-n"], metavar="NAME", help="A namespace; otherwise the context's."),
    ]


def where_options() -> list[click.Parameter]:
    """Options that say where a run is."""
    return [
        click.Option(
            ["--target"],
            type=click.Choice(ASKED),
            help="Where the run is; only needed where the datastore is out of reach, as a cluster's claim.",
        ),
        *cluster_options(),
    ]


def connect(invocation: Invocation, where: Where, *, found: bool = False) -> Client:
    """The client of a target. ``found`` says that its run was found in the datastore of this call."""
    from ..backends.clients import Access, get_client

    assert where.target is not None
    told = found or bool(invocation.datastore or os.environ.get(contract.DATASTORE))
    return get_client(where.target, Access(invocation.datastore_url, told, where.context, where.namespace))


def pick(invocation: Invocation, text: str | None, where: Where) -> tuple[Client, Run]:
    """The run that the user means, and who to ask about it.

    Raises
    ------
    FlowcError
        If there is none.
    """
    from ..backends.clients import Run
    from ..runtime.runs import RunError
    from .selection import find, open_store

    if where.target is not None:
        client = connect(invocation, where)
        run = client.find(text, invocation.flow)
        if run is not None:
            return client, run
    try:
        info = find(invocation, open_store(invocation), text)
    except RunError as error:
        if where.target is None:
            raise RunError(f"{error}; a run on a Kubernetes cluster is found with --target argo") from None
        raise
    if where.target not in (None, info.target):
        raise click.UsageError(f"run {info.prefix} is not on {where.target}; it is on {info.target}")
    there = Where(info.target, where.context, where.namespace)
    return connect(invocation, there, found=True), Run.known(info)


def name_of(invocation: Invocation, run: Run) -> str:
    """The run as the user may write it."""
    if run.info is None:
        return run.run_id
    from .selection import open_store, spelling

    return spelling(invocation, open_store(invocation), run.flow, run.run_id)


def resume_command(invocation: Invocation, run: Run) -> str | None:
    """How to go on with a run; None where its records are out of reach from here."""
    return None if run.info is None else invocation.command("resume", name_of(invocation, run))


def follow(invocation: Invocation, client: Client, run: Run, where: Where) -> int:
    """Wait for the end of a run and say how it went; the exit code that goes with it."""
    try:
        status = client.wait(run, lambda line: None if invocation.quiet else print(line, file=sys.stderr))
    except KeyboardInterrupt:
        here = replace(where, namespace=run.namespace or where.namespace)
        words = here.words if run.info is None else ()
        cancel = invocation.command("cancel", run.prefix, *words)
        print(f"\nflowc: the run goes on; to end it: {cancel}", file=sys.stderr)
        return 130
    return report_end(invocation, run, status, where)


def report_end(invocation: Invocation, run: Run, status: RunStatus, where: Where) -> int:
    """Say how a run ended, if not well; the exit code that goes with it."""
    if status.state == "done":
        if not invocation.quiet:
            print(f"run {run.prefix} is done", file=sys.stderr)
        return 0
    from .report import attempts_of, failure_lines

    resume = resume_command(invocation, run)
    if status.failure is None:
        print(f"run {run.prefix} is {status.state}", file=sys.stderr)
        if resume:
            print(f"to go on:  {resume}", file=sys.stderr)
    else:
        attempts = attempts_of(run.info.plan, status.failure.get("address")) if run.info else None
        here = replace(where, namespace=run.namespace or where.namespace)
        options: Sequence[str] = () if run.info else here.words
        lines = failure_lines(
            status.failure, invocation=invocation, run=name_of(invocation, run), attempts=attempts, options=options
        )
        if colours(sys.stderr):
            lines[0] = f"\x1b[1;31m{lines[0]}\x1b[0m"
        print("\n".join(lines), file=sys.stderr)
    return 130 if status.state == "interrupted" else 1
