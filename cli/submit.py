"""``flowc submit``: a flow, on another scheduler."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import click

from .compile import packaging_options
from .flow_command import FlowHasErrors, RunningCommand, compile_or_exit, compiled, flow_file, show_diagnostics
from .invocation import Invocation
from .options import datastore, quiet, settings, with_parameters
from .run import flow_parameters
from .screen import colours

if TYPE_CHECKING:
    from ..compiler import Compilation
    from ..runtime.datastore import Datastore
    from ..runtime.runs import RunInfo, RunStatus

TARGETS = ("slurm",)
"""Targets on which runs are started from here."""

Code = Literal["bundled", "installed"]


def submit_options() -> list[click.Parameter]:
    """Options of every command that starts a run on another scheduler."""
    return [
        click.Option(["--wait"], is_flag=True, help="Follow the run to its end; the exit code is then the run's."),
        *packaging_options(),
    ]


@click.command("submit", cls=RunningCommand)
@with_parameters(
    click.Argument(["file"], metavar="FILE[:FLOW]"),
    click.Option(["--target"], type=click.Choice(TARGETS), required=True, help="Where it is to run."),
    click.Option(["--run-id-file"], metavar="FILE", help="Write the run's id into this file."),
    click.Option(["--tag", "tags"], metavar="TAG", multiple=True, help="A tag of the run. Repeatable."),
    *submit_options(),
    datastore(),
    *settings(),
    quiet(),
)
@click.pass_context
def command(
    ctx: click.Context,
    target: str,
    wait: bool,
    code: Code,
    package: tuple[str, ...],
    run_id_file: str | None,
    tags: tuple[str, ...],
    file: str | None = None,
) -> int:
    """Start a run of a flow on another scheduler.

    It prints the run's id. The exit code is 0 where the run is under way, 2 for wrong input; with --wait it is the
    run's: 0 where it succeeds, 1 where it fails, 130 where it is cancelled, or where the waiting is interrupted.
    """
    invocation = ctx.obj
    assert isinstance(invocation, Invocation)
    compilation = compiled(ctx)
    if package:
        compilation = compile_or_exit(invocation, flow_file(file), stand_in=False, package=package)
    return submit_slurm(
        invocation, compilation, flow_parameters(ctx), code=code, tags=tags, wait=wait, run_id_file=run_id_file
    )


def submit_slurm(
    invocation: Invocation,
    compilation: Compilation,
    parameters: Mapping[str, Any],
    *,
    code: Code = "bundled",
    tags: tuple[str, ...] = (),
    wait: bool = False,
    run_id_file: str | None = None,
    origin: str | None = None,
    first: str | None = None,
) -> int:
    """Start a run of a compiled flow on Slurm; ``origin`` and ``first`` as in `flowc.runtime.slurm.launch.Request`.

    Returns
    -------
    int
        0 where it is under way; with ``wait`` as it ends: 0 done, 1 failed, 130 interrupted.
    """
    from ..runtime.slurm.launch import Request, submit
    from ..runtime.slurm.staging import read_bundle
    from .selection import open_store

    assert compilation.loaded is not None
    store = open_store(invocation)
    with tempfile.TemporaryDirectory(prefix="flowc-submit-") as folder:
        _write(invocation, compilation, code, folder)
        source = os.path.abspath(compilation.loaded.file)
        bundle = read_bundle(folder)
        run = submit(Request(bundle, store, {}, tags, origin, first, parameters, source))
    if run_id_file is not None:
        with open(run_id_file, "w", encoding="utf-8") as out:
            out.write(run.run_id)
    if not invocation.quiet:
        print(f"run {run.prefix} is submitted", file=sys.stderr)
    print(run.run_id, flush=True)
    return follow(invocation, store, run) if wait else 0


def _write(invocation: Invocation, compilation: Compilation, code: Code, folder: str) -> None:
    from dataclasses import replace

    from ..backends.manifests import produce, write
    from ..compiler.diagnostics import ordered

    produced = produce(compilation, "slurm", code=code)
    compilation = replace(compilation, diagnostics=ordered([*compilation.diagnostics, *produced.diagnostics]))
    if produced.files is None:
        raise FlowHasErrors(compilation)
    if not invocation.quiet:
        show_diagnostics(compilation)
    write(folder, produced.files)


def follow(invocation: Invocation, store: Datastore, run: RunInfo) -> int:
    """Wait for the end of a run on Slurm and say how it went; the exit code that goes with it."""
    from ..runtime.slurm.command_line import wait

    try:
        status = wait(store, run).status
    except KeyboardInterrupt:
        cancel = invocation.command("cancel", run.prefix)
        print(f"\nflowc: the run goes on; to end it: {cancel}", file=sys.stderr)
        return 130
    return report_end(invocation, store, run, status)


def report_end(invocation: Invocation, store: Datastore, run: RunInfo, status: RunStatus) -> int:
    """Say how a run ended, if not well; the exit code that goes with it."""
    if status.state == "done":
        if not invocation.quiet:
            print(f"run {run.prefix} is done", file=sys.stderr)
        return 0
    from .report import attempts_of, failure_lines
    from .selection import spelling

    name = spelling(invocation, store, run.flow, run.run_id)
    if status.failure is None:
        print(f"run {run.prefix} is {status.state}\nto go on:  {invocation.command('resume', name)}", file=sys.stderr)
    else:
        attempts = attempts_of(run.plan, status.failure.get("address"))
        lines = failure_lines(status.failure, invocation=invocation, run=name, attempts=attempts)
        if colours(sys.stderr):
            lines[0] = f"\x1b[1;31m{lines[0]}\x1b[0m"
        print("\n".join(lines), file=sys.stderr)
    return 130 if status.state == "interrupted" else 1
