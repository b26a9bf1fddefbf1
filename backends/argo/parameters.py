"""The flow's parameters as those of a Workflow, where every value is text."""

from __future__ import annotations

import json
from typing import Any

from ...compiler.plan import Parameter, Plan

_WORDS = {"int": "a whole number", "float": "a number", "json": "JSON", "file": "the path of a file"}


def workflow_parameters(plan: Plan) -> list[dict[str, Any]]:
    """``spec.arguments.parameters``: a required parameter has no value, which Argo then asks for."""
    return [_parameter(item) for item in plan.parameters]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    out: dict[str, Any] = {"name": parameter.name}
    text = default_text(parameter)
    if not parameter.required:
        # Argo would replace what is in braces; the run finds the default in the Plan.
        out["value"] = "" if "{{" in text else text
    if parameter.type == "bool" and (text or parameter.required):
        out["enum"] = ["true", "false"]
    about = description(parameter)
    if about:
        out["description"] = about.replace("{{", "{ {")
    return out


def default_text(parameter: Parameter) -> str:
    """The default as it would be typed. Empty where there is none, or where the flow works it out when a run starts."""
    value = parameter.default
    if value is None or parameter.computed:
        return ""
    if parameter.separator is not None and isinstance(value, list):
        return parameter.separator.join(map(str, value))
    if isinstance(value, str) and parameter.type != "json":
        return value
    return json.dumps(value, ensure_ascii=False)


def description(parameter: Parameter) -> str:
    """The help, and what kind of text is a value."""
    kind = _WORDS.get(parameter.type, "")
    if parameter.separator is not None:
        kind = f"a list, separated by {parameter.separator!r}"
    if parameter.computed:
        kind = f"{kind}; worked out when the run starts, where it is empty" if kind else "worked out where it is empty"
    return f"{parameter.help} ({kind})".strip() if kind else parameter.help
