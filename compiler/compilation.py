"""The way of one flow class through the compiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..dsl.flow import FlowSpec
from ..dsl.loading import LoadedFile
from .checks import run_checks
from .checks.flow import Flow
from .configs import resolve_configs
from .diagnostics import Diagnostic, Sources
from .flow_source import read_flow
from .graph import FlowGraph, build_graph
from .inputs import read_parameters
from .lower import lower
from .options import Settings, all_settings, read_settings
from .packaging import Package, package_of
from .plan import Plan
from .scan import scan_flow
from .structure import analyse


def compile_class(
    cls: type[FlowSpec],
    loaded: LoadedFile,
    sources: Sources,
    with_specs: Sequence[str],
    config_files: Mapping[str, str],
    config_values: Mapping[str, str],
    patterns: Sequence[str],
    found: list[Diagnostic],
) -> tuple[Plan | None, Package]:
    """The Plan of a flow class, None where ``found`` then holds an error, and the files that travel with the flow."""
    flow = read_flow(cls, loaded, sources, found)
    flow.configs = resolve_configs(flow, config_files, config_values, found)
    parameters = read_parameters(flow, found)
    settings, flow_settings = all_settings(flow, found)
    artifacts = scan_flow(flow)
    graph = build_graph(flow, artifacts)
    structure = analyse(graph)
    if with_specs:
        _add(with_specs, graph, settings, found)
    checked = Flow(flow, artifacts, graph, structure, settings, flow_settings, parameters)
    found.extend(run_checks(checked))
    package = package_of(flow, patterns, found)
    if any(item.is_error for item in found):
        return None, package
    return lower(flow, graph, structure, settings, flow_settings, parameters, package), package


def _add(
    with_specs: Sequence[str], graph: FlowGraph, settings: dict[str, list[Settings]], found: list[Diagnostic]
) -> None:
    """Give every step the decorators of the command line, unless it has them in the source."""
    from .with_specs import read_with_specs

    for use in read_with_specs(with_specs, found):
        added = read_settings(use, {}, found)
        for name, items in settings.items():
            if use.label == "catch" and graph.cannot_catch(name):
                continue
            if use.declared.spec.repeatable or all(item.label != use.label for item in items):
                items.append(added)
