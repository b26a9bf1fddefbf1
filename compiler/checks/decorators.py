"""Rules about decorators; their options are checked where they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...dsl.declarations import declared_on
from ..diagnostics import Diagnostic, Severity, did_you_mean
from ..flow_source import stray_declarations
from .flow import Flow


def placed_right(flow: Flow) -> Iterator[Diagnostic]:
    """FC206, FC207, FC208: a decorator stands where it means something."""
    source = flow.source
    for item in source.steps.values():
        for use in item.decorators:
            if use.declared.spec.on == "flow":
                message = f"@{use.label} belongs on the flow, not on step {item.name!r}"
                yield Diagnostic("FC207", message, use.span, f"put it above class {source.name}")
    for use in source.decorators:
        if use.declared.spec.on == "step":
            message = f"@{use.label} belongs on a step, not on the flow"
            tip = f"put it above the steps that need it; --with {use.label} gives it to all of them"
            yield Diagnostic("FC208", message, use.span, tip)
    for name, value in stray_declarations(source.cls).items():
        label = declared_on(value)[0].spec.label
        method = next((m for m in reversed(source.methods) if m.name == name), None)
        span = method.file.name_span(method.node) if method else source.span
        if method is not None and any(m is not method and m.name == name for m in source.methods):
            continue  # a step of a base class that is overridden; what is overridden is not looked at
        tip = f"write @step above def {name}, or delete @{label}"
        yield Diagnostic("FC206", f"@{label} on {name!r}, which is not a step", span, tip)


def not_repeated(flow: Flow) -> Iterator[Diagnostic]:
    """FC205: once a decorator, except where more make sense."""
    uses = [(f"step {item.name!r}", item.decorators) for item in flow.source.steps.values()]
    for where, decorators in [*uses, (f"flow {flow.source.name}", flow.source.decorators)]:
        seen = set()
        for use in decorators:
            spec = use.declared.spec
            if spec in seen and not spec.repeatable:
                yield Diagnostic("FC205", f"{where} has @{use.label} more than once", use.span, "keep one of them")
            seen.add(spec)


def not_in_conflict(flow: Flow) -> Iterator[Diagnostic]:
    """FC209: one framework a gang, and one package manager a step."""
    for item in flow.source.steps.values():
        frameworks = [label for label in flow.graph.nodes[item.name].frameworks if label != "parallel"]
        managers = list(dict.fromkeys(use.label for use in item.decorators if use.label in ("pypi", "conda")))
        for labels, why in (
            (frameworks, "a gang is formed by one of them"),
            (managers, "they set up the same environment"),
        ):
            if len(labels) > 1:
                use = next(use for use in item.decorators if use.label == labels[1])
                message = f"step {item.name!r} has both @{labels[0]} and @{labels[1]}"
                yield Diagnostic("FC209", message, use.span, f"keep one: {why}")


def needs_agree(flow: Flow) -> Iterator[Diagnostic]:
    """FC218, a warning: what a step needs is the same on every target."""
    for item in flow.source.steps.values():
        uses = [use for use in item.decorators if use.label in ("kubernetes", "batch")]
        for first, second in zip(uses, uses[1:]):
            for name, one, other in _differences(first.declared.given, second.declared.given):
                message = f"step {item.name!r} asks for {name}={one!r} in @{first.label} and for "
                message += f"{name}={other!r} in @{second.label}"
                tip = f"say it once, in @resources({name}=), unless the targets are to differ"
                yield Diagnostic("FC218", message, second.span, tip, Severity.WARNING)


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The amounts that both name and that are not the same, as they are written."""
    # Only a flow that has two compute decorators on one step pays for this.
    from ..quantities import BadQuantity, cores, count, mebibytes

    kinds = {"cpu": cores, "gpu": count, "memory": mebibytes, "shared_memory": mebibytes}
    for name, read in kinds.items():
        one, other = first.get(name), second.get(name)
        if not isinstance(one, (int, float, str)) or not isinstance(other, (int, float, str)):
            continue  # one says nothing of it, or a config says it
        try:
            if read(one) != read(other):
                yield name, one, other
        except BadQuantity:
            pass  # FC204 says so


def not_lost(flow: Flow) -> Iterator[Diagnostic]:
    """FC215: a decorator of flowc's below one that does not pass it on has no effect."""
    for item in flow.source.steps.values():
        for label, span in item.lost:
            message = f"@{label} has no effect: a decorator above it does not pass it on"
            yield Diagnostic("FC215", message, span, f"put @{label} above @step, or let the other use functools.wraps")


def catch_knows_the_way_on(flow: Flow) -> Iterator[Diagnostic]:
    """FC210, FC211: a step with ``@catch`` goes on after its failure, so the way on must be known."""
    gangs = flow.graph.gangs
    for item in flow.source.steps.values():
        use = next((use for use in item.decorators if use.label == "catch"), None)
        why = flow.graph.cannot_catch(item.name) if use else ""
        if use is None or not why:
            continue
        if item.name in gangs:
            message = f"@catch on step {item.name!r}, which {why}: a gang lives and dies as one"
            yield Diagnostic("FC210", message, use.span, "use @retry, which runs the whole gang again")
        else:
            message = f"@catch on step {item.name!r}, which {why}"
            yield Diagnostic("FC211", message, use.span, "put the work that may fail into a step of its own before it")


def step_options_are_known(flow: Flow) -> Iterator[Diagnostic]:
    """FC201, FC202: ``@step`` takes ``start`` and ``end``."""
    for item in flow.source.steps.values():
        for name, value in item.options.items():
            if name not in ("start", "end"):
                tip = did_you_mean(name, ("start", "end")) or "it has start and end"
                yield Diagnostic("FC201", f"@step has no option {name!r}", item.span, tip)
            elif not isinstance(value, bool):
                yield Diagnostic(
                    "FC202", f"@step: {name} must be True or False, not {value!r}", item.span, f"write {name}=True"
                )
