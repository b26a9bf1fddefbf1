"""Which tasks become ready when: tables for each shape of flow, and random flows against a model."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter

import pytest
from flowc.backends.local.ready import ReadyQueue, fits
from flowc.compiler.plan import Branches, End, Foreach, Gang, Plan, Step, Switch
from flowc.compiler.plan import Next as To
from flowc.runtime.address import Address
from flowc.runtime.frontier import Family, Frontier
from flowc.runtime.outline import Outline
from flowc.runtime.record import Next
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import Lowering, Model, next_of, random_blocks


def frontier(*steps: Step) -> Frontier:
    return Frontier(Outline.from_plan(Plan("F", steps[0].name, steps[-1].name, steps).to_json()))


def at(text: str) -> Address:
    return Address.parse(text)


def ready(families: list[Family]) -> list[str]:
    return [str(address) for family in families for address in family.addresses()]


def to(*names: str, round: int = 1, kind: str = "next") -> Next:
    return Next(kind, names, None, round)


def fan(name: str, width: int, kind: str = "foreach", round: int = 1) -> Next:
    return Next(kind, (name,), width, round)


FOREACH = (
    Step("start", "task", Foreach("x", "items")),
    Step("x", "task", To("join"), (("start",),), None, ("start",)),
    Step("join", "task", To("end"), (("x",),), "start"),
    Step("end", "task", End(), (("join",),)),
)
BRANCHES = (
    Step("start", "task", Branches(("a", "b"))),
    Step("a", "task", Switch("v", (("1", "c"), ("2", "d"))), (("start",),)),
    Step("b", "task", To("join"), (("start",),)),
    Step("c", "task", To("join"), (("a",),)),
    Step("d", "task", To("join"), (("a",),)),
    Step("join", "task", To("end"), (("c", "d"), ("b",)), "start"),
    Step("end", "task", End(), (("join",),)),
)


def test_a_linear_flow_goes_from_step_to_step():
    f = frontier(Step("start", "task", To("end")), Step("end", "task", End(), (("start",),)))
    assert ready([f.begin()]) == ["start"]
    assert ready(f.done(at("start"), to("end"))) == ["end"]
    assert not f.ended
    assert f.done(at("end"), to(kind="end")) == []
    assert f.ended


def test_a_foreach_is_joined_after_its_last_item_whatever_the_order():
    f = frontier(*FOREACH)
    (family,) = f.done(at("start"), fan("x", 3))
    assert (family.size, ready([family])) == (3, ["x/0", "x/1", "x/2"])
    assert f.done(at("x/2"), to("join")) == []
    assert f.done(at("x/0"), to("join")) == []
    assert f.waiting == [("join", ())]
    assert ready(f.done(at("x/1"), to("join"))) == ["join"]
    assert f.waiting == []


def test_a_foreach_over_nothing_goes_straight_to_its_join():
    assert ready(frontier(*FOREACH).done(at("start"), fan("x", 0))) == ["join"]


def test_a_foreach_of_a_million_is_one_object():
    (family,) = frontier(*FOREACH).done(at("start"), fan("x", 1_000_000))
    assert family.size == 1_000_000
    assert str(family.address(999_999)) == "x/999999"


def test_a_branch_may_arrive_by_either_side_of_a_switch():
    for side in "cd":
        f = frontier(*BRANCHES)
        assert ready(f.done(at("start"), to("a", "b", kind="branches"))) == ["a", "b"]
        assert ready(f.done(at("a"), to(side, kind="switch"))) == [side]
        assert f.done(at(side), to("join")) == []
        assert ready(f.done(at("b"), to("join"))) == ["join"]


def test_nested_foreach_joins_each_outer_item_by_itself():
    f = frontier(
        Step("start", "task", Foreach("a", "xs")),
        Step("a", "task", Foreach("b", "ys"), (("start",),), None, ("start",)),
        Step("b", "task", To("inner"), (("a",),), None, ("start", "a")),
        Step("inner", "task", To("outer"), (("b",),), "a", ("start",)),
        Step("outer", "task", To("end"), (("inner",),), "start"),
        Step("end", "task", End(), (("outer",),)),
    )
    f.done(at("start"), fan("a", 2))
    assert ready(f.done(at("a/1"), fan("b", 2))) == ["b/1.0", "b/1.1"]
    assert ready(f.done(at("a/0"), fan("b", 1))) == ["b/0.0"]
    assert f.done(at("b/1.1"), to("inner")) == []
    assert ready(f.done(at("b/0.0"), to("inner"))) == ["inner/0"]
    assert ready(f.done(at("b/1.0"), to("inner"))) == ["inner/1"]
    assert f.done(at("inner/1"), to("outer")) == []
    assert ready(f.done(at("inner/0"), to("outer"))) == ["outer"]


def test_a_gang_is_one_family_that_starts_together():
    f = frontier(
        Step("start", "task", Gang("g")),
        Step("g", "gang", To("join"), (("start",),), None, ("start",)),
        Step("join", "task", To("end"), (("g",),), "start"),
        Step("end", "task", End(), (("join",),)),
    )
    (family,) = f.done(at("start"), fan("g", 2, "gang"))
    assert family.gang
    assert f.done(at("g/1"), to("join")) == []
    assert ready(f.done(at("g/0"), to("join"))) == ["join"]


def test_a_loop_counts_rounds_and_leaves_them():
    f = frontier(
        Step("start", "task", To("a")),
        Step("a", "task", Switch("go", (("1", "a"), ("0", "end"))), (("start", "a"),), None, (), "a", ("a",)),
        Step("end", "task", End(), (("a",),)),
    )
    assert ready(f.done(at("start"), to("a"))) == ["a"]
    assert ready(f.done(at("a"), to("a", kind="switch", round=2))) == ["a@2"]
    assert ready(f.done(at("a@2"), to("end", kind="switch"))) == ["end"]


def test_branches_in_a_loop_join_once_a_round_in_the_highest_round_of_their_own_loops():
    f = frontier(
        Step("start", "task", To("split")),
        Step("split", "task", Branches(("a", "b")), (("start", "join"),), None, (), "split"),
        Step("a", "task", Switch("go", (("1", "a"), ("0", "join"))), (("split", "a"),), None, (), "split", ("a",)),
        Step("b", "task", To("join"), (("split",),), None, (), "split"),
        Step(
            "join", "task", Switch("go", (("1", "split"), ("0", "end"))), (("a",), ("b",)), "split", (), "split",
            ("split",),
        ),
        Step("end", "task", End(), (("join",),)),
    )  # fmt: skip
    assert ready(f.done(at("split"), to("a", "b", kind="branches"))) == ["a", "b"]
    assert f.done(at("b"), to("join")) == []
    assert ready(f.done(at("a"), to("a", kind="switch", round=2))) == ["a@2"]
    assert ready(f.done(at("a@2"), to("join", kind="switch", round=2))) == ["join@2"]
    assert ready(f.done(at("join@2"), to("split", kind="switch", round=3))) == ["split@3"]
    assert ready(f.done(at("split@3"), to("a", "b", kind="branches", round=3))) == ["a@3", "b@3"]
    assert f.done(at("a@3"), to("join", kind="switch", round=3)) == []
    assert ready(f.done(at("b@3"), to("join", round=3))) == ["join@3"]


def test_only_what_comes_from_cloned_tasks_alone_is_cloned():
    f = frontier(*BRANCHES)
    assert f.begin().cloned
    assert [family.cloned for family in f.done(at("start"), to("a", "b", kind="branches"), cloned=True)] == [True, True]
    f.done(at("b"), to("join"), cloned=True)
    (c,) = f.done(at("a"), to("c", kind="switch"), cloned=False)
    assert not c.cloned
    (join,) = f.done(at("c"), to("join"), cloned=False)
    assert not join.cloned


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 3))
def test_random_flows_visit_every_address_once_in_an_order_that_they_allow(seed: int, depth: int):
    rng = random.Random(seed)
    blocks = random_blocks(rng, depth, [0])

    def decide(address: Address, below: int) -> int:
        return random.Random(f"{seed} {address}").randrange(below)

    model = Model(decide)
    model.run(blocks)
    plan = Lowering().plan(blocks)
    outline = Outline.from_plan(plan.to_json())
    f = Frontier(outline)
    todo = list(f.begin().addresses())
    visited: list[Address] = []
    seen: set[Address] = set()
    while todo:
        address = todo.pop(rng.randrange(len(todo)))
        assert all(before in seen for before in model.before.get(address, ())), address
        visited.append(address)
        seen.add(address)
        for family in f.done(address, next_of(outline, address, decide)):
            todo += family.addresses()
    assert f.ended
    assert f.waiting == []
    assert Counter(visited) == Counter(model.visits)


def test_ten_thousand_tasks_with_a_fan_out_each_take_less_than_a_kilobyte_each():
    f = frontier(
        Step("start", "task", Foreach("a", "xs")),
        Step("a", "task", Foreach("b", "ys"), (("start",),), None, ("start",)),
        Step("b", "task", To("inner"), (("a",),), None, ("start", "a")),
        Step("inner", "task", To("outer"), (("b",),), "a", ("start",)),
        Step("outer", "task", To("end"), (("inner",),), "start"),
        Step("end", "task", End(), (("outer",),)),
    )
    queue = ReadyQueue()
    tracemalloc.start()
    try:
        queue.push(f.done(at("start"), fan("a", 10_000))[0])
        while (head := queue.head()) is not None and head[0].step == "a":
            queue.pop()
            queue.push(f.done(head[0].address(head[1]), fan("b", 3))[0])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(f.waiting) == 10_001
    assert len(queue) == 30_000
    assert held / 10_000 < 1000


# The queue -----------------------------------------------------------------------------------------------------------


def family(step: str, width: int | None, gang: bool = False) -> Family:
    return Family(step, (), width, 1, gang, False)


def test_the_queue_gives_out_tasks_one_by_one_and_gangs_whole():
    queue = ReadyQueue()
    for item in (family("a", 2), family("none", 0), family("g", 3, gang=True), family("b", None)):
        queue.push(item)
    assert len(queue) == 6
    seen = []
    while (head := queue.head()) is not None:
        seen.append((head[0].step, head[1]))
        queue.pop()
    assert seen == [("a", 0), ("a", 1), ("g", 0), ("b", 0)]
    assert len(queue) == 0


def test_clearing_the_queue_in_the_middle_of_a_family_starts_afresh():
    queue = ReadyQueue()
    queue.push(family("a", 5))
    queue.pop()
    queue.clear()
    assert queue.head() is None
    queue.push(family("b", 2))
    assert queue.head() == (family("b", 2), 0)


@pytest.mark.parametrize(
    ("slots", "free", "limit", "expected"),
    [(1, 1, 4, True), (1, 0, 4, False), (3, 2, 4, False), (3, 3, 4, True), (9, 3, 4, False), (9, 4, 4, True)],
)
def test_a_gang_wider_than_the_limit_starts_when_nothing_else_runs(slots, free, limit, expected):
    assert fits(slots, free, limit) is expected
