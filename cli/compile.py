"""``flowc compile``: the files that run a flow on another scheduler."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from .flow_command import FlowCommand, FlowHasErrors, compile_or_exit, flow_file, show_diagnostics
from .invocation import Invocation
from .options import datastore, settings, with_parameters

if TYPE_CHECKING:
    from ..backends.manifests import Produced
    from ..compiler import Compilation

TARGETS = ("argo", "batch", "slurm", "local", "all")


CODE_WAYS = ("bundled", "installed", "image")


def _check_code(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value not in CODE_WAYS and not value.startswith("s3://"):
        raise click.BadParameter(f"{value!r} is none of {', '.join(CODE_WAYS)}, s3://bucket/folder", ctx, param)
    return value


def packaging_options() -> list[click.Parameter]:
    """Options that say which code goes to a target."""
    return [
        click.Option(
            ["--code"],
            metavar="[bundled|installed|image|s3://...]",
            default="bundled",
            show_default=True,
            callback=_check_code,
            help="Send flowc's runtime along, or use the one that is installed where the tasks run. On Argo also: all "
            "code is part of the image, or lies below a URL.",
        ),
        click.Option(
            ["--package"],
            metavar="GLOB",
            multiple=True,
            help="Further files below the flow's folder that it needs; !GLOB leaves some out. Repeatable.",
        ),
    ]


@click.command("compile", cls=FlowCommand)
@with_parameters(
    click.Argument(["file"], metavar="FILE[:FLOW]"),
    click.Option(
        ["--target", "targets"], type=click.Choice(TARGETS), multiple=True, required=True, help="For what. Repeatable."
    ),
    click.Option(
        ["--output", "-o"],
        metavar="DIR",
        default="manifests",
        show_default=True,
        help="Folder of the files; each target gets one of its own in it.",
    ),
    click.Option(["--check"], is_flag=True, help="Write nothing; print how the files on disk differ, and exit 1."),
    *packaging_options(),
    click.Option(["--image"], metavar="IMAGE", help="The container image of steps that name none."),
    click.Option(["--namespace"], metavar="NAME", help="The namespace of a Kubernetes cluster."),
    datastore(),
    *settings(),
)
@click.pass_obj
def command(
    invocation: Invocation,
    targets: tuple[str, ...],
    output: str,
    check: bool,
    image: str | None,
    namespace: str | None,
    code: str,
    package: tuple[str, ...],
    file: str | None = None,
) -> int:
    """Write the files that run a flow on another scheduler.

    They follow from the flow and these options alone. Files that flowc wrote before and that are no longer needed are
    removed; no other file is touched.
    """
    from ..backends.base import CannotEmit
    from ..backends.manifests import produce

    compilation = compile_or_exit(invocation, flow_file(file), stand_in=True, package=package)
    produced = []
    for target in _targets(targets):
        try:
            produced.append(
                produce(
                    compilation, target, code=code, datastore=invocation.datastore, image=image, namespace=namespace
                )
            )
        except CannotEmit as error:
            if target in targets:
                raise click.UsageError(str(error)) from None
            print(f"flowc: note: {error}", file=sys.stderr)
    _report(compilation, produced)
    if check:
        return _compare(output, produced)
    for item in produced:
        _write(output, item)
    return 0


def _targets(given: tuple[str, ...]) -> list[str]:
    from ..backends.base import TARGETS

    every = [name for name in TARGETS if name != "local"] if "all" in given else []
    return list(dict.fromkeys([*(name for name in given if name != "all"), *every]))


def _report(compilation: Compilation, produced: list[Produced]) -> None:
    """Print what compiler and targets have to say.

    Raises
    ------
    FlowHasErrors
        If the flow does not fit one of the targets.
    """
    from ..compiler.diagnostics import ordered

    found = [*compilation.diagnostics, *(item for each in produced for item in each.diagnostics)]
    compilation = replace(compilation, diagnostics=ordered(found))
    if any(item.files is None for item in produced):
        raise FlowHasErrors(compilation)
    show_diagnostics(compilation)


def _compare(output: str, produced: list[Produced]) -> int:
    from ..backends.manifests import differences

    different = 0
    for item in produced:
        assert item.files is not None
        for line in differences(os.path.join(output, item.target), item.files):
            print(line)
            different = 1
    if different:
        print(f"flowc: {output} is not what the flow compiles to; compile it without --check", file=sys.stderr)
    return different


def _write(output: str, item: Produced) -> None:
    from ..backends.manifests import write

    assert item.files is not None
    folder = os.path.join(output, item.target)
    kept = write(folder, item.files)
    for name in kept:
        path = os.path.join(folder, name)
        print(f"flowc: note: {path} is no longer needed; it was changed by hand, so it is left there", file=sys.stderr)
    print(f"{folder}: {len(item.files)} files", file=sys.stderr)
