"""Checks of a workflow's spec: its templates, what they run, and what they hand on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...compiler.diagnostics import did_you_mean, listed
from .verify_containers import check_containers, volumes_of
from .verify_dag import check_dag
from .verify_jobset import check_resource
from .verify_references import Scope, TaskFacts, check_expression, check_text, check_texts
from .verify_report import Node, Report, unique

KINDS = ("container", "script", "dag", "steps", "resource", "suspend", "http", "containerSet", "data", "plugin")
_LEAVES = ("container", "script", "resource", "suspend", "http", "data", "plugin")
_WITH_POD = ("container", "script", "resource", "containerSet", "data")
_VALUE_FROM: Mapping[str, tuple[str, ...]] = {
    "container": ("path",),
    "script": ("path",),
    "containerSet": ("path",),
    "resource": ("jsonPath", "jqFilter"),
    "dag": ("parameter", "expression"),
    "steps": ("parameter", "expression"),
    "suspend": ("supplied",),
    "http": ("expression",),
}
_POLICIES = ("Always", "OnFailure", "OnError", "OnTransientError")
_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_PARAMETER = re.compile(r"[-a-zA-Z0-9_]+")
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+")
_TAGGED = re.compile(r"\{\{.*\}\}", re.DOTALL)
_LARGEST = 63
"""Characters of a name that becomes a label or a DNS name."""


@dataclass(frozen=True)
class Template:
    """What others need to know of a template."""

    required: frozenset[str]
    inputs: frozenset[str]
    kind: str
    facts: TaskFacts


def check_spec(spec: Node, path: str, report: Report) -> None:
    """Check the spec of a workflow or a workflow template."""
    arguments = report.mapping(spec.get("arguments"), f"{path}.arguments")
    parameters = _names(arguments.get("parameters"), f"{path}.arguments.parameters", "parameter", report)
    scope = Scope(parameters=frozenset(parameters))
    found = list(report.items(spec.get("templates"), f"{path}.templates"))
    unique((str(node.get("name")) for _, node in found), f"{path}.templates", "template", report)
    templates = {str(node.get("name")): _outline(node, place, report) for place, node in found}
    _references(spec, path, templates, scope, report)
    on_exit = _reached(str(spec.get("onExit") or ""), found)
    volumes = volumes_of(spec, path, report)
    for place, node in found:
        here = scope.but(ended=str(node.get("name")) in on_exit)
        _check_template(node, place, here, templates, volumes, report)
    rest = {name: value for name, value in spec.items() if name != "templates"}
    check_texts(rest, path, scope, report)
    _durations(spec, path, report)


def _names(value: object, path: str, what: str, report: Report) -> list[str]:
    names = []
    for place, node in report.items(value, path):
        name = report.text(node.get("name"), f"{place}.name")
        if not _PARAMETER.fullmatch(name):
            report.add(f"{place}.name", f"{name!r} cannot be the name of a {what}", "use letters, digits, - and _")
        for key in ("value", "default"):
            report.text(node.get(key), f"{place}.{key}")
        if node.get("enum") is not None:
            _check_enum(node, place, report)
        names.append(name)
    unique(names, path, what, report)
    return names


def _check_enum(parameter: Node, path: str, report: Report) -> None:
    enum = report.sequence(parameter["enum"], f"{path}.enum")
    if not enum:
        report.add(f"{path}.enum", "no value can be chosen", "name some, or leave the enum out")
        return
    known = [report.text(item, f"{path}.enum[{at}]", required=True) for at, item in enumerate(enum)]
    for key in ("value", "default"):
        value = parameter.get(key)
        # What a tag becomes is only known when it runs.
        if isinstance(value, str) and value not in known and "{{" not in value:
            report.add(f"{path}.{key}", f"{value!r} is not in its enum", f"take {listed(known, 'or')}")


def _references(spec: Node, path: str, templates: Mapping[str, Template], scope: Scope, report: Report) -> None:
    for field in ("entrypoint", "onExit"):
        name = spec.get(field)
        if name is None and field == "onExit":
            continue
        if str(name) not in templates:
            near = did_you_mean(str(name), templates)
            report.add(f"{path}.{field}", f"there is no template {name!r}", near or "name one of the templates")
            continue
        # Both are called with the arguments of the workflow.
        missing = sorted(templates[str(name)].required - scope.parameters)
        if missing:
            message = f"template {name!r} needs {listed(missing)}, which the workflow has no parameter for"
            report.add(f"{path}.{field}", message, "give the input a value, or the workflow such a parameter")


def _reached(first: str, found: list[tuple[str, Node]]) -> frozenset[str]:
    """The names of a template and of all that it calls."""
    nodes = {str(node.get("name")): node for _, node in found}
    seen: set[str] = set()
    todo = [first]
    while todo:
        name = todo.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        dag = nodes[name].get("dag")
        tasks = dag.get("tasks") if isinstance(dag, Mapping) else None
        todo += [str(task.get("template")) for task in tasks or () if isinstance(task, Mapping)]
    return frozenset(seen)


def _outline(node: Node, path: str, report: Report) -> Template:
    kinds = [kind for kind in KINDS if node.get(kind) is not None]
    kind = kinds[0] if kinds else ""
    if len(kinds) != 1:
        message = f"the template has {' and '.join(kinds)}" if kinds else "the template runs nothing"
        report.add(path, message, f"give it exactly one of {', '.join(KINDS[:5])}")
    inputs = report.mapping(node.get("inputs"), f"{path}.inputs")
    outputs = report.mapping(node.get("outputs"), f"{path}.outputs")
    given = [item for _, item in report.items(inputs.get("parameters"), f"{path}.inputs.parameters")]
    needed = [p for p in given if "value" not in p and "default" not in p and "valueFrom" not in p]
    return Template(
        frozenset(str(parameter.get("name")) for parameter in needed),
        frozenset(str(parameter.get("name")) for parameter in given),
        kind,
        TaskFacts(
            frozenset(str(p.get("name")) for _, p in report.items(outputs.get("parameters"), f"{path}.outputs")),
            frozenset(str(a.get("name")) for _, a in report.items(outputs.get("artifacts"), f"{path}.outputs")),
            kind in ("container", "script", "containerSet", "http"),
        ),
    )


def _check_template(
    node: Node,
    path: str,
    scope: Scope,
    templates: Mapping[str, Template],
    volumes: frozenset[str],
    report: Report,
) -> None:
    name = report.text(node.get("name"), f"{path}.name")
    if not _NAME.fullmatch(name) or len(name) > _LARGEST:
        message = f"{name!r} cannot be the name of a template"
        report.add(f"{path}.name", message, f"use at most {_LARGEST} letters, digits and -")
    template = templates[str(node.get("name"))]
    inputs = report.mapping(node.get("inputs"), f"{path}.inputs")
    outputs = report.mapping(node.get("outputs"), f"{path}.outputs")
    _names(inputs.get("parameters"), f"{path}.inputs.parameters", "parameter", report)
    _names(outputs.get("parameters"), f"{path}.outputs.parameters", "parameter", report)
    scope = scope.but(
        inputs=template.inputs,
        input_artifacts=_artifacts(inputs, f"{path}.inputs", report),
        outputs=template.facts.parameters,
        output_artifacts=_artifacts(outputs, f"{path}.outputs", report),
        retried=node.get("retryStrategy") is not None,
        pod=template.kind in _WITH_POD,
    )
    for leaf in _LEAVES:
        if node.get(leaf) is not None and node.get("parallelism") is not None:
            report.add(f"{path}.parallelism", f"a {leaf} runs nothing in parallel", "leave it out, or set it on a dag")
    retries = report.mapping(node.get("retryStrategy"), f"{path}.retryStrategy")
    _check_retries(retries, f"{path}.retryStrategy", scope, report)
    _durations(node, path, report)
    mounted = volumes | volumes_of(node, path, report)
    if template.kind == "dag":
        dag = report.mapping(node.get("dag"), f"{path}.dag")
        scope = check_dag(dag, f"{path}.dag", scope, templates, report)
    elif template.kind == "resource":
        check_resource(report.mapping(node.get("resource"), f"{path}.resource"), f"{path}.resource", report)
    elif template.kind == "steps":
        report.add(f"{path}.steps", "steps are not verified", "write a dag")
    check_containers(node, path, mounted, report)
    _check_outputs(outputs, f"{path}.outputs", template.kind, scope, report)
    rest = {key: value for key, value in node.items() if key not in ("dag", "steps", "outputs")}
    if "expression" in retries:
        rest["retryStrategy"] = {key: value for key, value in retries.items() if key != "expression"}
    check_texts(rest, path, scope, report)


def _artifacts(holder: Node, path: str, report: Report) -> frozenset[str]:
    return frozenset(str(item.get("name")) for _, item in report.items(holder.get("artifacts"), f"{path}.artifacts"))


def _check_outputs(outputs: Node, path: str, kind: str, scope: Scope, report: Report) -> None:
    allowed = _VALUE_FROM.get(kind, ())
    for place, parameter in report.items(outputs.get("parameters"), f"{path}.parameters"):
        source = report.mapping(parameter.get("valueFrom"), f"{place}.valueFrom")
        ways = [way for way in source if way != "default"]
        wrong = [way for way in ways if way not in allowed]
        if wrong or (not ways and parameter.get("value") is None):
            message = f"a {kind} has no valueFrom.{wrong[0]}" if wrong else "the output has no source"
            report.add(f"{place}.valueFrom", message, f"take valueFrom.{' or '.join(allowed) or 'nothing'}")
        for way in ways:
            text = report.text(source[way], f"{place}.valueFrom.{way}") if way != "supplied" else ""
            if way == "expression":
                check_expression(text, f"{place}.valueFrom.{way}", scope, report)
                continue
            check_text(text, f"{place}.valueFrom.{way}", scope, report)
            if way == "parameter" and not _TAGGED.fullmatch(text):
                report.add(f"{place}.valueFrom.{way}", f"{text!r} is no tag", "write {{tasks.NAME.outputs...}}")
        check_texts(source.get("default"), f"{place}.valueFrom.default", scope, report)


def _check_retries(retries: Node, path: str, scope: Scope, report: Report) -> None:
    limit = retries.get("limit")
    if limit is not None and not (isinstance(limit, str) and (limit.isdigit() or _TAGGED.fullmatch(limit))):
        report.add(f"{path}.limit", f"{limit!r} is no number of retries", "write a whole number as text, as in '3'")
    policy = report.text(retries.get("retryPolicy"), f"{path}.retryPolicy")
    if policy and policy not in _POLICIES and not _TAGGED.fullmatch(policy):
        near = did_you_mean(policy, _POLICIES) or f"take {listed(_POLICIES, 'or')}"
        report.add(f"{path}.retryPolicy", f"{policy!r} is no retry policy", near)
    backoff = report.mapping(retries.get("backoff"), f"{path}.backoff")
    factor = backoff.get("factor")
    if factor is not None and not (isinstance(factor, str) and re.fullmatch(r"[0-9]+|\{\{.*\}\}", factor)):
        report.add(f"{path}.backoff.factor", f"{factor!r} is no whole number", "write it as text, as in '2'")
    for name in ("duration", "maxDuration"):
        _duration(backoff.get(name), f"{path}.backoff.{name}", report, bare_seconds=True)
    if retries.get("expression") is not None:
        text = report.text(retries["expression"], f"{path}.expression")
        check_expression(text, f"{path}.expression", scope, report)


def _durations(node: Node, path: str, report: Report) -> None:
    _duration(node.get("timeout"), f"{path}.timeout", report)
    deadline = node.get("activeDeadlineSeconds")
    if deadline is None:
        return
    text = "" if isinstance(deadline, bool) else str(deadline)
    if not (text.isdigit() or _TAGGED.fullmatch(text)):
        report.add(f"{path}.activeDeadlineSeconds", f"{deadline!r} is no number of seconds", "write a whole number")
    elif text == "0":
        report.add(f"{path}.activeDeadlineSeconds", "a deadline of 0 s ends it at once", "leave it out")


def _duration(value: object, path: str, report: Report, *, bare_seconds: bool = False) -> None:
    if value is None:
        return
    good = isinstance(value, str) and (_DURATION.fullmatch(value) or _TAGGED.fullmatch(value))
    if not good and not (bare_seconds and isinstance(value, str) and value.isdigit()):
        report.add(path, f"{value!r} is no span of time", "write it with a unit, as in '90s'")
