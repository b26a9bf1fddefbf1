"""``flowc resume``: a new run that takes over what another one has finished."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from ..dsl.errors import FlowcError
from .elsewhere import Where, connect
from .flow_command import compile_as_told, compile_or_exit
from .invocation import Invocation
from .launch import check_local, launch, run_options
from .options import datastore, ignored, quiet, settings, with_parameters
from .submit import submit, submit_options

if TYPE_CHECKING:
    from ..compiler import Compilation
    from ..runtime.datastore import Datastore
    from ..runtime.runs import RunInfo, RunStatus


@click.command("resume")
@with_parameters(
    click.Argument(["what"], metavar="[RUN]", required=False),
    click.Option(["--from", "step"], metavar="STEP", help="Run this step and everything after it again in any case."),
    click.Option(["--origin-run-id"], metavar="RUN", hidden=True),
    click.Option(["--file", "file"], metavar="FILE[:FLOW]", help="The flow's file, if it is not where it was."),
    click.Option(["--target"], type=click.Choice(["local", "slurm"]), help="Where it goes on; else where it ran."),
    *submit_options(),
    *run_options(),
    datastore(),
    *settings(),
    quiet(),
    ignored("--clone-only", flag=True),
)
@click.pass_obj
def command(
    invocation: Invocation,
    what: str | None,
    step: str | None,
    origin_run_id: str | None,
    file: str | None,
    target: str | None,
    wait: bool,
    code: str,
    package: tuple[str, ...],
    max_workers: int,
    max_num_splits: int,
    run_id_file: str | None,
    runner_attribute_file: str | None,
    tags: tuple[str, ...],
    isolation: str,
) -> int:
    """Continue a run that failed, was interrupted or got lost, as a new run with the same parameters.

    RUN is 12, Flow/12, Flow or latest, which is also meant where it is left out. What is done is taken over; the rest
    runs with the flow as it is now.
    """
    from ..backends.local import LocalSettings
    from ..runtime.runs import DONE, LOCAL, RUNNING
    from .selection import open_store

    store = open_store(invocation)
    if what is not None and invocation.flow is not None and not _names_a_run(invocation, store, what):
        # As Metaflow's users know it: python flow.py resume STEP.
        what, step = None, step or what
    if what is not None and origin_run_id is not None:
        raise click.UsageError("name the run once: as RUN or with --origin-run-id")
    if invocation.flow is None and what is None and file is not None:
        what = _flow_name(invocation, file)
    origin = _find_origin(invocation, store, what or origin_run_id)
    status = _status(invocation, origin)
    if status.state == RUNNING:
        raise click.UsageError(f"run {origin.prefix} is still running; it can be resumed once it has ended")
    if status.state == DONE and step is None:
        raise click.UsageError(f"run {origin.prefix} succeeded; to run a part of it again, give --from STEP")
    spec = file or invocation.file or _source(origin)
    if origin.configs:
        _take_configs(invocation, spec, origin)
    compilation = compile_or_exit(invocation, spec, stand_in=False, package=package)
    _check_flow(compilation, origin, step)
    where = Where(target or origin.target)
    if where.target != LOCAL:
        return submit(
            invocation,
            compilation,
            where,
            _parameters(compilation, origin),
            code=code,
            tags=tags or origin.tags,
            wait=wait,
            run_id_file=run_id_file,
            max_num_splits=max_num_splits,
            origin=origin.prefix,
            first=step,
        )
    check_local(compilation, quiet=invocation.quiet)
    return launch(
        invocation,
        compilation,
        _parameters(compilation, origin),
        LocalSettings(
            datastore=invocation.datastore_url,
            max_workers=max_workers,
            max_num_splits=max_num_splits,
            tags=tags or origin.tags,
            run_id_file=run_id_file,
            runner_attribute_file=runner_attribute_file,
            isolation="spawn" if isolation == "spawn" else "fork",
            origin_run_id=origin.run_id,
            resume_from=step,
        ),
    )


def _status(invocation: Invocation, origin: RunInfo) -> RunStatus:
    from ..backends.clients import Run

    client = connect(invocation, Where(origin.target), found=True)
    return client.look(Run.known(origin)).status


def _find_origin(invocation: Invocation, store: Datastore, text: str | None) -> RunInfo:
    """The run to resume; a step after it is a mistake that is easily made."""
    from .selection import find, find_with_address

    if text is not None and "/" in text:
        try:
            info, rest = find_with_address(invocation, store, text)
        except FlowcError:
            rest = ""
        step = rest.partition("/")[0].partition("@")[0]
        if step and step in info.outline:
            run = text[: -len(rest)].strip("/") if text.endswith(rest) else info.prefix
            command = f"{invocation.command('resume', run)} --from {step}"
            raise click.UsageError(f"resume takes a run, not a step of it; to run again from {step} on: {command}")
    return find(invocation, store, text)


def _names_a_run(invocation: Invocation, store: Datastore, text: str) -> bool:
    if text.isdigit() or "/" in text or text in ("latest", invocation.flow):
        return True
    return store.exists(f"{invocation.flow}/{text}/run.json")


def _flow_name(invocation: Invocation, file: str) -> str:
    plan = compile_or_exit(invocation, file, stand_in=True).plan
    assert plan is not None
    return plan.name


def _source(origin: RunInfo) -> str:
    """The flow's file as it lay when the run was started."""
    path = os.path.join(origin.source.get("folder", ""), origin.source.get("file", ""))
    if not os.path.isfile(path):
        raise click.UsageError(
            f"the file of run {origin.prefix} is not there any more ({path or 'no path is known'}); name it with --file"
        )
    return f"{path}:{origin.flow}"


