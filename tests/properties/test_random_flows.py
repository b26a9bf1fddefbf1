"""Random legal flows, compiled and run here, against the reference."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flow_checks import assert_as_reference
from flow_in_process import InProcess, compiled
from flow_reference import Reference
from flow_shapes import SHAPES, Seq
from flow_text import FlowText
from flow_trees import flows
from hypothesis import example, given

NUMBERS = itertools.count()


@contextmanager
def written(seq: Seq) -> Iterator[Path]:
    """The file of a flow, in a folder of its own; a fresh name each time, since modules are imported once."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"random_flow_{next(NUMBERS)}.py"
        file.write_text(FlowText(seq).text())
        yield file


@pytest.mark.slow
@pytest.mark.timeout(300)
@given(flows())
@example(SHAPES["loop_of_foreach_of_loops"])
@example(SHAPES["foreach_in_branch_of_foreach"])
def test_a_random_flow_visits_every_address_once_and_in_order(seq: Seq) -> None:
    with written(seq) as file:
        run = InProcess(file.parent).run(file)
        assert_as_reference(run, Reference(seq))


@pytest.mark.slow
@given(flows(depth=4))
def test_the_plan_of_a_random_flow_is_whole(seq: Seq) -> None:
    from flowc.compiler.plan import Plan

    with written(seq) as file:
        compilation = compiled(file)
        assert compilation.plan is not None, compilation.diagnostics
        plan = compilation.plan
        assert {step.name for step in plan.steps} == set(FlowText(seq).steps)
        assert (plan.first, plan.last) == ("start", "end")
        assert Plan.loads(plan.dumps()) == plan
        # The index of every task has one number for each fan-out that the Plan puts around its step, and what the
        # Plan calls the inputs of a step is where its tasks came from.
        for visit in Reference(seq).visits.values():
            step = plan[visit.step]
            assert len(step.scope) == len(visit.index)
            assert (step.kind == "gang") == (visit.gang is not None)
            parents = [parent.partition("/")[0].partition("@")[0] for parent in visit.parents]
            if len(step.inputs) == len(parents):
                assert all(parent in group for parent, group in zip(parents, step.inputs))
            else:
                assert len(step.inputs) == 1 and set(parents) <= set(step.inputs[0])
            assert visit.round == 1 or step.loop is not None
