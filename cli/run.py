"""``flowc run``: a flow, here."""

from __future__ import annotations

import sys
from typing import Any

import click

from .flow_command import RunningCommand, compiled, given
from .invocation import Invocation
from .launch import check_local, launch, run_options
from .options import datastore, quiet, settings, with_parameters


class ParameterProblems(click.ClickException):
    """The flow's parameters were not given as they must be."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        print(f"flowc: error: {self.message}", file=sys.stderr)


@click.command("run", cls=RunningCommand)
@with_parameters(click.Argument(["file"], metavar="FILE[:FLOW]"), *run_options(), datastore(), *settings(), quiet())
@click.pass_context
def command(
    ctx: click.Context,
    max_workers: int,
    max_num_splits: int,
    run_id_file: str | None,
    runner_attribute_file: str | None,
    tags: tuple[str, ...],
    isolation: str = "fork",
    file: str | None = None,
) -> int:
    """Run a flow on this machine and follow it to its end.

    The exit code is 0 where it succeeds, 1 where it fails, 2 for wrong input and 130 where it is interrupted.
    """
    from ..backends.local import LocalSettings

    invocation = ctx.obj
    assert isinstance(invocation, Invocation)
    compilation = compiled(ctx)
    check_local(compilation, quiet=invocation.quiet)
    return launch(
        invocation,
        compilation,
        flow_parameters(ctx),
        LocalSettings(
            datastore=invocation.datastore_url,
            max_workers=max_workers,
            max_num_splits=max_num_splits,
            tags=tags,
            run_id_file=run_id_file,
            runner_attribute_file=runner_attribute_file,
            isolation="spawn" if isolation == "spawn" else "fork",
        ),
    )


def flow_parameters(ctx: click.Context) -> dict[str, object]:
    """The values of the flow's parameters for a new run.

    Raises
    ------
    ParameterProblems
        If any is ill-typed, or is required and missing.
    """
    from ..runtime.parameters import ParameterError, parameter_values

    compilation = compiled(ctx)
    assert compilation.plan is not None and compilation.flow is not None and compilation.loaded is not None
    try:
        return dict(
            parameter_values(compilation.flow, compilation.plan.to_json(), given(ctx), compilation.loaded.folder)
        )
    except ParameterError as error:
        raise ParameterProblems("\nflowc: error: ".join(error.problems)) from None
