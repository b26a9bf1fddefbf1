"""The DAG templates of every graph shape run exactly the tasks that the flow means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_reference import Reference
from flow_shapes import SHAPES, Branch, Foreach, Gang, Loop, Seq, Switch, Task, While, chosen, first_step, pick, whole
from flow_tangles import tangled, tangles
from flow_text import FlowText
from flow_trees import flows
from flowc.backends.argo.dag import Drawing
from flowc.compiler import compile_flow
from flowc.compiler.codes.code import whole_flow
from flowc.compiler.plan import Plan
from hypothesis import given, settings
from hypothesis import strategies as st
from region_walker import Index, Outputs, StepFailed, Walker

Writer = Callable[..., Path]


class Doing:
    """What the steps of a tree tell Argo, by the same choices as the flow's own text."""

    def __init__(self, seq: Seq) -> None:
        self.acts: dict[str, Callable[[Index], Outputs]] = {}
        self.counters: Counter[tuple[str, Index]] = Counter()
        self._learn(seq, "", ())

    def __call__(self, step: str, index: Index) -> Outputs:
        act = self.acts.get(step)
        return act(index) if act else {}

    def _learn(self, seq: Seq, after: str, loops: tuple[str, ...]) -> None:
        for at, node in enumerate(seq):
            rest = first_step(seq[at + 1 :], after)
            if isinstance(node, Branch):
                for arm in node.arms:
                    self._learn(arm, node.join, loops)
            elif isinstance(node, Foreach):
                self.acts[node.name] = lambda index, node=node: {"width": str(pick(node.widths, index))}
                self._learn(node.body, node.join, loops)
            elif isinstance(node, Gang):
                self.acts[node.name] = lambda index, node=node: {"width": str(pick(node.sizes, index))}
            elif isinstance(node, Switch):
                for case in node.cases:
                    self._learn(case, rest, loops)
                self.acts[node.name] = lambda index, node=node, rest=rest, loops=loops: self._switch(
                    node, rest, loops, index
                )
            elif isinstance(node, (Loop, While)):
                self._learn(node.body, node.name, (*loops, node.name))
                self.acts[node.name] = lambda index, node=node, rest=rest: self._again(node, rest, index)

    def _switch(self, node: Switch, rest: str, loops: tuple[str, ...], index: Index) -> Outputs:
        counters = {name: self._counted(name, index) for name in loops}
        return {"to": first_step(node.cases[chosen(node, index, counters)], rest)}

    def _counted(self, name: str, index: Index) -> int:
        return max((self.counters[name, index[:n]] for n in range(len(index) + 1)), default=0)

    def _again(self, node: Loop | While, rest: str, index: Index) -> Outputs:
        self.counters[node.name, index] += 1
        count = self.counters[node.name, index]
        rounds = pick(node.rounds, index)
        on = count <= rounds if isinstance(node, While) else count < rounds
        if not on:
            self.counters[node.name, index] = 0
        return {"to": first_step(node.body, node.name) if on else rest}


def plan_of(seq: Seq, write_flow: Writer) -> Plan:
    return compile_flow(str(write_flow(FlowText(seq).text()))).require()


