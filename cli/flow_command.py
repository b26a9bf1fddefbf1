"""Commands that take a flow's file, and the options that the flow's own parameters become."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .invocation import Invocation
from .screen import colours

if TYPE_CHECKING:
    from ..compiler import Compilation
    from ..compiler.plan import Parameter

_COMPILED = "flowc.compilation"
_GIVEN = "flowc.given"
_FILE = "flowc.file"
_OPTIONS = "flowc.options"

_METAVARS = {"str": "TEXT", "int": "INTEGER", "float": "NUMBER", "bool": "BOOLEAN", "json": "JSON", "file": "FILE"}


_WRONG_USAGE = frozenset(["FC001", "FC006", "FC007", "FC010", "FC011", "FC012"])
"""Errors of the command line, not of the flow: no such file, no such flow in it, a --with or --package that says
nothing."""


class FlowHasErrors(click.ClickException):
    """The flow cannot be used; its diagnostics say why."""

    exit_code = 1

    def __init__(self, compilation: Compilation) -> None:
        super().__init__("the flow has errors")
        self.compilation = compilation
        if all(item.code in _WRONG_USAGE for item in compilation.diagnostics if item.is_error):
            vars(self)["exit_code"] = 2  # click declares it on the class

    def show(self, file: Any = None) -> None:
        show_diagnostics(self.compilation)


def show_diagnostics(compilation: Compilation) -> None:
    """Print every diagnostic to stderr, in colour on a terminal."""
    if compilation.diagnostics:
        from ..compiler.diagnostics import render

        sys.stdout.flush()
        sys.stderr.write(render(compilation.diagnostics, compilation.sources, color=colours(sys.stderr)))


def compile_or_exit(
    invocation: Invocation, spec: str, *, stand_in: bool, package: Sequence[str] = ()
) -> Compilation:
    """Compile a flow with this call's settings.

    Raises
    ------
    click.UsageError
        If there is no such file.
    FlowHasErrors
        If the flow does not compile.
    """
    compilation = compile_as_told(invocation, spec, stand_in=stand_in, package=package)
    if compilation.plan is None:
        raise FlowHasErrors(compilation)
    return compilation


def compile_as_told(
    invocation: Invocation, spec: str, *, stand_in: bool, package: Sequence[str] = ()
) -> Compilation:
    """Compile a flow with this call's settings; the diagnostics may hold errors."""
    require_file(spec)
    from ..compiler import compile_flow

    return compile_flow(
        spec,
        with_specs=invocation.with_specs,
        config_files=invocation.config_files,
        config_values=invocation.config_values,
        package=package,
        stand_in=stand_in,
    )


def path_of(spec: str) -> str:
    """The path in ``FILE`` or ``FILE:Flow``."""
    path, colon, flow = spec.rpartition(":")
    return path if colon and flow.isidentifier() and not os.path.exists(spec) else spec


def require_file(spec: str) -> None:
    """Stop with a clear message where the flow's file is not there."""
    path = path_of(spec)
    if os.path.isfile(path):
        return
    if os.path.isdir(path):
        raise click.UsageError(f"{path} is a folder; give the flow's file: {os.path.join(path, 'flow.py')}")
    if os.path.islink(path):
        raise click.UsageError(f"{path} is a link to {os.readlink(path)}, which is not there; mend the link")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise click.UsageError(f"there is no file {path}: there is no folder {folder}")
    from ..compiler.diagnostics import nearest

    here = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    near = nearest(os.path.basename(path), here)
    hint = f"; did you mean {os.path.join(os.path.dirname(path), near)}?" if near else ""
    raise click.UsageError(f"there is no file {path}{hint}")


class FlowCommand(click.Command):
    """A command whose argument ``FILE`` is left out where ``python flow.py`` presets it."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        if file_of(ctx) is None:
            return params
        return [param for param in params if not (isinstance(param, click.Argument) and param.name == "file")]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        # The words without the file are parsed, but the user wrote it.
        return [*pieces, "FILE[:FLOW]"] if _FILE in ctx.meta else pieces


def file_of(ctx: click.Context) -> str | None:
    """The flow's file where it is known before the arguments are parsed."""
    found: str | None = ctx.meta.get(_FILE)
    return found or (ctx.obj.file if isinstance(ctx.obj, Invocation) else None)


def flow_file(file: str | None = None) -> str:
    """The flow's file: the argument, or the preset one."""
    found = file or file_of(click.get_current_context())
    assert found is not None
    return found


