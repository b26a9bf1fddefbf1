"""What is submitted at once, and what waits for whom."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from flow_shapes import SHAPES
from flow_text import FlowText
from flowc.compiler import compile_flow
from flowc.runtime.address import Address
from flowc.runtime.outline import Outline
from flowc.runtime.record import Next
from flowc.runtime.slurm.naming import job_name, prefix_of
from flowc.runtime.slurm.regions import (
    AFTER,
    EACH,
    Entry,
    _parts,
    _ranges,
    arrivals,
    build,
    by_dependency,
    dependency,
    follow,
)
from flowc.runtime.slurm_limits import MOST_BEFORE


@pytest.fixture
def outline(tmp_path: Any) -> Any:
    """Gives the outline of a tree of `flow_shapes`."""

    def make(tree: Any) -> Outline:
        file = tmp_path / "flow.py"
        file.write_text(FlowText(tree).text())
        plan = compile_flow(str(file)).plan
        assert plan is not None
        return Outline.from_plan(plan.to_json())

    return make


def drawn(outline: Outline, *entries: Entry, done: Any = None, max_array: int = 100) -> dict[str, str]:
    """The region as text: what each submission is and waits for."""
    region = build(outline, entries, {}, max_array, done)
    return {
        item.key: " ".join(
            [*([f"[{item.array}]"] if item.array else []), *(f"{kind}:{key}" for key, kind in item.after)]
        )
        for item in region.submissions
    }


def test_a_static_flow_is_one_region(outline: Any) -> None:
    found = drawn(outline(SHAPES["nested_branches"]), Entry("start", (), 1))
    assert found == {
        "start._": "",
        "outer._": "afterany:start._",
        "inner._": "afterany:outer._",
        "b._": "afterany:outer._",
        "aa._": "afterany:inner._",
        "ab._": "afterany:inner._",
        "b2._": "afterany:b._",
        "inner_join._": "afterany:aa._ afterany:ab._",
        "join._": "afterany:b2._ afterany:inner_join._",
        "end._": "afterany:join._",
    }
    # Each comes after what it waits for, whose id it is given.
    keys = list(found)
    assert all(keys.index(word.split(":")[1]) < at for at, key in enumerate(keys) for word in found[key].split())


def test_a_foreach_begins_a_region_with_arrays_that_follow_task_by_task(outline: Any) -> None:
    flow = outline(SHAPES["foreach_of_two_steps"])
    assert drawn(flow, Entry("start", (), 1)) == {"start._": "", "fan._": "afterany:start._"}
    entries = follow(flow, Address("fan"), Next("foreach", ("work",), 5), {})
    assert drawn(flow, *entries, max_array=3) == {
        "work._.c0": "[0-2]",
        "work._.c3": "[0-1]",
        "more._.c0": "[0-2] aftercorr:work._.c0",
        "more._.c3": "[0-1] aftercorr:work._.c3",
        "join._": "afterany:more._.c0 afterany:more._.c3",
        "end._": "afterany:join._",
    }
    nothing = follow(flow, Address("fan"), Next("foreach", ("work",), 0), {})
    assert list(drawn(flow, *nothing)) == ["join._", "end._"]


def test_branches_inside_a_foreach_follow_task_by_task(outline: Any) -> None:
    flow = outline(SHAPES["branch_in_foreach"])
    found = drawn(flow, Entry("split", (), 1, 3))
    assert found["inner_join._.c0"] == "[0-2] aftercorr:left._.c0 aftercorr:right._.c0"
    assert found["join._"] == "afterany:inner_join._.c0"


def sized(flow: Outline, **size: Any) -> Outline:
    """The flow with the size of its gang known in another way."""
    return Outline(flow.name, flow.first, flow.last, {**flow.steps, "open": replace(flow["open"], **size)})


def test_a_gang_is_one_job_whose_size_is_given_where_the_script_cannot_know_it(outline: Any) -> None:
    flow = outline(SHAPES["gang"])

    def nodes(flow: Outline, entry: Entry, parameters: Any = None) -> dict[str, int | None]:
        region = build(flow, [entry], parameters or {}, 100)
        return {item.key: item.nodes for item in region.submissions}

    start = Entry("open", (), 1)
    whole = {"open._": None, "train._": None, "join._": None, "end._": None}
    assert nodes(flow, start) == whole
    assert nodes(sized(flow, size=None, size_parameter="ranks"), start, {"ranks": 3}) == {**whole, "train._": 3}
    unknown = sized(flow, size=None)
    assert nodes(unknown, start) == {"open._": None}
    (entry,) = follow(unknown, Address("open"), Next("gang", ("train",), 5), {})
    assert nodes(unknown, entry) == {"train._": 5, "join._": None, "end._": None}


@pytest.mark.parametrize(
    ("shape", "joins"),
    [
        ("branch", {"join": True}),
        ("foreach_of_two_steps", {"join": True}),
        ("nested_foreach", {"inner_join": True, "join": False}),
        ("foreach_in_branch_of_foreach", {"inner_join": True, "together": False, "join": False}),
        ("gang_in_foreach", {"gang_join": True, "join": False}),
        ("switch_in_branch", {"join": False}),
        ("switch_in_foreach", {"join": False}),
        ("foreach_of_loops", {"join": False}),
        ("branch_in_foreach", {"inner_join": True, "join": True}),
    ],
)
def test_a_join_waits_for_jobs_or_for_arrivals(shape: str, joins: Mapping[str, bool], outline: Any) -> None:
    flow = outline(SHAPES[shape])
    assert {name: by_dependency(flow, name, {}) for name in joins} == joins


def test_a_switch_leads_into_a_region_or_arrives(outline: Any) -> None:
    flow = outline(SHAPES["switch_in_branch"])
    took = Next("switch", ("y",), None, 1, None, "1")
    assert follow(flow, Address("choose"), took, {}) == [Entry("y", (), 1)]
    assert list(drawn(flow, Entry("y", (), 1))) == ["y._"]
    assert list(arrivals(flow, Address("y"), ("join",), {})) == [("join", 1)]


def test_what_is_done_is_left_out_and_nothing_waits_for_it(outline: Any) -> None:
    flow = outline(SHAPES["foreach_of_two_steps"])
    finished = {Address("work", (1,)), Address("work", (3,)), Address("more", (3,))}
    found = drawn(flow, Entry("work", (), 1, 5), done=finished.__contains__)
    assert found["work._.c0g0"] == "[0,2,4]"
    assert found["more._.c0g0"] == "[0,2,4] aftercorr:work._.c0g0"
    assert found["more._.c0g1"] == "[1-1]"
    assert found["join._"] == "afterany:more._.c0g0 afterany:more._.c0g1"
    region = build(flow, [Entry("work", (), 1, 5)], {}, 100, finished.__contains__)
    assert set(region.done) == finished


def test_names_are_unique_readable_and_hold_nothing_that_slurm_minds() -> None:
    prefix = prefix_of("TrainFlow", "12", "abc123")
    assert job_name(prefix, "train@2.0.3") == "TrainFlow.12-abc123.train.r2.0.3"
    strange = prefix_of("Flüß", "a b%j", "abc123")
    assert all(char.isascii() and (char.isalnum() or char in "._-") for char in strange)
    long = {job_name(prefix, f"{'s' * 300}.{number}") for number in range(3)}
    assert len(long) == 3 and all(len(name) <= 180 for name in long)


def test_the_tasks_that_are_left_of_a_wide_array_are_named_in_texts_that_slurm_takes() -> None:
    left = list(range(1000, 21000, 2))
    parts = list(_parts(left, 1000))
    assert [position for part in parts for position in part] == left
    assert all(len(_ranges(part, 1000)) <= 4000 for part in parts) and len(parts) > 5
    assert list(_parts(list(range(20000)), 0)) == [list(range(20000))]


def test_a_kind_of_dependency_is_said_once_for_all_jobs() -> None:
    assert dependency([("1", AFTER), ("2", EACH), ("3", AFTER)]) == "afterany:1:3,aftercorr:2"


def test_the_most_jobs_that_one_can_wait_for_fit_into_an_argument() -> None:
    most = "--dependency=" + dependency([("4294967295", EACH)] * MOST_BEFORE)
    assert len(most) < 128 * 1024 <= len(most + ":4294967295") + 1
    subprocess.run(["true", most], check=True)
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(["true", most + ":4294967295"], check=True)