def visited(seq: Seq) -> Counter[tuple[str, Index]]:
    return Counter((visit.step, visit.index) for visit in Reference(seq).visits.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(shape: str, write_flow: Writer) -> None:
    plan = plan_of(SHAPES[shape], write_flow)
    walker = Walker(Drawing(plan), Doing(SHAPES[shape]))
    assert walker.state == "Succeeded"
    assert Counter(walker.ran) == visited(SHAPES[shape])


@pytest.mark.slow
@given(flows())
@settings(max_examples=60)
def test_random_flows(tmp_path_factory: pytest.TempPathFactory, seq: Seq) -> None:
    file = tmp_path_factory.mktemp("flow") / "flow.py"
    file.write_text(FlowText(seq).text())
    drawing = Drawing(compile_flow(str(file)).require())
    walker = Walker(drawing, Doing(seq))
    assert walker.state == "Succeeded"
    assert Counter(walker.ran) == visited(seq)


# Switches that are not nested neatly --------------------------------------------------------------------------------


class Straying:
    """Takes each way in turn, and after some visits the first one, which leads forwards."""

    def __init__(self, onward: dict[str, tuple[str, ...]], salt: int) -> None:
        self.onward = onward
        self.salt = salt
        self.visits: Counter[str] = Counter()

    def __call__(self, step: str, index: Index) -> Outputs:
        targets = self.onward.get(step, ())
        self.visits[step] += 1
        if len(targets) < 2:
            return {}
        count = self.visits[step]
        return {"to": targets[(count * self.salt + self.salt // 3) % len(targets)] if count < 4 else targets[0]}

    def path(self) -> list[str]:
        at, out = "start", ["start"]
        while at != "end":
            at = self(at, ()).get("to") or self.onward[at][0]
            out.append(at)
        return out


@pytest.mark.slow
@given(tangles(), st.integers(0, 11))
@settings(max_examples=80)
def test_tangled_switches_and_loops(
    tmp_path_factory: pytest.TempPathFactory, onward: dict[str, tuple[str, ...]], salt: int
) -> None:
    file = tmp_path_factory.mktemp("flow") / "flow.py"
    file.write_text(tangled(onward))
    drawing = Drawing(compile_flow(str(file)).require())
    walker = Walker(drawing, Straying(onward, salt))
    assert walker.state == "Succeeded"
    assert [step for step, _ in walker.ran] == Straying(onward, salt).path()
    assert len(drawing.dags) <= len(onward) ** 2


# Failures -------------------------------------------------------------------------------------------------------------

CAUGHT = """
@step
def start(self):
    self.items = [1, 2]
    self.next(self.work, foreach="items")

@catch(var="why")
@step
def work(self):
    self.next(self.check)

@step
def check(self):
    self.way = "again"
    self.next({"again": self.more, "on": self.after}, condition="way")

@catch
@step
def more(self):
    self.next(self.after)

@catch
@step
def after(self):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
"""


@pytest.mark.parametrize("failing", ["", "work", "more", "after", "work more after", "check", "join"])
@pytest.mark.parametrize("way", ["more", "after"])
def test_a_caught_step_that_left_no_record_is_recorded_and_led_on(failing: str, way: str, write_flow: Writer) -> None:
    plan = compile_flow(str(write_flow(whole_flow(CAUGHT)))).require()
    fails = failing.split()

    def act(step: str, index: Index) -> Outputs:
        if step in fails:
            raise StepFailed
        return {"start": {"width": "2"}, "check": {"to": way}}.get(step, {})

    walker = Walker(Drawing(plan), act)
    fatal = bool({"check", "join"} & set(fails))
    assert walker.state == ("Failed" if fatal else "Succeeded")
    ran = [*walker.ran]
    assert ("end", ()) in ran or fatal
    assert (("join", ()) in ran) == (failing != "check")
    over = {name for name in fails if name in ("work", "after") or (name == "more" and way == "more")}
    expected = [] if failing == "check" else [(name, (item,)) for name in over for item in (0, 1)]
    assert sorted(walker.recorded) == sorted(expected)
    assert ran.count(("more", (0,))) == (way == "more" and failing != "check")


def test_loops_are_templates_that_call_themselves_and_nest_no_deeper_than_they_must(write_flow: Writer) -> None:
    seq = whole(Loop((Task("head"), Loop((Task("inner"),), (5,), "inner_again")), (5,), "again"))
    walker = Walker(Drawing(plan_of(seq, write_flow)), Doing(seq))
    assert Counter(walker.ran)["inner", ()] == 25
    assert walker.deepest == 1 + 5 + 5


def test_a_body_of_one_step_needs_no_template_of_its_own(write_flow: Writer) -> None:
    drawing = Drawing(plan_of(SHAPES["foreach"], write_flow))
    assert [dag.name for dag in drawing.dags] == ["main"]
    fan_out = next(task for task in drawing.dags[0].tasks if task.count)
    assert (fan_out.template, fan_out.depends) == ("work", "fan.Succeeded")
    assert fan_out.count == "{{tasks.fan.outputs.parameters.width}}"
    assert fan_out.arguments == {"index": "{{item}}"}
