"""What ``run`` and ``resume`` share: check the flow for the local target, run it, follow it, report its end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from .flow_command import FlowHasErrors, show_diagnostics
from .invocation import Invocation
from .options import ignored
from .screen import colours

if TYPE_CHECKING:
    from ..backends.local import LocalSettings, RunResult
    from ..compiler import Compilation


def run_options() -> list[click.Parameter]:
    """Options of every command that starts a run."""
    return [
        click.Option(
            ["--max-workers"],
            metavar="N",
            type=click.IntRange(min=1),
            default=16,
            show_default=True,
            help="How many tasks run at once.",
        ),
        click.Option(
            ["--max-num-splits"],
            metavar="N",
            type=click.IntRange(min=1),
            default=100_000,
            show_default=True,
            help="The widest foreach that is let through.",
        ),
        click.Option(["--run-id-file"], metavar="FILE", help="Write the run's id into this file."),
        click.Option(["--tag", "tags"], metavar="TAG", multiple=True, help="A tag of the run. Repeatable."),
        click.Option(
            ["--isolation"],
            type=click.Choice(["fork", "spawn"]),
            default="fork",
            show_default=True,
            help="Fork each task from a process that has loaded the flow, or start a fresh one.",
        ),
        ignored("--namespace"),
        ignored("--max-log-size"),
        click.Option(["--runner-attribute-file"], metavar="FILE", hidden=True),
    ]


def launch(
    invocation: Invocation, compilation: Compilation, parameters: Mapping[str, Any], settings: LocalSettings
) -> int:
    """Run a compiled flow here.

    Returns
    -------
    int
        0 done, 1 failed, 130 interrupted.
    """
    from ..backends.local import run_local
    from .progress import progress

    plan, flow, loaded = compilation.plan, compilation.flow, compilation.loaded
    assert plan is not None and flow is not None and loaded is not None
    invocation.say_ignored()
    listener = progress(plan, quiet=invocation.quiet, where=settings.datastore)
    # What is still in these buffers would be written once more by every process that is forked from here.
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        result = run_local(plan, flow, loaded, dict(parameters), settings, listener)
    finally:
        try:
            listener.close()
        except (OSError, ValueError):
            pass  # the terminal is gone; how the run went does not depend on it
    _report(invocation, compilation, result)
    return result.exit_code


def check_local(compilation: Compilation, *, quiet: bool) -> None:
    """Say what the local target makes of the flow, with the compiler's own warnings; ``quiet`` leaves warnings out.

    Raises
    ------
    FlowHasErrors
        If the flow cannot run here.
    """
    from ..backends.base import check_capabilities, get_capabilities

    assert compilation.plan is not None
    found = check_capabilities(compilation.plan, get_capabilities("local"))
    if found:
        from dataclasses import replace

        from ..compiler.diagnostics import ordered

        compilation = replace(compilation, diagnostics=ordered([*compilation.diagnostics, *found]))
    if any(item.is_error for item in compilation.diagnostics):
        raise FlowHasErrors(compilation)
    if not quiet:
        show_diagnostics(compilation)


def _report(invocation: Invocation, compilation: Compilation, result: RunResult) -> None:
    if result.state == "done":
        return
    from .report import attempts_of, failure_lines
    from .selection import open_store, spelling

    assert compilation.plan is not None
    run = spelling(invocation, open_store(invocation), compilation.plan.name, result.run_id)
    if result.failure is None:
        print(f"\nto go on:  {invocation.command('resume', run)}", file=sys.stderr)
        return
    attempts = attempts_of(compilation.plan.to_json(), result.failure.address)
    lines = failure_lines(result.failure.to_json(), invocation=invocation, run=run, attempts=attempts)
    if colours(sys.stderr):
        lines[0] = f"\x1b[1;31m{lines[0]}\x1b[0m"
    print("\n" + "\n".join(lines), file=sys.stderr)
