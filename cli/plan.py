"""``flowc plan``: the Plan of a flow as JSON."""

from __future__ import annotations

import sys

import click

from .flow_command import FlowCommand, compile_or_exit, flow_file, show_diagnostics
from .invocation import Invocation
from .options import settings, with_parameters


@click.command("plan", cls=FlowCommand)
@with_parameters(click.Argument(["file"], metavar="FILE[:FLOW]"), *settings())
@click.pass_obj
def command(invocation: Invocation, file: str | None = None) -> int:
    """Print a flow's Plan as JSON: what every target is compiled from."""
    compilation = compile_or_exit(invocation, flow_file(file), stand_in=True)
    assert compilation.plan is not None
    show_diagnostics(compilation)
    sys.stdout.write(compilation.plan.dumps())
    return 0
