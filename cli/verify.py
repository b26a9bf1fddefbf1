"""``flowc verify``: whether written files still describe their flow."""

from __future__ import annotations

import os
import shlex
import sys

import click

from .options import with_parameters


@click.command("verify")
@with_parameters(click.Argument(["folder"], metavar="DIR"))
def command(folder: str) -> int:
    """Check written files against the flow that they describe.

    DIR is a target's folder, or the one that compile was given with -o. The files are taken apart as the target takes
    them apart, and compared with the Plan that lies among them. The exit code is 1 where something does not fit.
    """
    from ..backends.manifests import SUMS, verify

    if not os.path.isdir(folder):
        raise click.UsageError(f"there is no folder {folder}; compile makes one: {_maker(folder)}")
    inner = sorted(name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name, SUMS)))
    folders = [folder] if os.path.isfile(os.path.join(folder, SUMS)) else [os.path.join(folder, n) for n in inner]
    failed = 0
    for each in folders or [folder]:
        problems = verify(each)
        for problem in problems:
            print(f"{each}: {problem}")
        if not problems:
            print(f"{each} is good", file=sys.stderr)
        failed |= bool(problems)
    return int(failed)


def _maker(folder: str) -> str:
    """The command that writes such a folder."""
    from ..backends.base import TARGETS

    parent, name = os.path.split(os.path.normpath(folder))
    if name in TARGETS and name != "local":
        return f"flowc compile FILE --target {name} -o {shlex.quote(parent or '.')}"
    return f"flowc compile FILE --target all -o {shlex.quote(folder)}"
