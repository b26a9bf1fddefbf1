"""``merge_artifacts`` and what joins see of their inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flow_checks import assert_as_reference
from flow_reference import Reference
from flow_shapes import CROSSED, SHAPES
from flow_target import Target
from flow_text import FlowText

pytestmark = pytest.mark.slow

WriteFlow = Callable[..., Path]


@pytest.mark.parametrize("shape", CROSSED)
def test_what_all_inputs_agree_on_comes_through_every_join(shape: str, target: Target, write_flow: WriteFlow) -> None:
    flow = FlowText(SHAPES[shape]).put("start", (), ["self.agreed, self.here_first = {'x': [1, 2]}, self.here"])
    joins = [step for step, text in flow.steps.items() if text.join]
    take_over = (
        "if len(inputs):\n    self.merge_artifacts(inputs, include=['agreed'])\n"
        "else:\n    self.agreed = {'x': [1, 2]}  # a foreach over nothing"
    )
    for join in joins:
        flow.put(join, (), [take_over])
    run = target.run(write_flow(flow.text()))
    reference = Reference(SHAPES[shape])
    assert_as_reference(run, reference)
    (end,) = (address for address, visit in reference.visits.items() if visit.step == "end")
    assert run.artifact(end, "agreed") == {"x": [1, 2]}
    # What no join has taken over is not there.
    assert ("here_first" in run.record(end).artifacts) == (not joins)


MERGE = """
from DSL import FlowSpec, step

class MergeFlow(FlowSpec):
    @step
    def start(self):
        self.same = {"x": [1, 2]}
        self.changed = 0
        self.next(self.a, self.b)

    @step
    def a(self):
        self.only_a = "A"
        self.both = (1, "x")
        self.clash = 1
        self.changed = 1
        self.next(self.join)

    @step
    def b(self):
        self.only_b = "B"
        self.both = (1, "x")
        self.clash = 2
        self.changed = 2
        self.next(self.join)

    @step
    def join(self, inputs):
        MERGE
        self.next(self.end)

    @step
    def end(self):
        self.left = sorted(n for n in ("same", "only_a", "only_b", "both", "clash", "changed") if hasattr(self, n))

if __name__ == "__main__":
    MergeFlow()
"""


@pytest.mark.parametrize(
    ("merge", "left"),
    [
        ("self.merge_artifacts(inputs, exclude=['clash', 'changed'])", ["both", "only_a", "only_b", "same"]),
        ("self.merge_artifacts(inputs, include=['same', 'only_b'])", ["only_b", "same"]),
        (
            "self.clash = 3; self.changed = inputs.a.changed + inputs.b.changed; self.merge_artifacts(inputs)",
            ["both", "changed", "clash", "only_a", "only_b", "same"],
        ),
        ("self.merge_artifacts([inputs.a])", ["both", "changed", "clash", "only_a", "same"]),
        ("pass", []),
    ],
)
def test_merge(merge: str, left: list[str], target: Target, write_flow: WriteFlow) -> None:
    run = target.run(write_flow(MERGE.replace("MERGE\n", merge + "\n")))
    assert run.artifact("end", "left") == left
    artifacts = run.artifacts("end")
    expected = {"same": {"x": [1, 2]}, "only_a": "A", "only_b": "B", "both": (1, "x")}
    for name in set(left) & set(expected):
        assert artifacts[name] == expected[name]
    if "self.clash" in merge:
        assert (artifacts["clash"], artifacts["changed"]) == (3, 3)


def test_a_conflict_names_both_origins(target: Target, write_flow: WriteFlow) -> None:
    run = target.run(write_flow(MERGE.replace("MERGE\n", "self.merge_artifacts(inputs)\n")), expect="failed")
    said = run.status["failure"]["message"]
    assert run.status["failure"]["type"] == "MergeConflict"
    for name in ("clash", "changed"):
        assert name in said
    assert "a" in said.split() or "a/" in said or "'a'" in said or "a)" in said or "a," in said
    assert "both" not in said.split("'")


@pytest.mark.parametrize(
    ("merge", "said"),
    [
        ("self.merge_artifacts(inputs, include=['smae'])", "smae"),
        ("self.merge_artifacts(inputs, include=['same'], exclude=['both'])", "not both"),
    ],
)
def test_wrong_merges_are_explained(merge: str, said: str, target: Target, write_flow: WriteFlow) -> None:
    run = target.run(write_flow(MERGE.replace("MERGE\n", merge + "\n")), expect="failed")
    assert said in run.status["failure"]["message"]
    assert said in run.finished.said


INPUTS = """
from DSL import FlowSpec, step

