"""``current`` outside and inside of a task."""

from __future__ import annotations

import copy

import pytest
from flowc import current
from flowc.dsl.current import ParallelInfo, current_values, set_current, swap_current


def test_outside_a_task_only_that_can_be_asked() -> None:
    assert not current.is_running_flow and not current.is_parallel
    assert current.get("run_id") is None and current.get("run_id", "none") == "none"
    assert "run_id" not in current and not hasattr(current, "run_id")
    with pytest.raises(AttributeError, match=r"current\.run_id is only there while a step runs"):
        current.run_id


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("parallel", "a step that num_parallel leads to"),
        ("torch", "a step with @torchrun"),
        ("checkpoint", "a step with @checkpoint"),
        ("project_name", "a flow with @project"),
    ],
)
def test_facts_of_some_steps_only(name: str, where: str) -> None:
    with (
        current_values({"run_id": "1"}),
        pytest.raises(AttributeError, match=f"current.{name} is only there in {where}"),
    ):
        getattr(current, name)


def test_inside() -> None:
    with current_values({"run_id": "1", "parallel": ParallelInfo("h", 2, 1, "0")}):
        assert current.is_running_flow and current.is_parallel
        assert current.run_id == "1" and "run_id" in current
        assert tuple(current.parallel) == ("h", 2, 1, "0") and current.parallel.node_index == 1
        with current_values({"run_id": "2"}):
            assert current.run_id == "2"
        assert current.run_id == "1"
        set_current({"extra": 1})
        assert current.extra == 1
        with pytest.raises(AttributeError, match="current has no 'ruin_id'; it has extra, parallel, run_id"):
            current.ruin_id
    assert not current.is_running_flow and "extra" not in current


def test_values_are_put_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), current_values({"run_id": "1"}):
        1 / 0
    assert not current.is_running_flow


def test_special_methods_are_not_facts() -> None:
    with current_values({"__deepcopy__": 1}):
        assert type(copy.copy(current)) is type(current)


def test_swapping_all_facts() -> None:
    before = swap_current({"run_id": "1"})
    try:
        assert current.run_id == "1"
    finally:
        assert swap_current(before) == {"run_id": "1"}
    assert not current.is_running_flow
