"""The flow's parameters as those of a Workflow, where every value is text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ...compiler.plan import Parameter, Plan
from ...runtime import contract

ENVIRONMENT = 128 * 1024
"""Bytes that one variable of a container may have, its name and its end included."""

_WORDS = {"int": "a whole number", "float": "a number", "json": "JSON", "file": "the path of a file"}


def workflow_parameters(plan: Plan) -> list[dict[str, Any]]:
    """``spec.arguments.parameters``: a required parameter has no value, which Argo then asks for."""
    return [_parameter(item) for item in plan.parameters]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    out: dict[str, Any] = {"name": parameter.name}
    if not parameter.required:
        out["value"] = value(parameter)
    if parameter.type == "bool" and (default_text(parameter) or parameter.required):
        out["enum"] = ["true", "false"]
    about = description(parameter)
    if about:
        out["description"] = about.replace("{{", "{ {")
    return out


def value(parameter: Parameter) -> str:
    """The value that the Workflow gives a parameter which nobody gives one: its default, as it would be typed.

    Empty where that cannot be: Argo would replace what is in braces, and a list may not be what its text is split into.
    The run then finds the default in the Plan.
    """
    text = default_text(parameter)
    return "" if "{{" in text or _split_otherwise(parameter, text) else text


def _split_otherwise(parameter: Parameter, text: str) -> bool:
    separator = parameter.separator
    if separator is None or not isinstance(parameter.default, list):
        return False
    return (text.split(separator) if text else []) != parameter.default


def variable_size(parameters: Iterable[Mapping[str, Any]]) -> int:
    """Bytes of FLOWC_PARAMETERS, the variable that hands all parameters on: as Argo's JSON, and that as base64."""
    return len(contract.PARAMETERS) + 2 + 4 * math.ceil(json_size(list(parameters)) / 3)


def json_size(document: Any) -> int:
    """Bytes of an object as Go writes it: with <, > and & as six characters each."""
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return len(data) + 5 * (len(data) - len(data.translate(None, b"<>&")))


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
