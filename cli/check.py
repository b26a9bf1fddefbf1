"""``flowc check``: everything that is wrong with a flow, at once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .flow_command import FlowCommand, compile_as_told, flow_file
from .invocation import Invocation
from .options import settings, with_parameters
from .screen import colours

if TYPE_CHECKING:
    from ..compiler import Compilation
    from ..compiler.diagnostics import Diagnostic

FORMATS = ("text", "json", "github", "sarif")
TARGETS = ("local", "argo", "batch", "slurm", "all")


@click.command("check", cls=FlowCommand)
@with_parameters(
    click.Argument(["file"], metavar="FILE[:FLOW]"),
    click.Option(
        ["--target", "targets"],
        type=click.Choice(TARGETS),
        multiple=True,
        help="Report also what this target cannot do. Repeatable.",
    ),
    click.Option(
        ["--format", "form"], type=click.Choice(FORMATS), default="text", show_default=True, help="How to report."
    ),
    *settings(),
)
@click.pass_obj
def command(invocation: Invocation, form: str, targets: tuple[str, ...], file: str | None = None) -> int:
    """Report everything that is wrong with a flow, at once.

    Text goes to standard error; json, github and sarif go to standard output. The exit code is 1 where there are
    errors.
    """
    compilation = compile_as_told(invocation, flow_file(file), stand_in=True)
    diagnostics = _all_diagnostics(compilation, targets)
    from ..compiler.diagnostics import render
    from ..compiler.rendering import summary

    failed = any(item.is_error for item in diagnostics)
    if form != "text":
        sys.stdout.write(render(diagnostics, compilation.sources, form))
        return int(failed)
    sys.stderr.write(render(diagnostics, compilation.sources, color=colours(sys.stderr)))
    if diagnostics:
        print(f"\n{summary(diagnostics)}", file=sys.stderr)
    if not failed:
        assert compilation.plan is not None
        good_for = f" for {', '.join(_names(targets))}" if targets else ""
        print(f"{compilation.plan.name} is good{good_for}: {len(compilation.plan.steps)} steps", file=sys.stderr)
    return int(failed)


def _names(targets: tuple[str, ...]) -> list[str]:
    from ..backends.base import TARGETS

    return list(TARGETS) if "all" in targets else list(dict.fromkeys(targets))


def _all_diagnostics(compilation: Compilation, targets: tuple[str, ...]) -> tuple[Diagnostic, ...]:
    """What the compiler says, and what the targets say of a flow that compiles."""
    if not targets or compilation.plan is None:
        return compilation.diagnostics
    from ..backends.base import check_target
    from ..compiler.diagnostics import ordered

    found = list(compilation.diagnostics)
    for name in _names(targets):
        found.extend(check_target(compilation.plan, name))
    return ordered(found)
