"""``flowc targets``: what each target can do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .options import with_parameters
from .screen import print_table

if TYPE_CHECKING:
    from ..backends.base import Capabilities

_RESOURCES = ("cpu", "gpu", "memory", "disk", "shared_memory")


@click.command("targets")
@with_parameters(
    click.Argument(["target"], required=False),
    click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
)
def command(target: str | None, as_json: bool) -> int:
    """Show what each target can do, or everything about one TARGET."""
    from ..backends.base import TARGETS, UnknownTarget, get_backend, get_capabilities

    if target is not None:
        try:
            get_backend(target)
        except UnknownTarget as error:
            raise click.UsageError(str(error)) from None
    tables = [get_capabilities(name) for name in ([target] if target else TARGETS)]
    if as_json:
        print(json.dumps([_as_json(table) for table in tables], indent=2))
    else:
        print_table(["", *(table.target for table in tables)], _rows(tables))
        if target is not None and tables[0].option_group:
            print(f"\n@{tables[0].option_group}({'=, '.join(sorted(tables[0].options))}=)")
    return 0


def _rows(tables: Sequence[Capabilities]) -> list[list[str]]:
    """One row for each thing that a target can or cannot do."""
    frameworks = sorted({name for table in tables for name in table.frameworks}, key=lambda n: (n != "parallel", n))
    features = sorted({name for table in tables for name in table.features})
    retries = ["any" if table.max_retries is None else str(table.max_retries) for table in tables]
    return [
        ["name", *(table.title for table in tables)],
        *([f"gang: {name}", *(_yes(name in table.frameworks) for table in tables)] for name in frameworks),
        ["widest gang", *("any" if table.max_gang is None else str(table.max_gang) for table in tables)],
        ["loops", *(_yes(table.loops) for table in tables)],
        ["shortest timeout", *(f"{table.min_timeout:g} s" if table.min_timeout else "any" for table in tables)],
        ["most retries", *retries],
        *([f"@resources({name}=)", *(_yes(name in table.resources) for table in tables)] for name in _RESOURCES),
        *([f"@{name}", *(_yes(name in table.features) for table in tables)] for name in features),
        ["settings", *(f"@{table.option_group}" if table.option_group else "-" for table in tables)],
        ["reserved variables", *(" ".join(f"{name}*" for name in table.reserved_env) or "-" for table in tables)],
    ]


def _yes(able: bool) -> str:
    return "yes" if able else "-"


def _as_json(table: Capabilities) -> dict[str, Any]:
    from dataclasses import asdict

    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(table).items()}
