"""What a flow asks for that Argo, JobSet or Kubernetes cannot do, at the flow's line."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from ...compiler.diagnostics import Diagnostic, Severity, listed
from ...compiler.plan import Parameter, Plan, Step
from ..base import EmitSettings
from . import options, packages
from .code import APPLIED, LARGEST, PLAN, written_size
from .parameters import ENVIRONMENT, json_size, variable_size, workflow_parameters
from .site import Site, namespaces
from .store import BadStore, read_store

_FOLDER = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9](/[A-Za-z0-9._-]+)*/?")
_SPARE = 16 * 1024
"""Bytes that Kubernetes adds to an object."""

_ROOM = ENVIRONMENT - 16 * 1024
"""Bytes for a step's own variables, beside those of flowc, and for the defaults, beside longer values."""

_LONGEST_WAIT = 365 * 24 * 3600
"""Seconds. Go's spans of time end at 292 years, the waits of later attempts included."""

_OF_A_NODE = 160
"""Bytes of what Argo notes of a node, packed, and of its result: an estimate, from the fields that it fills."""


_SMALLER = "give it fewer steps; where it has many gangs, --code installed helps"


def plan_problems(plan: Plan) -> list[Diagnostic]:
    """What does not depend on how the flow is compiled."""
    found: list[Diagnostic] = []
    for step in plan.steps:
        found += _step_problems(plan, step)
    found += _parameters(plan)
    found += _schedule(plan)
    found += _namespaces(plan, EmitSettings())
    found += _python_versions(plan)
    return found


def settings_problems(plan: Plan, settings: EmitSettings) -> list[Diagnostic]:
    """What depends on the namespace, the datastore and the code."""
    found = _namespaces(plan, settings) if settings.namespace else []
    found += _files(plan, settings)
    found += _braces(settings)
    try:
        read_store(settings.datastore)
    except BadStore as error:
        problem, _, tip = str(error).partition(": write ")
        found.append(Diagnostic("FC417", problem, None, f"write {tip}"))
    if settings.image is not None:
        wrong = options.OPTIONS["image"].wrong(settings.image)
        if wrong:
            found.append(Diagnostic("FC409", f"--image: {wrong}", None, "write it as in python:3.12"))
    if settings.namespace is not None and options.OPTIONS["namespace"].wrong(settings.namespace):
        found.append(Diagnostic("FC409", f"--namespace: {settings.namespace!r} is no namespace", None, "see its name"))
    if settings.way == "s3" and not _FOLDER.fullmatch(settings.code):
        message = f"--code: {settings.code!r} names no folder of a bucket"
        found.append(Diagnostic("FC409", message, None, "write it as in s3://bucket/folder"))
    if settings.way == "image" and settings.image is None:
        message = "--code image: steps that name no image would run in one without the flow's code"
        found.append(Diagnostic("FC409", message, None, "name yours: --image, built from what compile writes"))
    return found


def _braces(settings: EmitSettings) -> Iterator[Diagnostic]:
    """FC409 for names of files that stand in the manifests: those of ConfigMaps all, else only the flow's own."""
    names = settings.files if settings.way in ("bundled", "installed") else [settings.main]
    for name in names:
        if "{{" in name:
            message = f"the file {name!r} travels with the flow, and Argo would replace '{{{{' in its name"
            tip = "rename it" if name == settings.main else f"rename it, or leave it out with --package '!{name}'"
            yield Diagnostic("FC409", message, None, tip)


def size_problems(site: Site, workflow: dict[str, Any]) -> Iterator[Diagnostic]:
    """FC411 where the WorkflowTemplate or what holds the code is too large an object, FC418 for plain kubectl apply,
    FC419 where a Workflow may become too large."""
    yield from _code_sizes(site)
    size = json_size(workflow)
    plan = site.plan
    if size > LARGEST - _SPARE:
        message = f"{plan.name} becomes a WorkflowTemplate of {_kilobytes(size)}; Kubernetes takes {LARGEST >> 10} KiB"
        yield Diagnostic("FC411", message, plan.span, _SMALLER)
        return
    whole = size + _OF_A_NODE * len(workflow["spec"]["templates"])
    if whole > LARGEST - _SPARE:
        message = f"a Workflow of {plan.name} may come to {_kilobytes(whole)}; Argo takes {LARGEST >> 10} KiB"
        tip = f"{_SMALLER}, or have Argo keep the nodes in a database (nodeStatusOffLoad)"
        yield Diagnostic("FC419", message, plan.span, tip, Severity.WARNING)
    if size > APPLIED - _SPARE:
        yield _apply_server_side(plan, f"{plan.name} becomes a WorkflowTemplate of {_kilobytes(size)}")


def _kilobytes(size: int) -> str:
    return f"{size / 1024:.0f} KiB"


def _apply_server_side(plan: Plan, what: str) -> Diagnostic:
    message = f"{what}, more than the {APPLIED >> 10} KiB that plain kubectl apply can handle"
    help = "apply it with kubectl apply --server-side -k"
    return Diagnostic("FC418", message, plan.span, help, Severity.WARNING)


# Steps ---------------------------------------------------------------------------------------------------------------


