"""Rules about what steps set on ``self``."""

from __future__ import annotations

from collections.abc import Iterator

from ...dsl.flow import RESERVED
from ...dsl.parameters import Config
from ..diagnostics import Diagnostic
from .flow import Flow


def assignments_are_allowed(flow: Flow) -> Iterator[Diagnostic]:
    """FC136, FC141, FC142: FlowSpec's names, parameters and steps are not artifacts."""
    for scan in flow.artifacts.scans.values():
        for name, node in scan.stored:
            problem = _problem(flow, name)
            if problem:
                code, message = problem
                yield Diagnostic(code, message, scan.method.file.span(node), "take another name")


def _problem(flow: Flow, name: str) -> tuple[str, str] | None:
    if name in RESERVED or name.startswith("_flowc"):
        return "FC136", f"self.{name} belongs to FlowSpec and cannot be set"
    item = flow.source.inputs.get(name)
    if item is not None:
        kind = "config" if isinstance(item, Config) else "parameter"
        return "FC141", f"self.{name} is a {kind} and cannot be set"
    if name in flow.source.steps:
        return "FC142", f"self.{name} is a step and cannot be set"
    return None


def catch_variables_are_free(flow: Flow) -> Iterator[Diagnostic]:
    """FC136, FC141, FC142 again: ``@catch(var=...)`` sets an artifact as well."""
    for items in flow.settings.values():
        for item in items:
            name = item.values.get("var") if item.label == "catch" else None
            problem = _problem(flow, name) if isinstance(name, str) else None
            if problem:
                code, message = problem
                yield Diagnostic(code, f"@catch: {message}", item.use.place("var"), "take another name")
