"""Values of a flow's parameters: from the command line or a script, from defaults, from the flow's own code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..dsl import FlowcError
from ..dsl.flow import inputs_of
from ..dsl.parameters import ConfigExpr, plain, resolve
from ..dsl.plain import dataclass
from .datastore.base import Datastore

_TRUE = ("true", "yes", "on", "1", "t", "y")
_FALSE = ("false", "no", "off", "0", "f", "n")
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "json": "JSON",
    "str": "text",
    "file": "the path of a file",
}


class ParameterError(FlowcError):
    """Parameters that do not fit the flow; ``problems`` has a sentence for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class _Problem(Exception):
    """What is wrong with one parameter."""


@dataclass(frozen=True)
class IncludedFile:
    """The content of an IncludeFile before it is stored with the run."""

    path: str
    data: bytes

    def store(self, datastore: Datastore, flow: str) -> dict[str, Any]:
        """Put the content into the datastore; returns what stands for it in run.json."""
        import hashlib

        name = hashlib.sha256(self.data).hexdigest()
        key = f"{flow}/blobs/{name[:2]}/{name}"
        if not datastore.exists(key):
            datastore.write(key, self.data)
        return {"blob": name, "size": len(self.data)}


@dataclass(frozen=True)
class DefaultContext:
    """What a callable that computes a default is given."""

    flow_name: str
    user_name: str
    parameter_name: str
    configs: Any = None


def parameter_values(
    flow_class: type, plan: Mapping[str, Any], given: Mapping[str, Any], folder: str
) -> dict[str, Any]:
    """The value of every parameter of a run.

    Parameters
    ----------
    flow_class : type
        The flow, for defaults that its code computes.
    plan : mapping
        The Plan as JSON.
    given : mapping
        Texts, as from a command line, or Python values by parameter name.
    folder : str
        Folder of the flow's file, where default files lie; given files are relative to the current folder.

    Returns
    -------
    dict
        JSON values by name, in the Plan's order; `IncludedFile` for files.

    Raises
    ------
    ParameterError
        With all problems at once: unknown names, values of the wrong type, missing ones, defaults that fail.
    """
    declared = {parameter["name"]: parameter for parameter in plan.get("parameters", ())}
    problems = []
    chosen = {}
    for name, value in given.items():
        known = _known(name, declared)
        if known is None:
            problems.append(_unknown(name, list(declared), str(plan["name"])))
        else:
            chosen[known] = value
    values: dict[str, Any] = {}
    for name, parameter in declared.items():
        try:
            if name in chosen:
                values[name] = convert(parameter, chosen[name], os.getcwd())
            else:
                values[name] = _default(flow_class, plan, parameter, folder)
        except _Problem as problem:
            problems.append(f"parameter {name}: {problem}")
    if problems:
        raise ParameterError(problems)
    return values


def _known(name: str, declared: Mapping[str, Any]) -> Optional[str]:
    for form in (name, name.replace("-", "_"), name.replace("_", "-")):
        if form in declared:
            return form
    return None


def _unknown(name: str, known: Sequence[str], flow: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    there = ", ".join(known) or "none"
    hint = f"did you mean {near[0]}?" if near else f"it has {there}"
    return f"flow {flow} has no parameter {name}; {hint}"


def _default(flow_class: type, plan: Mapping[str, Any], parameter: Mapping[str, Any], folder: str) -> Any:
    value = parameter.get("default")
    if parameter.get("computed"):
        value = _computed(flow_class, plan, parameter)
    if value is None:
        if parameter.get("required"):
            raise _Problem(f"a value is required; give it with --{parameter['name']} {parameter.get('type', 'str')}")
        return None
    if parameter.get("type") == "json" and isinstance(value, str):
        # A default may be JSON text, as on the command line, or have been read already.
        try:
            return json.loads(value)
        except ValueError:
            return value
    return convert(parameter, value, folder)


def _computed(flow_class: type, plan: Mapping[str, Any], parameter: Mapping[str, Any]) -> Any:
    from .runs import user_name

    attribute = parameter.get("attribute") or parameter["name"]
    declared = inputs_of(flow_class).get(attribute)
    default = getattr(declared, "default", None)
    configs = plan.get("configs", {})
    try:
        if isinstance(default, ConfigExpr):
            return plain(resolve(default, configs))
        if callable(default):
            context = DefaultContext(str(plan["name"]), user_name(), str(parameter["name"]), configs)
            return plain(resolve(default(context), configs))
    except Exception as error:
        raise _Problem(f"its default could not be computed: {type(error).__name__}: {error}") from error
    return default


def parts_of(text: str, separator: str) -> list[str]:
    """The parts of a list that is given as a text."""
    return text.split(separator) if text else []


def convert(parameter: Mapping[str, Any], value: Any, folder: str) -> Any:
    """The JSON value of a parameter for a text or a Python value; a `_Problem` says what is wrong with it."""
    separator = parameter.get("separator")
    kind = parameter.get("type", "str")
    if separator:
        if isinstance(value, str):
            parts: list[Any] = parts_of(value, separator)
        elif isinstance(value, (list, tuple)):
            parts = list(value)
        else:
            raise _Problem(f"{value!r} is not text with parts split by {separator!r}, nor a list")
        return [_single(kind, part, folder) for part in parts]
    if value is None:
        return None
    return _single(kind, value, folder)


def _single(kind: str, value: Any, folder: str) -> Any:
    try:
        return _CONVERT[kind](value, folder)
    except (ValueError, TypeError, OverflowError) as error:
        detail = f" ({error})" if kind == "json" else ""
        raise _Problem(f"{value!r} is not {_WANTED[kind]}{detail}") from error


def _str(value: Any, folder: str) -> str:
    if not isinstance(value, (str, int, float)):
        raise TypeError
    return str(value)


def _int(value: Any, folder: str) -> int:
    if isinstance(value, str):
        return int(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError
    return int(value)


def _float(value: Any, folder: str) -> float:
    if isinstance(value, bool) or not (isinstance(value, str) or hasattr(value, "__float__")):
        raise TypeError
    return float(value)


def _bool(value: Any, folder: str) -> bool:
    if isinstance(value, str):
        text = value.strip().lower()
        if text not in _TRUE + _FALSE:
            raise ValueError
        return text in _TRUE
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise TypeError


def _json(value: Any, folder: str) -> Any:
    return json.loads(value) if isinstance(value, str) else json.loads(json.dumps(value))


def _file(value: Any, folder: str) -> IncludedFile:
    path = os.path.join(folder, os.path.expanduser(os.fspath(value)))
    try:
        with open(path, "rb") as file:
            return IncludedFile(path, file.read())
    except OSError as error:
        raise _Problem(f"cannot read the file {path}: {error.strerror}") from error


_CONVERT = {"str": _str, "int": _int, "float": _float, "bool": _bool, "json": _json, "file": _file}
