"""The objects as such, the Workflow's own fields and its parameters, compared with the Plan.

What templates, schedule and rights say is read in modules of their own; here it is seen that there is nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...compiler.plan import Parameter, Plan
from . import names
from .parameters import description
from .reading_containers import Manifests
from .reading_fields import differences, elsewhere, flow_labels, pull_secrets

_RBAC = "rbac.authorization.k8s.io"
_KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ConfigMap": ("v1", elsewhere("binaryData", "data", "immutable")),
    "CronWorkflow": ("argoproj.io/v1alpha1", elsewhere("spec")),
    "Kustomization": ("kustomize.config.k8s.io/v1beta1", elsewhere("namespace", "resources")),
    "Role": (f"{_RBAC}/v1", elsewhere("rules")),
    "RoleBinding": (
        f"{_RBAC}/v1",
        {"roleRef": {"apiGroup": _RBAC, **elsewhere("kind", "name")}, **elsewhere("subjects")},
    ),
    "ServiceAccount": ("v1", {}),
    "WorkflowTemplate": ("argoproj.io/v1alpha1", elsewhere("spec")),
}
"""All objects that flowc writes: of which version, and what they hold beside their metadata."""


def object_problems(made: Manifests, documents: list[dict[str, Any]]) -> Iterator[str]:
    """Objects that flowc does not write, fields of others that it never writes, and other labels than the flow's."""
    labels = {"app.kubernetes.io/managed-by": "flowc", **flow_labels(made.plan)}
    for item in documents:
        kind = str(item.get("kind"))
        name = f"{kind} {item.get('metadata', {}).get('name', '')}".rstrip()
        if kind not in _KINDS:
            yield f"there is also {name}"
            continue
        version, fields = _KINDS[kind]
        meant: dict[str, Any] = {"apiVersion": version, **elsewhere("kind"), **fields}
        if kind != "Kustomization":
            meant["metadata"] = {**elsewhere("name", "namespace"), "labels": labels}
        if kind == "WorkflowTemplate":
            meant["metadata"]["name"] = names.flow_object(made.plan.name)
            meant["spec"] = _workflow(made)
        for problem in differences(item, meant):
            yield f"{name}: {problem}"


def _workflow(made: Manifests) -> dict[str, Any]:
    code = [] if made.way == "image" else [{"name": "code", "projected": elsewhere("sources")}]
    data = [{"name": "data", "persistentVolumeClaim": {"claimName": made.claim}}] if made.claim else []
    return {
        **elsewhere("entrypoint", "onExit", "serviceAccountName", "templates"),
        "arguments": elsewhere("parameters"),
        "imagePullSecrets": pull_secrets(made.plan),
        "volumes": [*code, *data],
        "workflowMetadata": {"labels": flow_labels(made.plan)},
    }


# Parameters ----------------------------------------------------------------------------------------------------------


def parameter_problems(plan: Plan, spec: Mapping[str, Any]) -> Iterator[str]:
    """What the Workflow says of its parameters otherwise than the Plan."""
    there = {item["name"]: item for item in spec.get("arguments", {}).get("parameters", [])}
    if list(there) != [item.name for item in plan.parameters]:
        yield f"the Workflow's parameters are {', '.join(there) or 'none'}"
        return
    for parameter in plan.parameters:
        item = there[parameter.name]
        if parameter.required != ("value" not in item):
            yield f"parameter {parameter.name} is required in one place only"
        elif not parameter.required and not _gives_default(parameter, str(item["value"])):
            yield f"the default of parameter {parameter.name} is {item['value']!r}, not {parameter.default!r}"
        chosen = parameter.type == "bool" and (parameter.required or item.get("value"))
        meant = {
            **elsewhere("name", "value"),
            "enum": ["true", "false"] if chosen else None,
            "description": description(parameter).replace("{{", "{ {") or None,
        }
        for problem in differences(item, meant):
            yield f"parameter {parameter.name}: {problem}"


def _gives_default(parameter: Parameter, text: str) -> bool:
    """Whether a run that is given the text has the default; an empty one stands for what cannot be written so."""
    default = parameter.default
    if default is None or parameter.computed:
        return not text
    separator = parameter.separator
    if separator is not None and isinstance(default, list):
        typed = separator.join(map(str, default))
        there = typed.split(separator) if typed else []
        return text == ("" if "{{" in typed or there != default else typed)
    if isinstance(default, str) and parameter.type != "json":
        return text == ("" if "{{" in default else default)
    if "{{" in json.dumps(default, ensure_ascii=False):
        return not text
    try:
        # As JSON, in which 1 is not true.
        return json.dumps(json.loads(text), sort_keys=True) == json.dumps(default, sort_keys=True)
    except ValueError:
        return False
