"""``flowc submit``: a flow, on another scheduler."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from .compile import packaging_options
from .elsewhere import Where, cluster_options, connect, follow
from .flow_command import (
    FlowHasErrors,
    RunningCommand,
    compile_or_exit,
    compiled,
    flow_file,
    given,
    show_diagnostics,
)
from .invocation import Invocation
from .options import datastore, quiet, settings, with_parameters
from .run import flow_parameters

if TYPE_CHECKING:
    from ..compiler import Compilation

TARGETS = ("argo", "slurm")
"""Targets on which runs are started from here."""


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
    click.Option(
        ["--max-num-splits"],
        metavar="N",
        type=click.IntRange(min=1),
        default=100_000,
        show_default=True,
        help="The widest foreach that is let through, on Slurm.",
    ),
    *submit_options(),
    *cluster_options(),
    datastore(),
    *settings(),
    quiet(),
)
@click.pass_context
def command(
    ctx: click.Context,
    target: str,
    wait: bool,
    code: str,
    package: tuple[str, ...],
    run_id_file: str | None,
    tags: tuple[str, ...],
    max_num_splits: int,
    context: str | None = None,
    namespace: str | None = None,
    file: str | None = None,
) -> int:
    """Start a run of a flow on another scheduler.

    It prints the run's id. The exit code is 0 where the run is under way, 2 for wrong input; with --wait it is the
    run's: 0 where it succeeds, 1 where it fails, 130 where it is cancelled, or where the waiting is interrupted.
    On Argo the flow has to be deployed before: flowc deploy FILE --target argo.
    """
    invocation = ctx.obj
    assert isinstance(invocation, Invocation)
    compilation = compiled(ctx)
    if package:
        compilation = compile_or_exit(invocation, flow_file(file), stand_in=False, package=package)
    return submit(
        invocation,
        compilation,
        Where(target, context, namespace),
        flow_parameters(ctx),
        given=given(ctx),
        code=code,
        tags=tags,
        wait=wait,
        run_id_file=run_id_file,
        max_num_splits=max_num_splits,
    )


def submit(
    invocation: Invocation,
    compilation: Compilation,
    where: Where,
    parameters: Mapping[str, Any],
    *,
    given: Mapping[str, str] | None = None,
    code: str = "bundled",
    tags: tuple[str, ...] = (),
    wait: bool = False,
    run_id_file: str | None = None,
    origin: str | None = None,
    first: str | None = None,
    max_num_splits: int = 100_000,
) -> int:
    """Start a run of a compiled flow; the arguments as in `flowc.backends.clients.Order`.

    Returns
    -------
    int
        0 where it is under way; with ``wait`` as it ends: 0 done, 1 failed, 130 interrupted.
    """
    from ..backends.clients import Order

    assert compilation.loaded is not None and where.target is not None
    client = connect(invocation, where)
    # What is deployed runs, in the image that deploy was given; its code alone is compared with these files.
    image = "as-deployed" if code == "image" and where.target == "argo" else None
    files = files_for(
        invocation,
        compilation,
        where.target,
        code=code,
        datastore=_store(invocation, wait=wait) if where.target == "argo" else None,
        image=image,
        namespace=where.namespace,
    )
    source = os.path.abspath(compilation.loaded.file)
    order = Order(files, given or {}, parameters, source, tags, origin, first, max_num_splits)
    run = client.submit(order, lambda line: print(f"flowc: note: {line}", file=sys.stderr))
    if run_id_file is not None:
        with open(run_id_file, "w", encoding="utf-8") as out:
            out.write(run.run_id)
    if not invocation.quiet:
        print(f"run {run.prefix} is submitted", file=sys.stderr)
    print(run.run_id, flush=True)
    return follow(invocation, client, run, where) if wait else 0


def _store(invocation: Invocation, *, wait: bool) -> str | None:
    """The datastore in which a run on Argo is to keep its data, if that is said. It is then compared with that of the
    deployed flow.

    With ``--wait`` a folder is where the records are read from here, as a claim that is mounted.
    """
    url = invocation.datastore
    if url is None or not wait or ("://" in url and not url.startswith("file://")):
        return url
    print(
        f"flowc: note: the run keeps its data where it was deployed to; {url} is only read from here", file=sys.stderr
    )
    return None


def files_for(
    invocation: Invocation,
    compilation: Compilation,
    target: str,
    *,
    code: str,
    datastore: str | None = None,
    image: str | None = None,
    namespace: str | None = None,
) -> dict[str, bytes]:
    """The files of a flow for a target; what there is to say about it is printed.

    Raises
    ------
    FlowHasErrors
        If the flow does not fit the target.
    """
    from dataclasses import replace

    from ..backends.manifests import produce
    from ..compiler.diagnostics import ordered

    produced = produce(compilation, target, code=code, datastore=datastore, image=image, namespace=namespace)
    compilation = replace(compilation, diagnostics=ordered([*compilation.diagnostics, *produced.diagnostics]))
    if produced.files is None:
        raise FlowHasErrors(compilation)
    if not invocation.quiet:
        show_diagnostics(compilation)
    return dict(produced.files)
