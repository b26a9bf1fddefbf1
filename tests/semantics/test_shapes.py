"""Every graph shape, run as it is: which tasks run, in what order, on what inputs, and what they leave behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flow_checks import assert_as_reference
from flow_reference import Reference
from flow_shapes import CROSSED, SHAPES
from flow_target import TARGETS, Target
from flow_text import FlowText

WRAP = """

def plainly(function):
    def wrapper(self, *args):
        print("wrapped", file=open(os.path.join(self.lab, "wrapped"), "a"))
        return function(self, *args)

    return wrapper


def politely(function):
    @functools.wraps(function)
    def wrapper(self, *args):
        return function(self, *args)

    return wrapper

"""


RUNS = [*((shape, "flowc") for shape in SHAPES), *((shape, "metaflow") for shape in CROSSED)]


@pytest.mark.parametrize(("shape", "dsl"), RUNS)
def test_a_shape_runs_as_its_reference_says(
    shape: str, dsl: str, target: Target, write_flow: Callable[..., Path]
) -> None:
    text = FlowText(SHAPES[shape], dsl=dsl).text()
    run = target.run(write_flow(text))
    assert_as_reference(run, Reference(SHAPES[shape]))


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["foreach", "gang", "switch_in_branch", "loop_of_one_step"])
def test_a_shape_runs_in_fresh_interpreters(shape: str, tmp_path: Path, write_flow: Callable[..., Path]) -> None:
    run = TARGETS["local-spawn"](tmp_path).run(write_flow(FlowText(SHAPES[shape]).text()))
    assert_as_reference(run, Reference(SHAPES[shape]))


@pytest.mark.parametrize("shape", CROSSED)
def test_decorators_that_have_nothing_to_do_change_nothing(
    shape: str, target: Target, write_flow: Callable[..., Path]
) -> None:
    flow = FlowText(SHAPES[shape])
    catchable = flow.catchable()
    for step in list(flow.steps):
        flow.put(
            step,
            [
                "@retry(times=3, minutes_between_retries=0)",
                "@timeout(minutes=5)",
                f"@environment(vars={{'SHAPE_WORD': 'word of {step}'}})",
                *(["@catch(var='failure')"] if step in catchable else []),
            ],
            ["self.word = os.environ['SHAPE_WORD']"],
        )
    run = target.run(write_flow(flow.text()))
    reference = Reference(SHAPES[shape])
    assert_as_reference(run, reference)
    for address, visit in reference.visits.items():
        found = run.artifacts(address)
        assert found["word"] == f"word of {visit.step}"
        if visit.step in catchable:
            assert found["failure"] is None


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["branch", "foreach", "gang", "switch", "loop"])
@pytest.mark.parametrize("place", ["below", "above", "both"])
def test_plain_decorators_of_the_author(
    shape: str, place: str, target: Target, write_flow: Callable[..., Path]
) -> None:
    flow = FlowText(SHAPES[shape])
    for step in flow.steps:
        # Above @step only a decorator that keeps the function's attributes can be transparent.
        above = ["@politely"] if place != "below" else []
        below = ["@plainly", "@politely"] if place != "above" else []
        flow.put(step, above, below=below)
    text = flow.text().replace("import hashlib\n", "import functools\nimport hashlib\n", 1)
    run = target.run(write_flow(text.replace("\n\nclass ShapeFlow", WRAP + "\nclass ShapeFlow", 1)))
    reference = Reference(SHAPES[shape])
    assert_as_reference(run, reference)
    if place != "above":
        lines = Path(run.params["lab"], "wrapped").read_text().splitlines()
        assert lines == ["wrapped"] * len(reference.visits)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("shape", ["gang", "gang_in_foreach", "nested_foreach", "foreach_of_loops", "branch_of_three"])
def test_few_workers_are_enough(shape: str, workers: int, target: Target, write_flow: Callable[..., Path]) -> None:
    # A gang of four starts together even where one task at a time may run.
    run = target.run(write_flow(FlowText(SHAPES[shape]).text()), options=["--max-workers", str(workers)])
    assert_as_reference(run, Reference(SHAPES[shape]))


def test_all_ranks_of_a_gang_run_at_once(target: Target, write_flow: Callable[..., Path]) -> None:
    flow = FlowText(SHAPES["gang"])
    flow.put(
        "train",
        body=[
            "open(os.path.join(self.lab, 'rank-%d' % current.parallel.node_index), 'w').close()",
            "deadline = time.monotonic() + 20",
            "while sum(n.startswith('rank-') for n in os.listdir(self.lab)) < 4:\n"
            "    assert time.monotonic() < deadline, 'the other ranks never came'\n"
            "    time.sleep(0.01)",
        ],
    )
    run = target.run(write_flow(flow.text()), options=["--max-workers", "1"])
    assert_as_reference(run, Reference(SHAPES["gang"]))


def test_no_more_tasks_than_workers_run_at_once(target: Target, write_flow: Callable[..., Path]) -> None:
    from flow_shapes import Foreach, Task, whole

    tree = whole(Foreach((Task("work"),), (8,), "fan", "join"))
    flow = FlowText(tree).put("work", body=["time.sleep(0.05)"])
    run = target.run(write_flow(flow.text()), options=["--max-workers", "3"])
    assert_as_reference(run, Reference(tree))
    running = highest = 0
    for line in run.trace():
        running += 1 if line["event"] == "begin" else -1
        highest = max(highest, running)
    assert 1 < highest <= 3
