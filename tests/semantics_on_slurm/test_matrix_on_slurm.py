"""The flows of tests/semantics with their assertions, on a real Slurm."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "semantics"))

import test_authoring as authoring
import test_bad_input as bad_input
import test_current as currents
import test_merges as merges
import test_parameters_of_runs as parameters
import test_resume as resume
import test_retries as retries
import test_shapes as shapes
import time_limits
from flow_shapes import CORE, FULL, SHAPES

CROSSED = tuple(SHAPES) if FULL else CORE
FEW = CORE if FULL else ("gang_in_foreach", "loop_of_foreach")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("semantics-on-slurm")]


class Case(NamedTuple):
    """One test function of tests/semantics and what it is called with, target and writer aside."""

    name: str
    function: Callable[..., None]
    choices: dict[str, Any]


def parametrized(function: Callable[..., None]) -> Iterator[Case]:
    """A test with all that it is parametrized by; of the two spellings of the DSL only Metaflow's."""
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    lists = [[values if isinstance(mark.args[0], tuple) else (values,) for values in mark.args[1]] for mark in marks]
    names = [name for mark in marks for name in ([mark.args[0]] if isinstance(mark.args[0], str) else mark.args[0])]
    for number, values in enumerate(itertools.product(*lists)):
        choices = dict(zip(names, itertools.chain(*values)))
        if choices.get("dsl") != "flowc":
            yield Case(f"{function.__name__[len('test_') :]}-{number}", function, choices)


def asked_of_every_target(module: ModuleType) -> Iterator[Case]:
    """The tests of a module that are about no target in particular."""
    for name, function in vars(module).items():
        if name.startswith("test_") and function.__annotations__.get("target") == "Target":
            yield from parametrized(function)


def cases() -> Iterator[Case]:
    """All that is not about processes of this machine; first what takes longest."""
    for limit in time_limits.LIMITS:
        yield Case(f"time_limit-{limit}", time_limits.a_gang_saves_itself, {"limit": limit})
    for shape in SHAPES:
        yield Case(f"shape-{shape}", shapes.test_a_shape_runs_as_its_reference_says, {"shape": shape, "dsl": "flowc"})
    yield Case("all_ranks_at_once", shapes.test_all_ranks_of_a_gang_run_at_once, {})
    for shape in CROSSED:
        yield Case(f"fails_once-{shape}", retries.test_every_other_task_fails_once, {"shape": shape})
    failures = ["raise ValueError('rank')", "os._exit(9)", "os.kill(os.getpid(), 9)"]
    for shape in ("gang", "gang_in_foreach", "gang_in_branch", "loop_of_gang"):
        for number, failing in enumerate(failures):
            choices = {"shape": shape, "failing": failing}
            yield Case(f"gang_again-{shape}-{number}", retries.test_a_gang_is_retried_as_a_whole, choices)
    for shape in CROSSED:
        yield Case(f"runs_out-{shape}", retries.test_retries_run_out, {"shape": shape})
        yield Case(f"caught-{shape}", retries.test_caught_exceptions_everywhere, {"shape": shape})
    for crash in retries.CRASHES:
        for shape, victim in [("linear", "a"), ("branch", "left"), ("foreach", "work")]:
            choices = {"shape": shape, "victim": victim, "crash": crash}
            yield Case(f"caught_crash-{crash}-{shape}", retries.test_a_caught_crash_goes_on_from_the_parents, choices)
        for shape, victim in [("linear", "a"), ("foreach", "work"), ("gang", "train"), ("branch", "join")]:
            choices = {"shape": shape, "victim": victim, "crash": crash}
            yield Case(f"crash-{crash}-{shape}", retries.test_a_crash_is_reported, choices)
    for shape in FEW:
        for function in (
            shapes.test_decorators_that_have_nothing_to_do_change_nothing,
            retries.test_what_takes_too_long_is_tried_again,
            merges.test_what_all_inputs_agree_on_comes_through_every_join,
        ):
            yield Case(f"{function.__name__[len('test_') :]}-{shape}", function, {"shape": shape})
    yield from parametrized(shapes.test_plain_decorators_of_the_author)
    for module in (authoring, bad_input, currents, merges, parameters):
        for case in asked_of_every_target(module):
            if case.function is not merges.test_what_all_inputs_agree_on_comes_through_every_join:
                yield case
    checkpoints = currents.test_an_attempt_goes_on_from_the_checkpoint_of_the_one_before
    yield Case("checkpoints", checkpoints, {})
    yield Case("retry_waits", retries.test_the_wait_between_retries_grows_by_its_factor, {})
    yield Case("with_specs", retries.test_with_specs_put_decorators_on_every_step, {})
    for shape, victim in resume.PLACES if FULL else resume.PLACES[::8]:
        choices = {"shape": shape, "victim": victim}
        yield Case(f"resume-{shape}-{victim}", resume.test_resume_goes_on_where_the_run_failed, choices)
    yield Case("resume_from", resume.test_resume_of_a_good_run_from_a_step, {})
    yield Case("resume_new_code", resume.test_resume_uses_the_code_of_now, {})
    yield Case("resume_of_a_resumed", resume.test_resume_of_a_resumed_run, {})
    yield Case("resume_parameters", resume.test_resume_keeps_the_parameters_of_the_run, {})


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_on_slurm_as_here(case: Case, outcomes: Callable[[Case], None]) -> None:
    outcomes(case)
