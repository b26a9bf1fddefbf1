"""Merging what branches agree on, and reading their inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flowc import Config, FlowSpec, Parameter, step
from flowc.compiler.plan import Parameter as Planned
from plans import Branches, End, Foreach, Next, Plan, plan, task
from task_lab import Lab

SHAPE = plan(
    task("start", Branches(("a", "b"))),
    task("a", Next("join"), "start"),
    task("b", Next("join"), "start"),
    task("join", Next("end"), "a", "b", joins="start"),
    task("end", End(), "join"),
)
FANNED = plan(
    task("start", Foreach("a", "things")),
    task("a", Next("join"), "start", scope=("start",)),
    task("join", Next("end"), "a", joins="start"),
    task("end", End(), "join"),
)


def branches(tmp_path: Path, a: Any, b: Any, join: Any, start: Any = lambda self: None) -> Lab:
    class F(FlowSpec):
        kind = "class"

        @step
        def start(self):
            start(self)
            self.next(self.a, self.b)

        @step
        def a(self):
            a(self)
            self.next(self.join)

        @step
        def b(self):
            b(self)
            self.next(self.join)

        @step
        def join(self, inputs):
            join(self, inputs)
            self.next(self.end)

        @step
        def end(self):
            self.seen = self.kind

    lab = Lab(tmp_path, SHAPE, F)
    lab.done("start", "a", "b")
    return lab


def sets(**values: Any) -> Any:
    return lambda self: self.__dict__.update(values)


def merges(**options: Any) -> Any:
    return lambda self, inputs: self.merge_artifacts(inputs, **options)


def test_what_branches_agree_on(tmp_path: Path) -> None:
    array = np.arange(50_000)
    a = sets(only_a=1, both=[1, {"x": 2}], array=array.copy())
    b = sets(only_b=2, both=[1, {"x": 2}], array=array.copy())
    lab = branches(tmp_path, a, b, merges(), sets(same="s"))
    lab.done("join", "end")
    values = lab.values("join")
    assert np.array_equal(values.pop("array"), array)
    assert values == {"only_a": 1, "only_b": 2, "both": [1, {"x": 2}], "same": "s", "kind": "class"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"include": ["x"]}, {"x", "kind"}),
        ({"exclude": ["x", "clash"]}, {"y", "kind"}),
        ({"exclude": ["clash", "kind"]}, {"x", "y", "kind"}),
        ({"include": []}, None),
        ({"include": ["clash"]}, None),
    ],
)
def test_including_and_excluding(tmp_path: Path, options: dict[str, Any], names: Any) -> None:
    lab = branches(tmp_path, sets(x=1, clash=1), sets(y=2, clash=2), merges(**options))
    if names is None:
        failure = lab.failed("join").failure
        assert failure is not None and failure.type == "MergeConflict" and "clash: 1 in a, 2 in b" in failure.message
    else:
        lab.done("join")
        assert set(lab.values("join")) == names


def test_a_conflict_names_everything_and_both_origins(tmp_path: Path) -> None:
    lab = branches(
        tmp_path,
        sets(clash="one", long="x" * 500, fine=1, array=np.zeros(300_000)),
        sets(clash=2, long="y" * 500, fine=1, array=np.ones(300_000)),
        merges(),
    )
    failure = lab.failed("join").failure
    assert failure is not None and failure.type == "MergeConflict"
    assert "  clash: 'one' in a, 2 in b" in failure.message
    assert "  long: 'xxxx" in failure.message and "fine" not in failure.message
    assert "  array: a numpy.ndarray of 24" in failure.message
    assert max(map(len, failure.message.splitlines())) < 200
    assert "exclude it" in failure.message


def test_a_conflict_is_resolved_by_the_join(tmp_path: Path) -> None:
    def join(self: Any, inputs: Any) -> None:
        self.clash = inputs.a.clash + inputs.b.clash
        self.merge_artifacts(inputs)

    lab = branches(tmp_path, sets(clash=1, kind="changed"), sets(clash=2, kind="changed"), join)
    lab.done("join", "end")
    assert lab.value("end", "clash") == 3
    assert lab.value("end", "seen") == "changed", "what was merged is not hidden by the class"


@pytest.mark.parametrize(
    ("join", "type_name", "said"),
    [
        (merges(include=["nothing"]), "MissingArtifact", "no input has nothing"),
        (merges(include=["x"], exclude=["y"]), "BadTransition", "not both"),
        (lambda self, inputs: self.merge_artifacts([1]), "BadTransition", "the inputs of the join, not int"),
        (lambda self, inputs: inputs.a.ex, "MissingArtifact", "a has left no artifact 'ex'; did you mean x?"),
        (lambda self, inputs: inputs.a.zzz, "MissingArtifact", "no artifact 'zzz'; there is kind, x"),
        (
            lambda self, inputs: inputs.start,
            "MissingArtifact",
            "no branch ends in a step start; there is inputs.a, inputs.b",
        ),
        (lambda self, inputs: self.x, "MissingArtifact", "a join begins without artifacts; read inputs[0].x or call"),
    ],
)
def test_wrong_joins(tmp_path: Path, join: Any, type_name: str, said: str) -> None:
    lab = branches(tmp_path, sets(x=1), sets(y=1), join)
    failure = lab.failed("join").failure
    assert failure is not None and (failure.type, said in failure.message) == (type_name, True), failure.message


def test_merging_where_nothing_is_joined(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.merge_artifacts([])

    failure = Lab(tmp_path, plan(task("start", End())), F).failed("start").failure
    assert failure is not None and "which joins nothing" in failure.message


def test_merging_some_of_the_inputs(tmp_path: Path) -> None:
    lab = branches(tmp_path, sets(x=1), sets(x=2), lambda self, inputs: self.merge_artifacts([inputs[1]]))
    lab.done("join")
    assert lab.value("join", "x") == 2


class Inputs(FlowSpec):
    width = Parameter("width", type=int)
    settings = Config("settings")
    fixed = [1]

    @step
    def start(self):
        self.things = "abc"
        self.base = 10
        self.next(self.a, foreach="things")

    @step
    def a(self):
        self.mine = self.input * 2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.lists = ([i.mine for i in inputs], [i.input for i in inputs], [i.index for i in inputs], len(inputs))
        self.more = (inputs[0].width, inputs[1].settings.x, inputs[2].fixed, inputs[-1].base, bool(inputs))
        self.texts = (repr(inputs), repr(inputs[0]))
        self.reverse = [i.mine for i in reversed(inputs)]
        with pytest.raises(AttributeError, match=r"this join has one branch many times; write inputs\[0\]\.a"):
            inputs.a
        self.merge_artifacts(inputs, exclude=["mine"])
        self.next(self.end)

    @step
    def end(self):
        pass


def test_inputs_of_a_foreach(tmp_path: Path) -> None:
    shape: Plan = plan(
        *FANNED.steps, name="Inputs", parameters=(Planned("width", "int"),), configs={"settings": {"x": 5}}
    )
    lab = Lab(tmp_path, shape, Inputs, {"width": 3})
    lab.done("start", "a/0", "a/1", "a/2", "join")
    assert lab.value("join", "lists") == (["aa", "bb", "cc"], ["a", "b", "c"], [0, 1, 2], 3)
    assert lab.value("join", "more") == (3, 5, [1], 10, True)
    assert lab.value("join", "texts") == ("<3 inputs of join>", "<input a/0: base, fixed, mine, things>")
    assert lab.value("join", "reverse") == ["cc", "bb", "aa"]


def test_a_branch_that_is_missing(tmp_path: Path) -> None:
    lab = Lab(tmp_path, plan(*FANNED.steps, name="Inputs", configs={"settings": {"x": 5}}), Inputs, {"width": 3})
    lab.done("start", "a/0", "a/2")
    lab.task("join", code=2)
    assert "no record says that a/1 is done and leads here" in lab.err
