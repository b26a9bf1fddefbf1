"""The group of commands: it knows their names and one line about each, and imports a command only to run it."""

from __future__ import annotations

import importlib
import sys
from difflib import get_close_matches

import click

from .invocation import Invocation
from .options import before_command

COMMANDS = {
    "run": "Run a flow here.",
    "deploy": "Put a flow on another scheduler, or bring it up to date there.",
    "submit": "Start a run of a flow on another scheduler.",
    "resume": "Continue a run that failed or was interrupted.",
    "status": "Tell how a run stands.",
    "cancel": "End a run.",
    "runs": "List runs.",
    "show": "Show one run: its steps, times and failure.",
    "logs": "Print what the tasks of a run wrote.",
    "dump": "Print the artifacts of a run's tasks.",
    "check": "Report everything that is wrong with a flow.",
    "plan": "Print a flow's Plan as JSON.",
    "graph": "Draw a flow.",
    "compile": "Write the files that run a flow on another scheduler.",
    "verify": "Check written files against the flow that they describe.",
    "targets": "Show what each target can do.",
    "metaflow": "Let a plain Python's `import metaflow` give flowc.",
}


class Commands(click.Group):
    """Commands by name, each in the module of that name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f".{cmd_name}", __package__).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise click.UsageError(_no_command(ctx, args[0]), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _no_command(ctx: click.Context, word: str) -> str:
    near = get_close_matches(word, COMMANDS, n=1)
    if near:
        return f"there is no command {word!r}; did you mean {near[0]!r}?"
    if word.partition(":")[0].endswith(".py"):
        return f"the command comes first: {ctx.command_path} run {word}"
    return f"there is no command {word!r}; the commands are {', '.join(COMMANDS)}"


def flow_commands(invocation: Invocation) -> Commands:
    """The group for one call of the command line."""
    if invocation.flow:
        text = f"Run, check and look into {invocation.flow}."
    else:
        text = "Write a workflow once in Python; run it here or compile it for another scheduler."

    def start(version: bool) -> None:
        ctx = click.get_current_context()
        if version:
            from .. import __version__

            print(f"flowc {__version__}")
            ctx.exit(0)
        if ctx.invoked_subcommand is None:
            print(ctx.get_help(), file=sys.stderr)
            ctx.exit(2)
        invocation.say_ignored()

    version = click.Option(["--version"], is_flag=True, help="Print the version.")
    return Commands(
        name=invocation.program,
        callback=start,
        params=[*before_command(invocation), version],
        help=text,
        invoke_without_command=True,
        no_args_is_help=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
