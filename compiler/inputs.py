"""The parameters of a flow: what they may be called, and what they may hold."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ..dsl.flow import RESERVED
from ..dsl.parameters import Config, ConfigExpr, IncludeFile, JSONType, Parameter, resolve
from . import plan
from .diagnostics import Diagnostic, Severity, did_you_mean, listed
from .flow_source import FlowSource
from .options import plain_json

OPTIONS = frozenset(["help", "max-num-splits", "max-workers", "run-id-file", "tag"])
"""Options of the command line that a parameter cannot be called like. They are Metaflow's, so that no flow written for
it loses a parameter; where a parameter has the name of another option, it is the parameter that ``run`` means."""

_KNOWN: dict[type, tuple[str, ...]] = {
    cls: tuple(name for name in inspect.signature(cls.__init__).parameters if name not in ("self", "unknown"))
    for cls in (Parameter, IncludeFile, Config)
}
_TYPES: dict[Any, str] = {str: "str", int: "int", float: "float", bool: "bool"}
_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "True or False", "json": "JSON"}


def read_parameters(flow: FlowSource, found: list[Diagnostic]) -> tuple[plan.Parameter, ...]:
    """All parameters; what is wrong with them is added to ``found``."""
    names: dict[str, str] = {}
    out = []
    for attribute, item in flow.inputs.items():
        _check_name(flow, attribute, item, names, found)
        known = next(options for cls, options in _KNOWN.items() if type(item) is cls or cls is Config)
        for cls in (IncludeFile, Parameter):
            if isinstance(item, cls):
                known = _KNOWN[cls]
                break
        for option in item.unknown:
            tip = did_you_mean(option, known) or f"it has {listed(list(known))}"
            message = f"{type(item).__name__} has no option {option!r}"
            found.append(Diagnostic("FC304", message, flow.input_span(attribute, option), tip))
        if isinstance(item, Parameter):
            out.append(_Reader(flow, attribute, item, found).read())
    return tuple(out)


def _check_name(flow: FlowSource, attribute: str, item: Any, names: dict[str, str], found: list[Diagnostic]) -> None:
    kind = "config" if isinstance(item, Config) else "parameter"
    span = flow.input_span(attribute)
    name = item.name
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        help = "begin with a letter and use letters, digits, _ and -"
        found.append(Diagnostic("FC301", f"{name!r} cannot be the name of a {kind}", span, help))
        return
    folded = name.lower().replace("_", "-")
    if attribute in RESERVED or name in RESERVED:
        word = attribute if attribute in RESERVED else name
        found.append(
            Diagnostic("FC136", f"{word!r} is a name of FlowSpec and cannot be a {kind}", span, "take another name")
        )
    elif folded in OPTIONS and kind == "parameter":
        message = f"parameter {name!r} has the name of an option of the command line, --{folded}"
        found.append(Diagnostic("FC303", message, span, "take another name"))
    elif folded in names:
        message = f"{kind} {name!r} has the same name on the command line as {names[folded]!r}"
        found.append(Diagnostic("FC302", message, span, "give each its own name"))
    names.setdefault(folded, attribute)


class _Reader:
    """Reads one parameter."""

    def __init__(self, flow: FlowSource, attribute: str, item: Parameter, found: list[Diagnostic]) -> None:
        self.flow = flow
        self.attribute = attribute
        self.item = item
        self.found = found

    def problem(self, code: str, message: str, option: str, help: str, severity: Severity = Severity.ERROR) -> None:
        self.found.append(Diagnostic(code, message, self.flow.input_span(self.attribute, option), help, severity))

    def read(self) -> plan.Parameter:
        item = self.item
        default = self._default()
        computed = callable(default)
        kind = self._kind(default)
        if not computed and default is not None:
            default = self._fitting(kind, default)
        if item.required and item.default is not None:
            message = f"parameter {item.name!r} is required and has a default, which is never used"
            self.problem("FC307", message, "required", "leave out one of the two", Severity.WARNING)
        if item.help is not None and not isinstance(item.help, str):
            self.problem("FC304", f"help of parameter {item.name!r} is not text", "help", 'write help="..."')
        separator = item.separator
        if separator is not None and (not isinstance(separator, str) or not separator or kind != "str"):
            message = f"parameter {item.name!r}: separator= splits text, and only that"
            self.problem("FC308", message, "separator", 'write separator="," on a parameter of type str')
            separator = None
        return plan.Parameter(
            name=str(item.name),
            type=kind,  # type: ignore[arg-type]
            default=None if computed else plain_json(default),
            required=bool(item.required),
            computed=computed,
            separator=separator,
            help=" ".join(item.help.split()) if isinstance(item.help, str) else "",
            attribute="" if self.attribute == item.name else self.attribute,
            options={"is_text": item.is_text, "encoding": item.encoding} if isinstance(item, IncludeFile) else {},
            span=self.flow.input_span(self.attribute),
        )

    def _default(self) -> Any:
        default = self.item.default
        if not isinstance(default, (Config, ConfigExpr)):
            return default
        try:
            return resolve(default, self.flow.configs)
        except Exception as error:
            problem = str(error) or type(error).__name__
            help = "the expression sees the flow's configs by name; see what `flowc plan` shows under configs"
            self.problem("FC313", f"default={default!r} cannot be worked out: {problem}", "default", help)
            return None

    def _kind(self, default: Any) -> str:
        item = self.item
        if isinstance(item, IncludeFile):
            return "file"
        if item.type is None:
            if isinstance(default, (Mapping, list, tuple)):
                return "str" if item.separator is not None else "json"
            return next((name for cls, name in _TYPES.items() if type(default) is cls), "str")
        if item.type is JSONType or item.type is type(JSONType):
            return "json"
        kind = _TYPES.get(item.type) if isinstance(item.type, type) else None
        if kind is None:
            shown = getattr(item.type, "__name__", repr(item.type))
            help = "take str, int, float, bool or JSONType" + (
                "; JSONType takes lists and dictionaries" if item.type in (dict, list, tuple, set) else ""
            )
            self.problem("FC305", f"parameter {item.name!r} cannot be of type {shown}", "type", help)
            return "json" if item.type in (dict, list, tuple) else "str"
        return kind

    def _fitting(self, kind: str, default: Any) -> Any:
        item = self.item
        if kind == "file":
            return self._file(default)
        if kind == "json":
            return self._json(default)
        listed_text = isinstance(default, (list, tuple)) and all(isinstance(part, str) for part in default)
        if kind == "str" and item.separator is not None and listed_text:
            return list(default)
        wanted: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool}
        if isinstance(default, wanted[kind]) and (kind == "bool" or not isinstance(default, bool)):
            return float(default) if kind == "float" else default
        message = f"parameter {item.name!r} takes {_WORDS[kind]}, but its default is {default!r}"
        self.problem("FC306", message, "default", "mend the default, or the type=")
        return None

    def _json(self, default: Any) -> Any:
        try:
            if isinstance(default, str):
                return json.loads(default)
            json.dumps(default, allow_nan=False)
        except (TypeError, ValueError) as error:
            message = f"the default of parameter {self.item.name!r} is not JSON: {error}"
            self.problem("FC306", message, "default", "mend the default")
            return None
        return default

    def _file(self, default: Any) -> Any:
        if not isinstance(default, (str, os.PathLike)):
            message = f"parameter {self.item.name!r} takes the path of a file, but its default is {default!r}"
            self.problem("FC306", message, "default", "write the path as text, relative to the flow's file")
            return None
        path = os.fspath(default)
        if not os.path.isfile(os.path.join(self.flow.folder, path)):
            message = f"the default of parameter {self.item.name!r}, {path}, is not there"
            help = "write the file beside the flow, or give another when the flow is started"
            self.problem("FC309", message, "default", help, Severity.WARNING)
        return path