def _step_problems(plan: Plan, step: Step) -> Iterator[Diagnostic]:
    for item in options.problems(step):
        severity = Severity.WARNING if item.code == "FC407" else Severity.ERROR
        where = "" if item.code == "FC407" else f"step {step.name!r}: "
        suffix = f" (step {step.name})" if item.code == "FC407" else ""
        yield Diagnostic(item.code, f"{where}{item.message}{suffix}", step.span, item.help, severity)
    for message in packages.problems(plan, step):
        tip = 'write packages={"numpy": "2.0"}, or ">=2,<3" as the version'
        yield Diagnostic("FC409", f"step {step.name!r}: @pypi: {message}", step.span, tip)
    if step.retry is not None and step.retry.wait > _LONGEST_WAIT:
        message = f"step {step.name!r}: @retry: Argo cannot wait {step.retry.wait / 60:g} minutes"
        tip = f"write at most minutes_between_retries={_LONGEST_WAIT // 60}"
        yield Diagnostic("FC409", message, step.span, tip)
    # As bytes: the kernel counts those.
    size = sum(len(f"{name}={text}".encode("utf-8", "surrogatepass")) + 1 for name, text in step.env.items())
    if size > _ROOM:
        message = f"step {step.name!r} has {_kilobytes(size)} of variables, and a container takes {_ROOM >> 10} KiB"
        yield Diagnostic("FC411", message, step.span, "put its value into a file, or into an artifact")


# The flow ------------------------------------------------------------------------------------------------------------


def _parameters(plan: Plan) -> Iterator[Diagnostic]:
    for parameter in plan.parameters:
        if parameter.type == "file":
            yield from _file(parameter)
        if parameter.name == "json":
            message = "a parameter called 'json' hides the parameters of the Workflow from its tasks"
            yield Diagnostic("FC414", message, parameter.span, "take another name")
    size = variable_size(workflow_parameters(plan))
    if size > _ROOM:
        message = (
            f"the defaults of the parameters, with their help, come to {_kilobytes(size)} as Argo hands them on, and "
            f"they may have {_ROOM >> 10} KiB"
        )
        yield Diagnostic("FC411", message, plan.span, "put large ones into files: IncludeFile")


def _file(parameter: Parameter) -> Iterator[Diagnostic]:
    """FC420 for a file that no pod has unless the image or a claim brings it."""
    default = parameter.default
    if isinstance(default, str) and default.startswith(("/", "~")):
        message = f"the default of parameter {parameter.name!r} is {default}, of which pods have what their image has"
        tip = "let it lie beside the flow and travel with it, or mount it there"
    elif parameter.required:
        message = f"parameter {parameter.name!r} has to be given, and no file is sent to Argo with a run"
        tip = "give it a default that lies beside the flow, or start runs with a path that the pods find"
    else:
        return
    yield Diagnostic("FC420", message, parameter.span, tip, Severity.WARNING)


def _files(plan: Plan, settings: EmitSettings) -> Iterator[Diagnostic]:
    """FC420 for a default that does not travel: the pods see the flow's files, and no others, at its side."""
    for parameter in plan.parameters:
        default = parameter.default
        if parameter.type != "file" or parameter.required or not isinstance(default, str):
            continue
        if default.startswith(("/", "~")):
            continue  # which has been told
        name = posixpath.normpath(posixpath.join(posixpath.dirname(settings.main), default))
        if name not in settings.files:
            message = f"the default of parameter {parameter.name!r}, {default}, does not travel with the flow"
            tip = f"let it lie below the flow's folder, and name it with --package {name}"
            yield Diagnostic("FC420", message, parameter.span, tip)


def _python_versions(plan: Plan) -> Iterator[Diagnostic]:
    for feature in [*plan.features, *(feature for step in plan.steps for feature in step.features)]:
        if feature.name in ("pypi", "pypi_base") and feature.options.get("python"):
            message = f"@{feature.name}(python=...) has no effect on Argo Workflows, where the image has its Python"
            yield Diagnostic("FC407", message, feature.span, severity=Severity.WARNING)
            return


def _schedule(plan: Plan) -> Iterator[Diagnostic]:
    if plan.schedule is None:
        return
    required = [item for item in plan.parameters if item.required]
    if required:
        names = listed([repr(item.name) for item in required])
        message = f"the flow is started by the clock, and nobody is there to give {names}"
        yield Diagnostic("FC415", message, required[0].span, "give it a default, or take @schedule away")
    cron = str(plan.schedule.options.get("cron", ""))
    if len(cron.split()) != 5:
        message = f"@schedule: Argo takes five fields (minute hour day month weekday), not {cron!r}"
        yield Diagnostic("FC409", message, plan.schedule.span, "leave the year out")


def _namespaces(plan: Plan, settings: EmitSettings) -> list[Diagnostic]:
    named = namespaces(plan, settings)
    if len(named) < 2:
        return []
    step = next(step for step in plan.steps if options.given(step).get("namespace") not in (None, named[0]))
    message = f"a Workflow runs in one namespace, and this one is to run in {listed(named)}"
    return [Diagnostic("FC416", message, step.span, "name the same one everywhere, or only in --namespace")]


def _code_sizes(site: Site) -> Iterator[Diagnostic]:
    plan = site.plan
    for item in site.code.maps:
        size = sum(written_size(data) for data in item.files.values())
        if size <= APPLIED - _SPARE:
            continue
        path = next(iter(item.files))
        name = "the Plan" if path == PLAN else path.removeprefix("flow/")
        if size > LARGEST - _SPARE:
            message = f"{name} has {_kilobytes(size)}, and a ConfigMap takes {LARGEST >> 10} KiB"
            tip = f"leave it out with --package '!{name}' and let the steps read it where it lies"
            yield Diagnostic("FC411", message, plan.span, tip)
        else:
            yield _apply_server_side(plan, f"{name} becomes a ConfigMap of {_kilobytes(size)}")