def _take_configs(invocation: Invocation, spec: str, origin: RunInfo) -> None:
    """Let the configs that are not given anew keep the values of the run that is resumed."""
    from ..dsl.flow import inputs_of
    from ..dsl.parameters import Config

    flow = compile_as_told(invocation, spec, stand_in=False).flow
    for config in inputs_of(flow).values() if flow is not None else ():
        if not isinstance(config, Config) or config.name not in origin.configs:
            continue
        # A value that the flow's own parser has made of a text cannot be handed to that parser again.
        value = None if config.parser is not None else origin.configs[config.name]
        if value is not None and config.name not in invocation.config_files:
            invocation.config_values.setdefault(config.name, json.dumps(value))


def _check_flow(compilation: Compilation, origin: RunInfo, step: str | None) -> None:
    plan = compilation.plan
    assert plan is not None
    if plan.name != origin.flow:
        raise click.UsageError(f"the file holds flow {plan.name}; run {origin.prefix} is of flow {origin.flow}")
    names = [item.name for item in plan.steps]
    if step is not None and step not in names:
        from ..compiler.diagnostics import nearest

        near = nearest(step, names)
        hint = f"did you mean {near}?" if near else f"it has {', '.join(names)}"
        raise click.UsageError(f"flow {plan.name} has no step {step}; {hint}")


def _parameters(compilation: Compilation, origin: RunInfo) -> dict[str, Any]:
    """The values of the run that is resumed; what the flow has gained since takes its default."""
    from ..runtime.parameters import ParameterError, parameter_values
    from .run import ParameterProblems

    assert compilation.plan is not None and compilation.flow is not None and compilation.loaded is not None
    plan = compilation.plan.to_json()
    names = [parameter["name"] for parameter in plan.get("parameters", ())]
    gained = [item for item in plan.get("parameters", ()) if item["name"] not in origin.parameters]
    try:
        values = parameter_values(compilation.flow, {**plan, "parameters": gained}, {}, compilation.loaded.folder)
    except ParameterError as error:
        problems = "; ".join(error.problems)
        raise ParameterProblems(f"since run {origin.prefix} the flow has changed: {problems}") from None
    return {name: origin.parameters[name] if name in origin.parameters else values[name] for name in names}
