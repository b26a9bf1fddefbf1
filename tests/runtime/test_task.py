"""Flows run task by task: what each task finds, leaves and says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flowc import FlowSpec, current, step
from flowc.runtime.address import Address
from flowc.runtime.record import Next as Onward
from flowc.runtime.task import GangPlace
from plans import (
    BRANCHES,
    GANG_IN_FOREACH,
    LINE,
    LOOP,
    LOOP_IN_FOREACH,
    NESTED,
    Branches,
    End,
    Foreach,
    Gang,
    Next,
    Switch,
    plan,
    task,
)
from task_lab import Lab


def test_artifacts_go_from_step_to_step(tmp_path: Path) -> None:
    class F(FlowSpec):
        rate = 0.5
        names = ["a"]

        @step
        def start(self):
            self.x = 1
            self.big = np.arange(100_000.0)
            self.names.append("b")
            self.next(self.middle)

        @step
        def middle(self):
            self.x += 1
            self.rate = 0.25
            self.gone = 1
            del self.gone
            self.next(self.end)

        @step
        def end(self):
            self.seen = (self.x, self.rate, self.names, float(self.big[-1]))

    lab = Lab(tmp_path, LINE, F)
    start = lab.done("start")
    assert start.next == Onward("next", ("middle",))
    F.names = ["another process has another class attribute"]
    end = lab.done("middle", "end")
    assert lab.value("end", "seen") == (2, 0.25, ["a", "b"], 99_999.0)
    assert end.next == Onward("end") and end.attempt == 0 and end.started <= end.finished
    assert set(end.artifacts) == {"x", "big", "names", "rate", "seen"}
    for name in ("big", "names"):
        assert end.artifacts[name] == start.artifacts[name], "what no step changes is the same reference"
    assert lab.value("start", "x") == 1 and lab.value("start", "rate") == 0.5


def test_changes_in_place_are_kept_and_do_not_reach_back(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.items = {"a": [1]}
            self.array = np.zeros(100_000)
            self.next(self.middle)

        @step
        def middle(self):
            self.items["a"].append(2)
            self.array[3] = 5
            self.next(self.end)

        @step
        def end(self):
            pass

    lab = Lab(tmp_path, LINE, F)
    lab.done("start", "middle", "end")
    assert (lab.value("start", "items"), lab.value("end", "items")) == ({"a": [1]}, {"a": [1, 2]})
    assert (lab.value("start", "array")[3], lab.value("end", "array")[3]) == (0, 5)


def test_what_a_step_deletes_is_gone(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.secret = "s"
            self.next(self.middle)

        @step
        def middle(self):
            assert self.secret == "s"
            del self.secret
            self.next(self.end)

        @step
        def end(self):
            self.there = hasattr(self, "secret")

    lab = Lab(tmp_path, LINE, F)
    lab.done("start", "middle", "end")
    assert lab.values("end") == {"there": False}


class Nested(FlowSpec):
    @step
    def start(self):
        self.things = ["x", "y"]
        self.next(self.outer, foreach="things")

    @step
    def outer(self):
        self.seen = [(self.input, self.index)]
        self.parts = range(3) if self.input == "x" else []
        self.next(self.inner, foreach="parts")

    @step
    def inner(self):
        self.mine = (self.input, self.index, self.foreach_stack(), self.seen)
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.all = [i.mine[:2] for i in inputs]
        self.of_inputs = [(i.index, i.input) for i in inputs]
        self.place = (self.input, self.index, self.foreach_stack(), len(inputs))
        self.next(self.join)

    @step
    def join(self, inputs):
        self.all = [i.all for i in inputs]
        self.outside = (self.input, self.index, self.foreach_stack())
        self.next(self.end)

    @step
    def end(self):
        pass


def test_a_foreach_in_a_foreach(tmp_path: Path) -> None:
    lab = Lab(tmp_path, plan(*NESTED.steps, name="Nested"), Nested)
    start = lab.done("start")
    assert start.next is not None and start.next.width == 2 and start.next.items is not None
    lab.done("outer/1", "outer/0", "inner/0.2", "inner/0.1", "inner/0.0", "gather/0", "gather/1", "join", "end")
    assert lab.value("inner/0.1", "mine") == (1, 1, [(0, 2, "x"), (1, 3, 1)], [("x", 0)])
    assert lab.value("gather/0", "all") == [(0, 0), (1, 1), (2, 2)]
    assert lab.value("gather/0", "of_inputs") == [(0, 0), (1, 1), (2, 2)]
    assert lab.value("gather/0", "place") == ("x", 0, [(0, 2, "x")], 3)
    assert lab.value("gather/1", "place") == ("y", 1, [(1, 2, "y")], 0), "a foreach over nothing is joined all the same"
    assert lab.value("join", "all") == [[(0, 0), (1, 1), (2, 2)], []]
    assert lab.value("join", "outside") == (None, None, [])
    empty = lab.records.read(Address("outer", (1,)))
    assert empty is not None and empty.next == Onward("foreach", ("inner",), 0)


def test_a_join_begins_without_artifacts(tmp_path: Path) -> None:
    class F(FlowSpec):
        constant = 1

        @step
        def start(self):
            self.things = "ab"
            self.next(self.body, foreach="things")

        @step
        def body(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.there = hasattr(self, "things")
            self.merge_artifacts(inputs[:0])
            self.next(self.end)

        @step
        def end(self):
            pass

    shape = plan(
        task("start", Foreach("body", "things")),
        task("body", Next("join"), "start", scope=("start",)),
        task("join", Next("end"), "body", joins="start"),
        task("end", End(), "join"),
    )
    lab = Lab(tmp_path, shape, F)
    lab.done("start", "body/0", "body/1", "join")
    assert lab.values("join") == {"there": False, "constant": 1}


def test_a_join_of_many_reads_only_what_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    class F(FlowSpec):
        @step
        def start(self):
            self.things = list(range(10_000))
            self.next(self.body, foreach="things")

        @step
        def body(self):
            self.y = self.input * 2
            self.next(self.join)

        @step
        def join(self, inputs):
            self.got = (len(inputs), inputs[0].y, inputs[-1].y, inputs[4:6][1].y)
            self.next(self.end)

        @step
        def end(self):
            pass

    shape = plan(
        task("start", Foreach("body", "things")),
        task("body", Next("join"), "start", scope=("start",)),
        task("join", Next("end"), "body", joins="start"),
        task("end", End(), "join"),
    )
    lab = Lab(tmp_path, shape, F)
    lab.done("start", *(f"body/{i}" for i in (0, 4, 5, 9999)))
    real = lab.datastore.read
    monkeypatch.setattr(lab.datastore, "read", lambda key: read.append(key) or real(key))
    lab.done("join")
    assert lab.value("join", "got") == (10_000, 0, 19_998, 10)
    assert len([key for key in read if "/body/" in key]) == 4


def test_branches_and_a_switch(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.next(self.a, self.b)

        @step
        def a(self):
            self.way = "y"
            self.next({"x": self.x, "y": self.y}, condition="way")

        @step
        def x(self):
            self.v = "x"
            self.next(self.join)

        @step
        def y(self):
            self.v = "y"
            self.next(self.join)

        @step
        def b(self):
            self.v = "b"
            self.next(self.join)

        @step
        def join(self, inputs):
            self.got = [i.v for i in inputs], inputs.y.v, inputs.b.v, inputs[0].index, inputs[1].input
            with pytest.raises(AttributeError, match="this run went through y instead of x"):
                inputs.x
            with pytest.raises(
                AttributeError, match=r"no branch ends in a step a; there is inputs\.x, inputs\.y, inputs\.b"
            ):
                inputs.a
            with pytest.raises(IndexError, match="has 2 inputs"):
                inputs[2]
            self.next(self.end)

        @step
        def end(self):
            pass

    lab = Lab(tmp_path, BRANCHES, F)
    assert lab.done("start").next == Onward("branches", ("a", "b"))
    assert lab.done("a").next == Onward("switch", ("y",), case="y")
    lab.done("y", "b", "join", "end")
    assert lab.value("join", "got") == (["y", "b"], "y", "b", None, None)
    lab.task("x", code=2)
    assert "no record says that a is done and leads here" in lab.err


def test_a_step_that_is_entered_again(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.n = 0
            self.next(self.try_)

        @step
        def try_(self):
            self.n += 1
            self.next(self.judge)

        @step
        def judge(self):
            self.good = "yes" if self.n == 3 else "no"
            self.next({"yes": self.end, "no": self.try_}, condition="good")

        @step
        def end(self):
            self.path = current.pathspec

    lab = Lab(tmp_path, LOOP, F)
    lab.done("start", "try_", "judge", "try_@2")
    assert lab.done("judge@2").next == Onward("switch", ("try_",), round=3, case="no")
    assert lab.done("try_@3", "judge@3").next == Onward("switch", ("end",), case="yes")
    lab.done("end")
    assert lab.values("end") == {"n": 3, "good": "yes", "path": "F/1/end/_"}
    assert lab.value("try_@2", "n") == 2
    lab.task("try_@9", code=2)


def test_loops_of_different_length_in_a_foreach(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.n = 0
            self.things = [1, 3, 2]
            self.next(self.work, foreach="things")

        @step
        def work(self):
            self.n += 1
            self.more = self.n < self.input
            self.next({True: self.work, False: self.leave}, condition="more")

        @step
        def leave(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.all = [(i.n, i.input, i.index) for i in inputs]
            self.next(self.end)

        @step
        def end(self):
            pass

    lab = Lab(tmp_path, LOOP_IN_FOREACH, F)
    lab.done("start", "work/0", "work/1", "work/2", "work@2/1", "work@2/2", "work@3/1")
    lab.done("leave/0", "leave/1", "leave/2", "join")
    assert lab.value("join", "all") == [(1, 1, 0), (3, 3, 1), (2, 2, 2)]


def test_branches_of_different_length_in_a_loop(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.n = self.rounds = 0
            self.next(self.s)

        @step
        def s(self):
            self.next(self.a, self.b)

        @step
        def a(self):
            self.n += 1
            self.again = "yes" if self.n == 1 else "no"
            self.next({"yes": self.a, "no": self.a2}, condition="again")

        @step
        def a2(self):
            self.next(self.j)

        @step
        def b(self):
            self.mark = f"b of {self.rounds}"
            self.next(self.j)

        @step
        def j(self, inputs):
            self.got = (inputs.a2.n, inputs.b.mark)
            self.n, self.rounds = inputs.a2.n, inputs.b.rounds + 1
            self.next(self.c)

        @step
        def c(self):
            self.more = "yes" if self.rounds < 2 else "no"
            self.next({"yes": self.s, "no": self.end}, condition="more")

        @step
        def end(self):
            pass

    inside = {"loop": "s"}
    shape = plan(
        task("start", Next("s")),
        task("s", Branches(("a", "b")), ("start", "c"), **inside),
        task("a", Switch("again", (("yes", "a"), ("no", "a2"))), ("s", "a"), repeats=("a",), **inside),
        task("a2", Next("j"), "a", **inside),
        task("b", Next("j"), "s", **inside),
        task("j", Next("c"), "a2", "b", joins="s", **inside),
        task("c", Switch("more", (("yes", "s"), ("no", "end"))), "j", repeats=("s",), **inside),
        task("end", End(), "c"),
    )
    lab = Lab(tmp_path, shape, F)
    lab.done("start", "s", "a", "a@2", "b", "a2@2", "j@2")
    assert lab.value("j@2", "got") == (2, "b of 0")
    assert lab.done("c@2").next == Onward("switch", ("s",), round=3, case="yes")
    lab.done("s@3", "b@3", "a@3", "a2@3", "j@3", "c@3", "end")
    assert lab.value("end", "got") == (3, "b of 1")
    lab.done("j@2")
    assert lab.value("j@2", "got") == (2, "b of 0"), "a later round does not change what an earlier one sees"


def test_a_foreach_in_a_loop(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.things = ["a", "b", "c"]
            self.next(self.s)

        @step
        def s(self):
            self.things = self.things[1:]
            self.next(self.w, foreach="things")

        @step
        def w(self):
            self.mine = (self.input, self.foreach_stack())
            self.next(self.j)

        @step
        def j(self, inputs):
            self.all = [i.mine for i in inputs]
            self.merge_artifacts(inputs, include=["things"])
            self.next(self.c)

        @step
        def c(self):
            self.more = len(self.things) > 1
            self.next({True: self.s, False: self.end}, condition="more")

        @step
        def end(self):
            pass

    inside = {"loop": "s"}
    shape = plan(
        task("start", Next("s")),
        task("s", Foreach("w", "things"), ("start", "c"), **inside),
        task("w", Next("j"), "s", scope=("s",), **inside),
        task("j", Next("c"), "w", joins="s", **inside),
        task("c", Switch("more", (("True", "s"), ("False", "end"))), "j", repeats=("s",), **inside),
        task("end", End(), "c"),
    )
    lab = Lab(tmp_path, shape, F)
    lab.done("start", "s", "w/0", "w/1", "j", "c", "s@2", "w@2/0", "j@2", "c@2", "end")
    assert lab.value("j", "all") == [("b", [(0, 2, "b")]), ("c", [(1, 2, "c")])]
    assert lab.value("end", "all") == [("c", [(0, 1, "c")])]


class Ganged(FlowSpec):
    @step
    def start(self):
        self.things = ["p", "q"]
        self.next(self.open, foreach="things")

    @step
    def open(self):
        self.mine = self.input
        self.next(self.train, num_parallel=np.int64(2))

    @step
    def train(self):
        place = current.parallel
        self.got = (place.node_index, place.num_nodes, place.main_ip, place.control_task_id, current.is_parallel)
        self.at = (self.index, self.input, self.foreach_stack(), self.mine)
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.ranks = [i.got[0] for i in inputs]
        self.at = (self.index, self.input, current.is_parallel)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


def test_a_gang_in_a_foreach(tmp_path: Path) -> None:
    lab = Lab(tmp_path, plan(*GANG_IN_FOREACH.steps, name="Ganged"), Ganged)
    opened = lab.done("start", "open/1")
    assert opened.next == Onward("gang", ("train",), 2)
    for rank in (1, 0):
        record = lab.task(f"train/1.{rank}", gang=GangPlace(rank, 2, "10.0.0.1", 5))
        assert record is not None and (record.rank, record.size) == (rank, 2)
    assert lab.value("train/1.1", "got") == (1, 2, "10.0.0.1", "1.0", True)
    assert lab.value("train/1.1", "at") == (1, 1, [(1, 2, "q"), (1, 2, 1)], "q")
    assert lab.done("gather/1").rank is None
    assert lab.value("gather/1", "ranks") == [0, 1]
    assert lab.value("gather/1", "at") == (1, "q", False)


def test_a_rank_alone(tmp_path: Path) -> None:
    lab = Lab(tmp_path, plan(*GANG_IN_FOREACH.steps, name="Ganged"), Ganged)
    lab.done("start", "open/0", "train/0.0")
    assert lab.value("train/0.0", "got")[:2] == (0, 1)
    lab.task("train/0.1", code=2)
    assert "nothing says how large the gang is" in lab.err
    lab.task("train/0.1", code=2, gang=GangPlace(0, 2))
    assert "was started as rank 0" in lab.err


def test_class_attributes_set_by_init_do_not_hide_artifacts(tmp_path: Path) -> None:
    class F(FlowSpec):
        def __init__(self, use_cli: bool = True) -> None:
            super().__init__(use_cli)
            self.counter = 0

        @step
        def start(self):
            self.counter += 1
            self.next(self.middle)

        @step
        def middle(self):
            self.counter += 1
            self.next(self.end)

        @step
        def end(self):
            pass

    lab = Lab(tmp_path, LINE, F)
    lab.done("start", "middle", "end")
    assert lab.values("end") == {"counter": 2}


def test_the_environment_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.seen = os.environ["FLOW_TEST_COLOUR"]
            self.next(self.end)

        @step
        def end(self):
            pass

    monkeypatch.setenv("FLOW_TEST_COLOUR", "none")
    shape = plan(task("start", Next("end"), env={"FLOW_TEST_COLOUR": "blue"}), task("end", End(), "start"))
    lab = Lab(tmp_path, shape, F)
    lab.done("start")
    assert lab.value("start", "seen") == "blue"


def test_steps_of_base_classes_and_decorated_steps(tmp_path: Path) -> None:
    def loud(function: Any) -> Any:
        def wrapper(self: Any) -> None:
            print("before")
            function(self)

        return wrapper

    class Base(FlowSpec):
        kind = "base"

        @step
        def start(self):
            self.x = self.kind
            self.next(self.middle)

        @step
        def middle(self):
            self.next(self.end)

        @step
        def end(self):
            pass

    class F(Base):
        kind = "derived"

        @step
        @loud
        def middle(self):
            self.y = self.x * 2
            self.next(self.end)

    lab = Lab(tmp_path, LINE, F)
    lab.done("start", "middle")
    assert lab.out == "before\n"
    lab.done("end")
    assert lab.values("end") == {"kind": "derived", "x": "derived", "y": "derivedderived"}


def test_the_last_attempt_that_is_done_counts(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.attempt = current.retry_count
            if current.retry_count in (0, 2):
                raise RuntimeError("not now")
            self.next(self.middle)

        @step
        def middle(self):
            self.next(self.end)

        @step
        def end(self):
            pass

    lab = Lab(tmp_path, LINE, F)
    lab.failed("start", 0)
    lab.task("middle", code=2)
    lab.task("start", 1)
    lab.failed("start", 2)
    lab.done("middle")
    assert lab.values("middle") == {"attempt": 1}


def test_a_split_that_leads_straight_to_two_branches_of_one_name(tmp_path: Path) -> None:
    """A foreach in one branch beside another branch, joined together."""

    class F(FlowSpec):
        @step
        def start(self):
            self.next(self.many, self.one)

        @step
        def many(self):
            self.things = (1, 2)
            self.next(self.each, foreach="things")

        @step
        def each(self):
            self.next(self.gather)

        @step
        def gather(self, inputs):
            self.v = sum(i.input for i in inputs)
            self.next(self.join)

        @step
        def one(self):
            self.v = 10
            self.next(self.join)

        @step
        def join(self, inputs):
            self.sum = inputs.gather.v + inputs.one.v
            self.next(self.end)

        @step
        def end(self):
            pass

    shape = plan(
        task("start", Branches(("many", "one"))),
        task("many", Foreach("each", "things"), "start"),
        task("each", Next("gather"), "many", scope=("many",)),
        task("gather", Next("join"), "each", joins="many"),
        task("one", Next("join"), "start"),
        task("join", Next("end"), "gather", "one", joins="start"),
        task("end", End(), "join"),
    )
    lab = Lab(tmp_path, shape, F)
    lab.done("start", "one", "many", "each/0", "each/1", "gather", "join")
    assert lab.value("join", "sum") == 13


def test_a_gang_as_wide_as_a_parameter(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.next(self.end, num_parallel=3)

        @step
        def end(self):
            pass

    shape = plan(
        task("start", Gang("end", parameter="ranks")), task("end", End(), "start", scope=("start",), kind="gang")
    )
    assert Lab(tmp_path, shape, F, {"ranks": 3}).done("start").next == Onward("gang", ("end",), 3)
    failure = Lab(tmp_path, shape, F, {"ranks": 4}).failed("start").failure
    assert failure is not None and "asks for 3 ranks, but the flow was planned with 4" in failure.message
