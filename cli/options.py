"""Options that several commands share, and those of Metaflow's command line that its users have in their fingers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from .invocation import Invocation

F = TypeVar("F", bound=Callable[..., Any])

_STORE_KINDS = ("s3", "gs", "azure")


def _invocation(ctx: click.Context) -> Invocation:
    assert isinstance(ctx.obj, Invocation)
    return ctx.obj


def _set_datastore(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    if value in _STORE_KINDS and not os.path.exists(value):
        raise click.BadParameter(f"write its URL, as in {value}://bucket/folder", ctx, param_hint="--datastore")
    if value == "local":
        return  # Metaflow's name for what is the default here
    if not value:
        raise click.BadParameter("is empty; give a folder", ctx, param_hint="--datastore")
    _invocation(ctx).datastore = value


def _add_with(ctx: click.Context, _: click.Parameter, values: Sequence[str]) -> None:
    _invocation(ctx).with_specs.extend(values)


def _add_config_files(ctx: click.Context, _: click.Parameter, values: Sequence[tuple[str, str]]) -> None:
    _invocation(ctx).config_files.update(values)


def _add_config_values(ctx: click.Context, _: click.Parameter, values: Sequence[tuple[str, str]]) -> None:
    _invocation(ctx).config_values.update(values)


def _set_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        _invocation(ctx).quiet = True


def _note_ignored(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None:
        _invocation(ctx).ignored.append(param.secondary_opts[0] if value is False else param.opts[0])


def datastore() -> click.Option:
    """``--datastore URL``."""
    return click.Option(
        ["--datastore"],
        metavar="URL",
        expose_value=False,
        callback=_set_datastore,
        help="Folder of the runs; else FLOWC_DATASTORE, else .flowc here.",
    )


def settings() -> list[click.Parameter]:
    """Options that change what a flow's file compiles to."""
    return [
        click.Option(
            ["--with", "with_specs"],
            metavar="SPEC",
            multiple=True,
            expose_value=False,
            callback=_add_with,
            help="A decorator for every step that lacks it: --with retry:times=2. Repeatable.",
        ),
        click.Option(
            ["--config", "config_files"],
            metavar="NAME FILE",
            nargs=2,
            multiple=True,
            expose_value=False,
            callback=_add_config_files,
            help="Take a Config's value from a file. Repeatable.",
        ),
        click.Option(
            ["--config-value", "config_values"],
            metavar="NAME JSON",
            nargs=2,
            multiple=True,
            expose_value=False,
            callback=_add_config_values,
            help="Take a Config's value from the command line. Repeatable.",
        ),
    ]


def quiet() -> click.Option:
    """``--quiet``."""
    return click.Option(
        ["--quiet", "-q"],
        is_flag=True,
        expose_value=False,
        callback=_set_quiet,
        help="Print only what the tasks print, and failures.",
    )


def ignored(name: str, *, flag: bool = False) -> click.Option:
    """An option that is accepted, does nothing, and says so."""
    return click.Option([name], hidden=True, expose_value=False, is_flag=flag, default=None, callback=_note_ignored)


def before_command(invocation: Invocation) -> list[click.Parameter]:
    """Options that may stand before the command; on a flow's file also Metaflow's."""
    common: list[click.Parameter] = [datastore(), *settings(), quiet()]
    if invocation.flow is None:
        return common
    return [
        *common,
        click.Option(["--datastore-root"], hidden=True, expose_value=False, callback=_set_datastore),
        ignored("--metadata"),
        ignored("--environment"),
        ignored("--namespace"),
        ignored("--event-logger"),
        ignored("--monitor"),
        ignored("--pylint/--no-pylint", flag=True),
        ignored("--force-rebuild-environments", flag=True),
    ]


def with_parameters(*parameters: click.Parameter) -> Callable[[F], F]:
    """Give a command function these parameters, in this order (as a decorator below ``click.command``)."""

    def attach(function: F) -> F:
        known: list[click.Parameter] = function.__dict__.setdefault("__click_params__", [])
        known.extend(reversed(parameters))
        return function

    return attach
