"""How addresses follow from the Plan, in both directions."""

from __future__ import annotations

import pytest
from flowc.compiler.plan import Feature, Framework, Retry, Span
from flowc.runtime.address import Address
from flowc.runtime.outline import Candidate, ContractError, Outline
from plans import BRANCHES, GANG_IN_FOREACH, LINE, LOOP, LOOP_IN_FOREACH, NESTED, Catch, End, Next, Plan, plan, task


def outline(plan: Plan) -> Outline:
    return Outline.from_plan(Plan.loads(plan.dumps()).to_json())


@pytest.mark.parametrize("shape", [LINE, BRANCHES, NESTED, GANG_IN_FOREACH, LOOP, LOOP_IN_FOREACH])
def test_it_says_of_each_step_what_the_plan_says(shape: Plan) -> None:
    read = outline(shape)
    assert (read.name, read.first, read.last) == (shape.name, shape.first, shape.last)
    assert list(read.steps) == [step.name for step in shape.steps]
    for step in shape.steps:
        got = read[step.name]
        for name in ("name", "kind", "inputs", "joins", "scope", "loop", "repeats"):
            assert getattr(got, name) == getattr(step, name)
        assert (got.leave_kind, got.targets) == (step.leave.kind, step.leave.targets)


def test_behaviour_of_a_step() -> None:
    step = task(
        "start",
        End(),
        retry=Retry(2, 10.0, 3.0),
        catch=Catch("broke", False),
        timeout=60.0,
        env={"A": "1"},
        framework=Framework("torchrun", {"nproc_per_node": 2}),
        features=(Feature("checkpoint", {"load_policy": "eager"}), Feature("card")),
        span=Span("flow.py", 12),
    )
    got = outline(plan(step))["start"]
    assert got.retry is not None and got.catch is not None
    assert [got.retry.wait_before(attempt) for attempt in range(4)] == [10 / 1, 10, 30, 90]
    assert (got.catch.var, got.catch.print_exception, got.timeout, got.env) == ("broke", False, 60, {"A": "1"})
    assert (got.framework, got.framework_options) == ("torchrun", {"nproc_per_node": 2})
    assert got.features == {"checkpoint": {"load_policy": "eager"}, "card": {}}
    assert got.place == "flow.py:12"


def test_a_bare_catch_is_there() -> None:
    catch = outline(plan(task("start", Next("end"), catch=Catch()), task("end", End(), "start")))["start"].catch
    assert catch is not None and catch.var is None and catch.print_exception


@pytest.mark.parametrize("data", [{}, {"version": 2}, {"version": 1}, {"version": 1, "steps": [3], "name": "x"}])
def test_what_is_no_plan(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"form|Plan"):
        Outline.from_plan(data)


@pytest.mark.parametrize(
    ("shape", "where", "said"),
    [
        (LINE, "strat", "no step 'strat'; it has start, middle, end"),
        (LINE, "middle/0", "takes no index"),
        (NESTED, "inner/0", "one number for each of start, outer"),
        (LINE, "middle@2", "lies in no loop"),
    ],
)
def test_addresses_that_do_not_fit(shape: Plan, where: str, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        outline(shape).check(Address.parse(where))


@pytest.mark.parametrize(
    ("shape", "where", "to", "width", "children"),
    [
        (LINE, "start", ("middle",), None, ["middle"]),
        (BRANCHES, "start", ("a", "b"), None, ["a", "b"]),
        (BRANCHES, "y", ("join",), None, ["join"]),
        (NESTED, "start", ("outer",), 3, ["outer/0", "outer/1", "outer/2"]),
        (NESTED, "outer/4", ("inner",), 2, ["inner/4.0", "inner/4.1"]),
        (NESTED, "outer/4", ("inner",), 0, []),
        (NESTED, "inner/4.1", ("gather",), None, ["gather/4"]),
        (NESTED, "gather/4", ("join",), None, ["join"]),
        (GANG_IN_FOREACH, "open/1", ("train",), 2, ["train/1.0", "train/1.1"]),
        (LOOP, "judge@3", ("try_",), None, ["try_@4"]),
        (LOOP, "try_@3", ("judge",), None, ["judge@3"]),
        (LOOP, "judge@3", ("end",), None, ["end"]),
        (LOOP, "start", ("try_",), None, ["try_"]),
        (LOOP_IN_FOREACH, "work@2/5", ("work",), None, ["work@3/5"]),
        (LOOP_IN_FOREACH, "work@2/5", ("leave",), None, ["leave/5"]),
        (LOOP_IN_FOREACH, "leave/5", ("join",), None, ["join"]),
    ],
)
def test_where_a_task_leads(shape: Plan, where: str, to: tuple[str, ...], width: int, children: list[str]) -> None:
    read = outline(shape)
    got = list(read.successors(Address.parse(where), to, width))
    assert list(map(str, got)) == children
    for address in got:
        read.check(address)


@pytest.mark.parametrize(
    ("shape", "where", "branch", "groups"),
    [
        (LINE, "start", None, ()),
        (LINE, "end", None, ((Candidate("middle", (), 1, False),),)),
        (
            BRANCHES,
            "join",
            None,
            ((Candidate("x", (), 1, False), Candidate("y", (), 1, False)), (Candidate("b", (), 1, False),)),
        ),
        (NESTED, "inner/2.5", None, ((Candidate("outer", (2,), 1, False),),)),
        (NESTED, "gather/2", 7, ((Candidate("inner", (2, 7), 1, False),),)),
        (NESTED, "join", 7, ((Candidate("gather", (7,), 1, False),),)),
        (LOOP, "try_", None, ((Candidate("start", (), 1, False),),)),
        (LOOP, "try_@3", None, ((Candidate("judge", (), 2, False),),)),
        (LOOP, "judge@3", None, ((Candidate("try_", (), 3, False),),)),
        (LOOP, "end", None, ((Candidate("judge", (), 0, True),),)),
        (LOOP_IN_FOREACH, "work@2/5", None, ((Candidate("work", (5,), 1, False),),)),
        (LOOP_IN_FOREACH, "leave/5", None, ((Candidate("work", (5,), 0, True),),)),
    ],
)
def test_where_a_task_comes_from(shape: Plan, where: str, branch: int, groups: object) -> None:
    assert outline(shape).parents_of(Address.parse(where), branch) == groups


def test_splits_and_joins() -> None:
    read = outline(NESTED)
    assert (read.joined_by("start"), read.joined_by("outer"), read.joined_by("inner")) == ("join", "gather", None)
    assert read.joins_fan_out("gather") and not outline(BRANCHES).joins_fan_out("join")
    assert read.split_of(Address("gather", (3,))) == Candidate("outer", (3,), 1, False)
    assert read.opener_of(Address("inner", (3, 1)), 0) == Candidate("start", (), 1, False)
    assert read.opener_of(Address("inner", (3, 1)), 1) == Candidate("outer", (3,), 1, False)
