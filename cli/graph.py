"""``flowc graph``: a flow as a drawing."""

from __future__ import annotations

import sys

import click

from .flow_command import FlowCommand, compile_or_exit, flow_file
from .invocation import Invocation
from .options import settings, with_parameters

FORMATS = ("mermaid", "dot", "json", "svg")


@click.command("graph", cls=FlowCommand)
@with_parameters(
    click.Argument(["file"], metavar="FILE[:FLOW]"),
    click.Option(
        ["--format", "form"],
        type=click.Choice(FORMATS),
        default="mermaid",
        show_default=True,
        help="What to write: text for Markdown or Graphviz, data, or a picture.",
    ),
    *settings(),
)
@click.pass_obj
def command(invocation: Invocation, form: str, file: str | None = None) -> int:
    """Draw a flow's steps and how they follow one another, on standard output."""
    compilation = compile_or_exit(invocation, flow_file(file), stand_in=True)
    assert compilation.plan is not None
    from ..compiler.drawing import draw

    text = draw(compilation.plan, form)
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    return 0
