"""Pictures of flows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from flowc.compiler import compile_flow
from flowc.compiler.codes.code import whole_flow
from flowc.compiler.drawing import FORMATS, draw
from flowc.compiler.layout import GAP, layered
from flowc.compiler.plan import Plan

Writer = Callable[..., Path]

FLOW = """
@step
def start(self):
    self.items = [1]
    self.mode = '<"&">'
    self.next(self.each, self.other)

@step
def each(self):
    self.next(self.work, foreach="items")

@step
def work(self):
    '''Works & rests.'''
    self.next(self.gather)

@step
def gather(self, inputs):
    self.next({'<"&">': self.join, "again": self.back, "too": self.join}, condition="mode")

@step
def back(self):
    self.next({"a": self.back, "b": self.join}, condition="mode")

@step
def other(self):
    self.next(self.train, num_parallel=4)

@torchrun
@step
def train(self):
    self.next(self.done)

@step
def done(self, inputs):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
"""


@pytest.fixture
def plan(write_flow: Writer) -> Plan:
    return compile_flow(str(write_flow(whole_flow(FLOW)))).require()


def test_json(plan: Plan) -> None:
    data = json.loads(draw(plan, "json"))
    assert [node["name"] for node in data["nodes"]] == [step.name for step in plan.steps]
    kinds = {(edge["from"], edge["to"]): (edge["kind"], edge.get("label"), edge.get("again")) for edge in data["edges"]}
    assert kinds["each", "work"] == ("foreach", "foreach items", None)
    assert kinds["other", "train"] == ("gang", "gang x4", None)
    assert kinds["gather", "join"] == ("switch", '<"&"> | too', None)
    assert kinds["back", "back"] == ("switch", "a", True)
    assert len(kinds) == sum(len(step.leave.targets) for step in plan.steps)


def test_mermaid(plan: Plan) -> None:
    lines = draw(plan, "mermaid").splitlines()
    assert lines[0] == "flowchart TD"
    assert '    s_end(["end"]):::end_step' in lines
    assert '    s_train[["train<br/>@torchrun"]]:::gang_step' in lines
    assert '    s_other ==>|"gang x4"| s_train' in lines
    assert '    s_each -->|"foreach items"| s_work' in lines
    assert '    s_gather -.->|"#lt;#quot;#amp;#quot;#gt; | too"| s_join' in lines
    assert not any(re.match(r"\s*end\b", line) for line in lines)


def test_dot(plan: Plan) -> None:
    text = draw(plan, "dot")
    assert text.startswith('digraph "MyFlow" {') and text.endswith("}\n")
    assert '"gather" -> "join" [label="<\\"&\\"> | too", style=dashed];' in text
    assert '"back" -> "back" [label="a", style=dashed, constraint=false];' in text


def test_svg(plan: Plan) -> None:
    root = ElementTree.fromstring(draw(plan, "svg"))
    space = "{http://www.w3.org/2000/svg}"
    groups = {group.get("data-step"): group for group in root.iter(f"{space}g")}
    assert list(groups) == [step.name for step in plan.steps]
    looks = {name: group.get("class") for name, group in groups.items()}
    assert (looks["train"], looks["work"], looks["gather"], looks["join"], looks["start"]) == (
        "gang", "each", "switch", "join", "end",
    )  # fmt: skip
    assert len(list(groups["train"].iter(f"{space}rect"))) == 3
    assert groups["work"].findtext(f"{space}title") == "Works & rests."
    ways = [path for path in root.iter(f"{space}path") if "way" in path.get("class", "")]
    assert len(ways) == sum(len(step.leave.targets) for step in plan.steps)
    left, top, width, height = map(float, root.get("viewBox", "").split())
    boxes = []
    for name, group in groups.items():
        rect = list(group.iter(f"{space}rect"))
        if not rect:
            continue
        front = rect[-1]
        x, y, w, h = (float(front.get(key, "")) for key in ("x", "y", "width", "height"))
        assert left <= x and x + w <= left + width and top <= y and y + h <= top + height, name
        boxes.append((x, y, w, h))
    for (ax, ay, aw, ah), (bx, by, bw, bh) in combinations(boxes, 2):
        assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay


def test_every_format_is_the_same_twice(plan: Plan) -> None:
    for name in FORMATS:
        assert draw(plan, name) == draw(plan, name)
    with pytest.raises(ValueError, match="no format 'png'"):
        draw(plan, "png")


def test_a_chain_is_straight_and_a_split_symmetric() -> None:
    order = ["a", "b", "c", "d", "e", "f"]
    edges = [("a", "b"), ("b", "c"), ("b", "d"), ("c", "e"), ("d", "e"), ("e", "f")]
    out = layered(order, edges, dict.fromkeys(order, 50.0))
    assert [out.layer[name] for name in order] == [0, 1, 2, 2, 3, 4]
    assert out.x["a"] == pytest.approx(out.x["b"]) == pytest.approx(out.x["e"]) == pytest.approx(out.x["f"])
    assert out.x["b"] - out.x["c"] == pytest.approx(out.x["d"] - out.x["b"])
    assert out.x["d"] - out.x["c"] >= 50 + GAP - 1e-6


def test_crossings_are_undone() -> None:
    order = ["a", "b", "c", "d", "e"]
    edges = [("a", "b"), ("a", "c"), ("b", "e"), ("c", "d")]
    out = layered(order, edges, dict.fromkeys(order, 20.0))
    assert (out.x["b"] < out.x["c"]) == (out.x["e"] < out.x["d"])


def test_long_edges_pass_beside_boxes() -> None:
    order = ["a", "b", "c"]
    out = layered(order, [("a", "b"), ("b", "c"), ("a", "c")], dict.fromkeys(order, 40.0))
    ((x, layer),) = out.through["a", "c"]
    assert layer == 1 and abs(x - out.x["b"]) >= 20 + GAP - 1e-6
