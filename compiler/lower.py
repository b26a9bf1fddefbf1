"""From the checked graph to the Plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import plan
from .flow_source import FlowSource
from .graph import FlowGraph, Node
from .options import Settings, plain_json
from .packaging import Package
from .plan import Json, Step
from .scan import calls_in_any_case
from .structure import Structure

TARGET_LABELS = {"kubernetes": "kubernetes", "batch": "batch", "slurm": "slurm"}
"""Decorators that hold the settings of one target."""

FRAMEWORK_NAMES = {"metaflow_ray": "ray"}
_BEHAVIOUR = ("retry", "timeout", "catch", "environment", "resources")


def lower(
    flow: FlowSource,
    graph: FlowGraph,
    structure: Structure,
    settings: Mapping[str, Sequence[Settings]],
    flow_settings: Sequence[Settings],
    parameters: tuple[plan.Parameter, ...],
    package: Package,
) -> plan.Plan:
    """The Plan of a flow in which the checks found no error."""
    assert graph.first is not None and graph.last is not None
    doc = flow.cls.__doc__ if flow.cls.__dict__.get("__doc__") else ""
    by_label = {item.label: item for item in flow_settings}
    schedule, project = by_label.get("schedule"), by_label.get("project")
    configs = {name: plain_json(value) for name, value in flow.configs.items()}
    features = [
        feature(item, skip={"name"} if item.label == "project" else frozenset())
        for item in flow_settings
        if item.label != "schedule" and (item.label != "project" or set(item.given) - {"name"})
    ]
    return plan.Plan(
        name=flow.name,
        first=graph.first,
        last=graph.last,
        steps=tuple(_step(graph.nodes[name], structure, settings[name]) for name in structure.order),
        parameters=parameters,
        configs=configs,
        schedule=_schedule(schedule) if schedule else None,
        project=project.values["name"] if project else None,
        features=tuple(features),
        digest=package.digest(configs),
        doc=_clean(doc),
        span=flow.span,
    )


def _step(node: Node, structure: Structure, settings: Sequence[Settings]) -> Step:
    assert node.leave is not None
    by_label = {item.label: item for item in settings}
    scope = structure.scope(node.name)
    frameworks = [item for item in settings if item.label in node.frameworks]
    named = [item for item in frameworks if item.label != "parallel"] or frameworks
    return Step(
        name=node.name,
        kind="gang" if frameworks else "task",
        leave=node.leave,
        inputs=structure.inputs[node.name],
        joins=structure.joins.get(node.name),
        scope=scope,
        loop=structure.loops.get(node.name),
        repeats=tuple(target for target in node.leave.targets if (node.name, target) in structure.back_edges),
        resources=_resources(by_label.get("resources")),
        env=dict(by_label["environment"].values["vars"]) if "environment" in by_label else {},
        retry=_retry(by_label.get("retry")),
        timeout=_timeout(by_label.get("timeout")),
        catch=_catch(by_label.get("catch")),
        framework=_framework(named[0], node) if named else None,
        options={TARGET_LABELS[item.label]: _given(item) for item in settings if item.label in TARGET_LABELS},
        features=tuple(
            feature(item)
            for item in settings
            if item.label not in TARGET_LABELS and item.label not in _BEHAVIOUR and item not in frameworks
        ),
        doc=_clean(node.source.function.__doc__),
        span=node.source.span,
    )


def _clean(doc: str | None) -> str:
    if not doc:
        return ""
    import inspect

    return inspect.cleandoc(doc)


def _given(item: Settings) -> dict[str, Json]:
    return {name: plain_json(value) for name, value in item.given.items() if value is not None}


def feature(item: Settings, skip: set[str] | frozenset[str] = frozenset()) -> plan.Feature:
    """A decorator as the targets that honour it see it: what was written, not the defaults."""
    options = {name: value for name, value in _given(item).items() if name not in skip}
    return plan.Feature(item.label, options, item.use.span)


def _resources(item: Settings | None) -> plan.Resources:
    if item is None:
        return plan.Resources()
    from .quantities import cores, count, mebibytes

    given = {name: value for name, value in item.given.items() if value is not None}

    def size(name: str) -> int | None:
        return mebibytes(given[name]) if name in given else None

    return plan.Resources(
        cpu=cores(given["cpu"]) if "cpu" in given else 1,
        memory=size("memory"),
        gpu=count(given["gpu"]) if "gpu" in given else 0,
        disk=size("disk"),
        shared_memory=size("shared_memory"),
    )


def _retry(item: Settings | None) -> plan.Retry | None:
    if item is None or not item.values["times"]:
        return None
    values = item.values
    return plan.Retry(values["times"], _number(values["minutes_between_retries"] * 60), _number(values["backoff"]))


def _number(value: Any) -> float:
    """Whole numbers without a point, so that 2 and 2.0 minutes give the same Plan."""
    return int(value) if value == int(value) else round(float(value), 6)


def _timeout(item: Settings | None) -> float | None:
    if item is None:
        return None
    values = item.values
    return _number(values["seconds"] + 60 * values["minutes"] + 3600 * values["hours"])


def _catch(item: Settings | None) -> plan.Catch | None:
    return plan.Catch(item.values["var"], item.values["print_exception"]) if item else None


_NEEDING = {"mpi": ("cc", "exec")}
"""Methods of ``current.mpi`` and the like for which a program has to be there that the others do without."""


def _framework(item: Settings, node: Node) -> plan.Framework:
    options: dict[str, Json] = {name: plain_json(value) for name, value in item.values.items() if value is not None}
    name = FRAMEWORK_NAMES.get(item.label, item.label)
    called = calls_in_any_case(node.source.method, name) if name in _NEEDING else frozenset()
    return plan.Framework(name, options, tuple(method for method in _NEEDING.get(name, ()) if method in called))


_PERIODS = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 0"}


def _schedule(item: Settings) -> plan.Feature:
    cron = item.values["cron"] or next(text for name, text in _PERIODS.items() if item.values[name])
    options: dict[str, Json] = {"cron": " ".join(cron.split())}
    if item.values["timezone"]:
        options["timezone"] = item.values["timezone"]
    return plan.Feature("schedule", options, item.use.span)
