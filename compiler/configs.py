"""The values of a flow's configs, fixed before anything else is looked at."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from ..dsl.parameters import Config
from .diagnostics import Diagnostic, did_you_mean, listed
from .flow_source import FlowSource
from .options import plain_json


def resolve_configs(
    flow: FlowSource, files: Mapping[str, str], values: Mapping[str, str], found: list[Diagnostic]
) -> dict[str, Any]:
    """The value of every config by name.

    Parameters
    ----------
    files, values : mapping
        What the command line gives: files by config name, and values as text.
    """
    configs = {item.name: (attribute, item) for attribute, item in flow.inputs.items() if isinstance(item, Config)}
    for name in dict.fromkeys([*files, *values]):
        if name not in configs:
            has = f"the flow has {listed(list(configs))}" if configs else "the flow has no configs"
            tip = did_you_mean(name, configs) or has
            found.append(Diagnostic("FC312", f"there is no config {name!r}", flow.span, tip))
    out: dict[str, Any] = {}
    for name, (attribute, config) in configs.items():
        reader = _Reader(flow, attribute, config, found)
        if config.default is not None and config.default_value is not None:
            reader.problem(
                "FC314", f"config {name!r} has two defaults", "default_value", "keep default or default_value, not both"
            )
        if name in values:
            out[name] = reader.parsed(values[name], f"--config-value {name}")
        elif name in files:
            out[name] = reader.file(files[name], f"--config {name}", None)
        elif config.default_value is not None:
            out[name] = reader.value()
        elif config.default is not None:
            out[name] = reader.default()
        else:
            out[name] = None
            if config.required:
                tip = f"give --config {name} FILE or --config-value {name} JSON"
                found.append(Diagnostic("FC310", f"config {name!r} has no value", reader.place("name"), tip))
    return out


class _Reader:
    """Reads one config; a problem is told and the config is None."""

    def __init__(self, flow: FlowSource, attribute: str, config: Config[Any], found: list[Diagnostic]) -> None:
        self.flow = flow
        self.attribute = attribute
        self.config = config
        self.found = found

    def place(self, option: str) -> Any:
        return self.flow.input_span(self.attribute, option)

    def problem(self, code: str, message: str, option: str, help: str) -> None:
        self.found.append(Diagnostic(code, message, self.place(option), help))

    def value(self) -> Any:
        value = self.config.default_value
        if callable(value):
            value = self.called(value, "default_value")
        if isinstance(value, str):
            return self.parsed(value, "default_value")
        return self.plain(value, "default_value")

    def default(self) -> Any:
        path = self.config.default
        if callable(path):
            path = self.called(path, "default")
        if path is None:
            return None
        if not isinstance(path, (str, os.PathLike)):
            help = "write the path of a file as text, or give the value itself as default_value="
            self.problem("FC311", f"the default of config {self.config.name!r} is no path: {path!r}", "default", help)
            return None
        return self.file(os.path.join(self.flow.folder, path), os.fspath(path), "default")

    def called(self, function: Callable[..., Any], option: str) -> Any:
        context = SimpleNamespace(flow_name=self.flow.name, parameter_name=self.config.name)
        try:
            return function(context) if inspect.signature(function).parameters else function()
        except Exception as error:
            message = f"the {option} of config {self.config.name!r} raises {type(error).__name__}: {error}"
            self.problem("FC311", message, option, "mend the function; it is called with flow_name and parameter_name")
            return None

    def file(self, path: str, shown: str, option: str | None) -> Any:
        try:
            with open(path, encoding="utf-8") as source:
                text = source.read()
        except OSError as error:
            help = f"write the file, or give another with --config {self.config.name} FILE"
            message = (
                f"the file {shown if option else path} of config {self.config.name!r} cannot be read: {error.strerror}"
            )
            self.problem("FC310", message, option or "name", help)
            return None
        except UnicodeDecodeError:
            self.problem(
                "FC311", f"the file {shown} of config {self.config.name!r} is not UTF-8", "name", "save it as UTF-8"
            )
            return None
        return self.parsed(text, shown, option)

    def parsed(self, text: str, source: str, option: str | None = None) -> Any:
        try:
            value = self.config.parse(text)
        except json.JSONDecodeError as error:
            place = f"{source}:{error.lineno}:{error.colno}" if "\n" in text or option else source
            message = f"config {self.config.name!r} is not JSON: {place}: {error.msg}"
            self.problem("FC311", message, option or "name", "mend the JSON, or give the config a parser=")
            return None
        except Exception as error:
            message = f"the parser of config {self.config.name!r} raises {type(error).__name__} on {source}: {error}"
            self.problem("FC311", message, "parser", "mend the text or the parser")
            return None
        return self.plain(value, option or "name")

    def plain(self, value: Any, option: str) -> Any:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            message = f"config {self.config.name!r} holds what is not plain data: {error}"
            self.problem(
                "FC311", message, option, "use text, numbers, True, False, None, lists and dictionaries with text keys"
            )
            return None
        return plain_json(value)