class RunningCommand(FlowCommand):
    """A command that starts a flow: each of its parameters is an option.

    The flow is compiled while the command line is parsed; `compiled` and `given` tell the result.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            args = self._load(ctx, list(args))
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        flow_options: list[click.Option] = ctx.meta.get(_OPTIONS, [])
        taken = {name for option in flow_options for name in option.opts}
        own = [param for param in super().get_params(ctx) if not taken.intersection(param.opts)]
        return [*own, *flow_options]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        flow_options: list[click.Option] = ctx.meta.get(_OPTIONS, [])
        own = [param for param in self.get_params(ctx) if param not in flow_options]
        records = [record for param in own if (record := param.get_help_record(ctx)) is not None]
        ours = [record for param in flow_options if (record := param.get_help_record(ctx)) is not None]
        if ours:
            with formatter.section(f"Parameters of {compiled(ctx).plan.name}"):  # type: ignore[union-attr]
                formatter.write_dl(ours)
        with formatter.section("Options"):
            formatter.write_dl(records)
        if not ours and ctx.meta.get(_COMPILED) is None:
            formatter.write_paragraph()
            formatter.write_text(f"A flow's parameters are options too: {ctx.command_path} FILE --help lists them.")

    def _load(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the flow's file among the words, compile it, and give back the words without it."""
        settings, words = self._scan(ctx, args)
        spec = file_of(ctx)
        if spec is None:
            spec = _pick_file(words)
            if spec is None:
                return args
            ctx.meta[_FILE] = spec
            args = _without(args, spec)
        wants_help = any(word in ctx.help_option_names for word in words)
        compilation = compile_as_told(settings, spec, stand_in=wants_help)
        if self._parameters_hide_settings(compilation):
            # What follows the command is then the parameter; before the command it is still the setting.
            compilation = compile_as_told(ctx.obj, spec, stand_in=wants_help)
        if compilation.plan is None:
            if not wants_help:
                raise FlowHasErrors(compilation)
            show_diagnostics(compilation)
            return args
        ctx.meta[_COMPILED] = compilation
        ctx.meta[_OPTIONS] = _options(compilation.plan.parameters)
        return args

    def _parameters_hide_settings(self, compilation: Compilation) -> bool:
        if compilation.flow is None:
            return False
        from ..dsl.flow import inputs_of
        from ..dsl.parameters import Parameter

        names = {item.name for item in inputs_of(compilation.flow).values() if isinstance(item, Parameter)}
        return not names.isdisjoint(("with", "config", "config-value"))

    def _scan(self, ctx: click.Context, args: list[str]) -> tuple[Invocation, list[str]]:
        """This call's settings, and the words that are no option of the command itself."""
        own = [param for param in self.params if isinstance(param, click.Option)]
        parser = click.Command(self.name, params=[*own], add_help_option=False).make_parser(ctx)
        parser.ignore_unknown_options = True
        try:
            found, words, _ = parser.parse_args(list(args))
        except click.UsageError:
            # Said again, in full, when the words are parsed for good; a flow's parameter may also take the name.
            found, words = {}, list(args)
        before = ctx.obj
        assert isinstance(before, Invocation)
        return (
            Invocation(
                program=before.program,
                with_specs=[*before.with_specs, *found.get("with_specs", ())],
                config_files={**before.config_files, **dict(found.get("config_files", ()))},
                config_values={**before.config_values, **dict(found.get("config_values", ()))},
            ),
            words,
        )


def compiled(ctx: click.Context) -> Compilation:
    """The flow of a `RunningCommand`."""
    compilation: Compilation = ctx.meta[_COMPILED]
    return compilation


def given(ctx: click.Context) -> dict[str, str]:
    """The flow parameters on the command line, as text, by name."""
    values: dict[str, str] = ctx.meta.get(_GIVEN, {})
    return values


def _pick_file(words: Sequence[str]) -> str | None:
    """The flow's file among words that may also be options of the flow and their values."""

    def value_of_an_option(place: int) -> bool:
        return place > 0 and words[place - 1].startswith("--") and "=" not in words[place - 1]

    plain = [place for place, word in enumerate(words) if not word.startswith("-")]
    looks = [place for place in plain if path_of(words[place]).endswith(".py") or os.path.isfile(path_of(words[place]))]
    for places in ([p for p in looks if not value_of_an_option(p)], looks, plain):
        if places:
            return words[places[0]]
    return None


def _without(args: Sequence[str], word: str) -> list[str]:
    rest = list(args)
    rest.remove(word)
    return rest


# The flow's parameters as options ------------------------------------------------------------------------------------


class _FlowOption(click.Option):
    """One parameter of the flow as ``--name value``; the runtime, which knows its type, reads the text."""

    def __init__(self, parameter: Parameter, place: int) -> None:
        flag: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if parameter.type == "bool" else {}
        # Python cannot write a hyphen in the name of an argument, so scripts give these with underscores.
        spellings = dict.fromkeys([f"--{parameter.name}", f"--{parameter.name.replace('-', '_')}"])
        super().__init__(
            [*spellings, f"flow_parameter_{place}"],
            type=click.STRING,
            metavar="LIST" if parameter.separator else _METAVARS[parameter.type],
            expose_value=False,
            callback=self._keep,
            help=_help(parameter),
            **flag,
        )
        self.parameter = parameter

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return f"{self.opts[0]} {self.metavar}", self.help or ""

    def _keep(self, ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.meta.setdefault(_GIVEN, {})[self.parameter.name] = value


def _help(parameter: Parameter) -> str:
    import json

    notes = []
    if parameter.separator:
        notes.append(f"parts joined by {parameter.separator!r}")
    if parameter.required and parameter.default is None and not parameter.computed:
        notes.append("required")
    elif parameter.computed:
        notes.append("default: worked out when the run starts")
    elif isinstance(parameter.default, str):
        notes.append(f"default: {parameter.default}" if parameter.default else 'default: ""')
    elif parameter.default is not None:
        notes.append(f"default: {json.dumps(parameter.default)}")
    note = f"[{'; '.join(notes)}]" if notes else ""
    return " ".join(filter(None, [parameter.help, note]))


def _options(parameters: Sequence[Parameter]) -> list[click.Option]:
    return [_FlowOption(parameter, place) for place, parameter in enumerate(parameters)]