class InputsFlow(FlowSpec):
    @step
    def start(self):
        self.base = 10
        self.next(self.zulu, self.alpha)

    @step
    def zulu(self):
        self.mine = "z"
        self.next(self.join)

    @step
    def alpha(self):
        self.mine = "a"
        self.items = (n for n in (5, 6, 7))
        self.next(self.work, foreach="items")

    @step
    def work(self):
        self.mine = (self.input, self.index)
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.got = [i.mine for i in inputs], len(inputs), inputs[1].mine, inputs[-1].mine
        self.got += ([i.index for i in inputs], [i.input for i in inputs], inputs[0].base)
        self.mine = "gathered"
        self.next(self.join)

    @step
    def join(self, inputs):
        self.got = [i.mine for i in inputs], inputs.zulu.mine, inputs.gather.mine, len(inputs), inputs[0].base
        try:
            inputs.zulu.mien
        except AttributeError as error:
            self.missing = str(error)
        try:
            self.base
        except AttributeError as error:
            self.gone = str(error)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    InputsFlow()
"""


@pytest.mark.parametrize("dsl", ["flowc", "metaflow"])
def test_inputs_by_order_index_and_name(dsl: str, target: Target, write_flow: WriteFlow) -> None:
    # A generator is no artifact that can be kept, so the foreach list must be one.
    text = INPUTS.replace("(n for n in (5, 6, 7))", "[5, 6, 7]")
    run = target.run(write_flow(text, dsl=dsl))
    mine = [(5, 0), (6, 1), (7, 2)]
    assert run.artifact("gather", "got") == (mine, 3, (6, 1), (7, 2), [0, 1, 2], [5, 6, 7], 10)
    assert run.artifact("join", "got") == (["z", "gathered"], "z", "gathered", 2, 10)
    assert "mine" in run.artifact("join", "missing")
    assert "base" in run.artifact("join", "gone")


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ("range(3)", [0, 1, 2]),
        ("'abc'", ["a", "b", "c"]),
        ("{'k': 1, 'l': 2}", ["k", "l"]),
        ("{7}", [7]),
        ("(1, None, 'x')", [1, None, "x"]),
        ("[]", []),
        ("__import__('numpy').arange(3.0)", [0.0, 1.0, 2.0]),
    ],
)
def test_what_a_foreach_goes_over(items: str, expected: list[object], target: Target, write_flow: WriteFlow) -> None:
    text = (
        INPUTS.replace("(n for n in (5, 6, 7))", items)
        .replace(
            "self.got = [i.mine for i in inputs], len(inputs), inputs[1].mine, inputs[-1].mine",
            "self.got = ([i.mine[0] for i in inputs],)",
        )
        .replace("self.got += ([i.index for i in inputs], [i.input for i in inputs], inputs[0].base)", "pass")
    )
    assert target.run(write_flow(text)).artifact("gather", "got") == (expected,)


RANKS = """
from DSL import FlowSpec, Parameter, current, parallel, step

class RanksFlow(FlowSpec):
    ranks = Parameter("ranks", default=2)

    @step
    def start(self):
        self.shared = "s"
        self.next(self.train, num_parallel=self.ranks)

    @parallel
    @step
    def train(self):
        p = current.parallel
        self.facts = (p.node_index, p.num_nodes, p.main_ip, current.is_parallel, self.shared)
        self.control = p.control_task_id
        print("rank", p.node_index)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.all = [i.facts for i in inputs]
        self.merge_artifacts(inputs, exclude=["facts", "control"])
        self.next(self.end)

    @step
    def end(self):
        self.plain = current.is_parallel

if __name__ == "__main__":
    RanksFlow()
"""


@pytest.mark.parametrize("ranks", [1, 3])
def test_the_ranks_of_a_gang_in_order(ranks: int, target: Target, write_flow: WriteFlow) -> None:
    run = target.run(write_flow(RANKS), params={"ranks": ranks})
    host = run.artifact("join", "all")[0][2]
    assert run.artifact("join", "all") == [(rank, ranks, host, True, "s") for rank in range(ranks)]
    assert len({run.artifact(f"train/{rank}", "control") for rank in range(ranks)}) == 1
    assert [run.log(f"train/{rank}", "stdout") for rank in range(ranks)] == [f"rank {n}\n" for n in range(ranks)]
    assert run.artifact("end", "shared") == "s"
    assert run.artifact("end", "plain") is False


@pytest.mark.parametrize("ranks", [0, -2])
def test_a_gang_of_nobody_is_refused(ranks: int, target: Target, write_flow: WriteFlow) -> None:
    run = target.run(write_flow(RANKS), params={"ranks": ranks}, expect="failed")
    assert run.status["failure"]["address"] == "start"
    assert "num_parallel" in run.status["failure"]["message"]
    assert str(ranks) in run.status["failure"]["message"]
