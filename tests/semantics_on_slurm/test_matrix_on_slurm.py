"""The flows of tests/semantics with their assertions, on a real Slurm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "semantics"))

import time_limits
from flow_shapes import CORE, FULL, SHAPES
from matrix_cases import Case, cases, one_of_each, resume, retries, shapes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("semantics-on-slurm")]


ABOUT_THE_SCHEDULER = {module.__name__ for module in (resume, retries, shapes)}
"""The modules whose tests depend on how tasks are started, ended and told of."""


def is_about_the_scheduler(case: Case) -> bool:
    """Whether each of the test's cases is one of its own here; the others ask what happens inside a task."""
    inside = shapes.test_plain_decorators_of_the_author
    return case.function.__module__ in ABOUT_THE_SCHEDULER and case.function is not inside


def on_slurm() -> Iterator[Case]:
    """What is asked here; first what takes longest."""
    for limit in time_limits.LIMITS:
        yield Case(f"time_limit-{limit}", time_limits.a_gang_saves_itself, {"limit": limit})
    if FULL:
        yield from cases(SHAPES, CORE, resume.PLACES)
    else:
        few = cases(CORE, ("gang_in_foreach", "loop_of_foreach"), resume.PLACES[::8])
        yield from one_of_each(few, is_about_the_scheduler)


@pytest.mark.parametrize("case", list(on_slurm()), ids=lambda case: case.name)
def test_on_slurm_as_here(case: Case, outcomes: Callable[[Case], None]) -> None:
    outcomes(case)
