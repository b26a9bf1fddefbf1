"""``flowc deploy``: a flow, put where its runs can be started."""

from __future__ import annotations

import sys

import click

from .compile import packaging_options
from .elsewhere import Where, cluster_options, connect
from .flow_command import FlowCommand, compile_or_exit, flow_file
from .invocation import Invocation
from .options import datastore, quiet, settings, with_parameters
from .submit import files_for

TARGETS = ("argo",)
"""Targets on which a flow is put before it runs."""


@click.command("deploy", cls=FlowCommand)
@with_parameters(
    click.Argument(["file"], metavar="FILE[:FLOW]"),
    click.Option(["--target"], type=click.Choice(TARGETS), required=True, help="Where it is to run."),
    click.Option(["--dry-run"], is_flag=True, help="Only let the cluster say what would change, and whether it may."),
    click.Option(["--force"], is_flag=True, help="Take over fields that somebody else has changed in the cluster."),
    click.Option(["--image"], metavar="IMAGE", help="The container image of steps that name none."),
    *cluster_options(),
    *packaging_options(),
    datastore(),
    *settings(),
    quiet(),
)
@click.pass_obj
def command(
    invocation: Invocation,
    target: str,
    dry_run: bool,
    force: bool,
    image: str | None,
    context: str | None,
    namespace: str | None,
    code: str,
    package: tuple[str, ...],
    file: str | None = None,
) -> int:
    """Put a flow on another scheduler, or bring it up to date there. Deploying twice changes nothing.

    What it takes is what compile writes, with the same options. Runs under way go on with the code that they began
    with.
    """
    from ..backends.clients import Deployer
    from .code_upload import upload_code

    compilation = compile_or_exit(invocation, flow_file(file), stand_in=True, package=package)
    files = files_for(
        invocation, compilation, target, code=code, datastore=invocation.datastore, image=image, namespace=namespace
    )
    client = connect(invocation, Where(target, context, namespace))
    assert isinstance(client, Deployer)
    if not dry_run:
        url = upload_code(files)
        if url is not None and not invocation.quiet:
            print(f"code        {url}", file=sys.stderr)
    client.deploy(
        files,
        dry_run=dry_run,
        force=force,
        tell=lambda line: None if invocation.quiet else print(line, file=sys.stderr),
    )
    return 0
