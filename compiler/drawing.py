"""Pictures of a Plan: Mermaid, DOT, JSON and SVG."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .plan import Foreach, Gang, Plan, Step, Switch


@dataclass(frozen=True)
class Edge:
    """One way from a step to another. ``again`` marks the way back in a loop."""

    source: str
    target: str
    kind: str
    label: str = ""
    again: bool = False


def edges(plan: Plan) -> Iterator[Edge]:
    """Every way of the flow, in its order; cases of a switch that lead to one step share an edge."""
    for step in plan.steps:
        leave = step.leave
        for target in leave.targets:
            label = ""
            if isinstance(leave, Foreach):
                label = f"foreach {leave.over}"
            elif isinstance(leave, Gang):
                label = f"gang {gang_size(leave)}"
            elif isinstance(leave, Switch):
                label = " | ".join(case for case, name in leave.cases if name == target)
            yield Edge(step.name, target, leave.kind, label, target in step.repeats)


def gang_size(leave: Gang) -> str:
    """``x4``, ``x nodes`` for a parameter, ``x ?`` where a step computes it."""
    return f"x{leave.size}" if leave.size is not None else f"x {leave.parameter or '?'}"


def shape(plan: Plan, step: Step) -> str:
    """How a step is drawn: ``end`` (also the first), ``switch``, ``gang``, ``each`` (inside a foreach), ``join``,
    ``step``.
    """
    if step.kind == "gang":
        return "gang"
    if isinstance(step.leave, Switch):
        return "switch"
    if step.name in (plan.first, plan.last):
        return "end"
    if step.scope:
        return "each"
    return "join" if step.joins else "step"


def mermaid(plan: Plan) -> str:
    """A Mermaid flowchart, which GitHub and many editors draw."""
    lines = ["flowchart TD"]
    # Ids get a prefix: `end` is a word of the language.
    forms = {"end": '(["{}"])', "switch": '{{{{"{}"}}}}', "gang": '[["{}"]]', "each": '[/"{}"/]', "join": '("{}")'}
    for step in plan.steps:
        form = forms.get(shape(plan, step), '["{}"]')
        name = step.name + (f"<br/>@{step.framework.name}" if step.framework else "")
        lines.append(f"    s_{step.name}{form.format(name)}:::{shape(plan, step)}_step")
    for edge in edges(plan):
        arrow = {"gang": "==>", "switch": "-.->"}.get(edge.kind, "-->")
        label = f'|"{_mermaid_text(edge.label)}"|' if edge.label else ""
        lines.append(f"    s_{edge.source} {arrow}{label} s_{edge.target}")
    used = {shape(plan, step) for step in plan.steps}
    styles = {
        "end": "fill:#eceff4,stroke:#4c566a,color:#2e3440",
        "switch": "fill:#fff4d6,stroke:#b58900,color:#3b2f00",
        "gang": "fill:#e3dcf7,stroke:#6a3fb5,stroke-width:3px,color:#2a1657",
        "each": "fill:#dcefe1,stroke:#3a8f57,color:#0f3a1f",
        "join": "fill:#dbe9f6,stroke:#3b6ea5,color:#12304f",
        "step": "fill:#ffffff,stroke:#4c566a,color:#2e3440",
    }
    lines.extend(f"    classDef {name}_step {style}" for name, style in styles.items() if name in used)
    return "\n".join(lines) + "\n"


def _mermaid_text(text: str) -> str:
    for char, entity in (("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(char, entity)
    return text.replace("\n", " ")


def dot(plan: Plan) -> str:
    """A graph for Graphviz."""
    looks = {
        "end": 'shape=box, style="rounded,filled", fillcolor="#eceff4"',
        "switch": 'shape=hexagon, style=filled, fillcolor="#fff4d6"',
        "gang": 'shape=box, peripheries=3, style=filled, fillcolor="#e3dcf7"',
        "each": 'shape=box3d, style=filled, fillcolor="#dcefe1"',
        "join": 'shape=box, style="rounded,filled", fillcolor="#dbe9f6"',
    }
    lines = [f"digraph {_quoted(plan.name)} {{", '    node [shape=box, fontname="sans-serif"];']
    lines.append('    edge [fontname="sans-serif", fontsize=10];')
    for step in plan.steps:
        label = step.name + (f"\n@{step.framework.name}" if step.framework else "")
        look = looks.get(shape(plan, step))
        lines.append(f"    {_quoted(step.name)} [label={_quoted(label)}{', ' + look if look else ''}];")
    for edge in edges(plan):
        options = [f"label={_quoted(edge.label)}"] if edge.label else []
        options.extend({"gang": ["penwidth=3"], "switch": ["style=dashed"]}.get(edge.kind, []))
        if edge.again:
            options.append("constraint=false")
        shown = f" [{', '.join(options)}]" if options else ""
        lines.append(f"    {_quoted(edge.source)} -> {_quoted(edge.target)}{shown};")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def as_json(plan: Plan) -> str:
    """Nodes and edges, for programs that draw by themselves."""
    nodes: list[dict[str, Any]] = []
    for step in plan.steps:
        node: dict[str, Any] = {
            "name": step.name,
            "kind": step.kind,
            "leave": step.leave.kind,
            "scope": list(step.scope),
        }
        if step.joins:
            node["joins"] = step.joins
        if step.framework:
            node["framework"] = step.framework.name
        if step.span:
            node["file"], node["line"] = step.span.file, step.span.line
        nodes.append(node)
    ways = []
    for edge in edges(plan):
        way: dict[str, Any] = {"from": edge.source, "to": edge.target, "kind": edge.kind}
        if edge.label:
            way["label"] = edge.label
        if edge.again:
            way["again"] = True
        ways.append(way)
    data = {"flow": plan.name, "first": plan.first, "last": plan.last, "nodes": nodes, "edges": ways}
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def svg(plan: Plan) -> str:
    """A picture that needs no other program."""
    from .svg import picture

    return picture(plan)


FORMATS: dict[str, Callable[[Plan], str]] = {"mermaid": mermaid, "dot": dot, "json": as_json, "svg": svg}


def draw(plan: Plan, format: str) -> str:
    """A picture of the flow.

    Parameters
    ----------
    format : {"mermaid", "dot", "json", "svg"}

    Raises
    ------
    ValueError
        If there is no such format.
    """
    if format not in FORMATS:
        raise ValueError(f"no format {format!r}: take one of {', '.join(FORMATS)}")
    return FORMATS[format](plan)
