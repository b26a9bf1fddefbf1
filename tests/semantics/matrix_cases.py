"""The tests of this folder that ask the same of every target, as calls that a target's matrix makes."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import test_authoring as authoring
import test_bad_input as bad_input
import test_current as currents
import test_merges as merges
import test_parameters_of_runs as parameters
import test_resume as resume
import test_retries as retries
import test_shapes as shapes
from flow_shapes import SHAPES
from flow_target import Target

MODULES = (authoring, bad_input, currents, merges, parameters, resume, retries, shapes)

ONLY_HERE = {
    shapes.test_few_workers_are_enough: "elsewhere the scheduler says how many tasks run at once",
    shapes.test_no_more_tasks_than_workers_run_at_once: "elsewhere the scheduler says how many tasks run at once",
}
"""The tests that take a target and are in no other target's matrix, and why."""


class Case(NamedTuple):
    """One test function and what it is called with, target and writer aside."""

    name: str
    function: Callable[..., None]
    choices: dict[str, Any]

    def ask(self, target: Target, folder: Path, write_flow: Callable[..., Path]) -> None:
        """Call it for a target; what it writes is in a folder of its own."""
        given: dict[str, Any] = {"target": target, "write_flow": write_flow, "tmp_path": folder}
        wanted = inspect.signature(self.function).parameters.keys() - self.choices.keys()
        if "files_flow" in wanted:
            given["files_flow"] = parameters.write_files_flow(folder, write_flow)
        self.function(**{name: given[name] for name in wanted}, **self.choices)


def parametrized(function: Callable[..., None]) -> Iterator[Case]:
    """A test with all that it is parametrized by; of the two spellings of the DSL only Metaflow's."""
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    lists = [[values if isinstance(mark.args[0], tuple) else (values,) for values in mark.args[1]] for mark in marks]
    names = [name for mark in marks for name in ([mark.args[0]] if isinstance(mark.args[0], str) else mark.args[0])]
    for number, values in enumerate(itertools.product(*lists)):
        choices = dict(zip(names, itertools.chain(*values)))
        if choices.get("dsl") != "flowc":
            yield Case(f"{function.__name__[len('test_') :]}-{number}", function, choices)


def asked_of_every_target(module: ModuleType) -> Iterator[Callable[..., None]]:
    """The tests of a module that are about no target in particular."""
    for name, function in vars(module).items():
        if name.startswith("test_") and function.__annotations__.get("target") == "Target":
            yield function


def cases(crossed: Iterable[str], few: Iterable[str], places: Iterable[tuple[str, str]]) -> Iterator[Case]:
    """All that is not about processes of this machine.

    Parameters
    ----------
    crossed : iterable of str
        The shapes that what a task may do is crossed with.
    few : iterable of str
        Those for the rest: what takes long, or hardly depends on the shape.
    places : iterable of (shape, step)
        Where runs fail that are resumed.
    """
    crossed, few = tuple(crossed), tuple(few)
    for shape in SHAPES:
        yield Case(f"shape-{shape}", shapes.test_a_shape_runs_as_its_reference_says, {"shape": shape, "dsl": "flowc"})
    yield Case("all_ranks_at_once", shapes.test_all_ranks_of_a_gang_run_at_once, {})
    for shape in crossed:
        yield Case(f"fails_once-{shape}", retries.test_every_other_task_fails_once, {"shape": shape})
    failures = ["raise ValueError('rank')", "os._exit(9)", "os.kill(os.getpid(), 9)"]
    for shape in ("gang", "gang_in_foreach", "gang_in_branch", "loop_of_gang"):
        for number, failing in enumerate(failures):
            choices = {"shape": shape, "failing": failing}
            yield Case(f"gang_again-{shape}-{number}", retries.test_a_gang_is_retried_as_a_whole, choices)
    for shape in crossed:
        yield Case(f"runs_out-{shape}", retries.test_retries_run_out, {"shape": shape})
        yield Case(f"caught-{shape}", retries.test_caught_exceptions_everywhere, {"shape": shape})
    for crash in retries.CRASHES:
        for shape, victim in [("linear", "a"), ("branch", "left"), ("foreach", "work")]:
            choices = {"shape": shape, "victim": victim, "crash": crash}
            yield Case(f"caught_crash-{crash}-{shape}", retries.test_a_caught_crash_goes_on_from_the_parents, choices)
        for shape, victim in [("linear", "a"), ("foreach", "work"), ("gang", "train"), ("branch", "join")]:
            choices = {"shape": shape, "victim": victim, "crash": crash}
            yield Case(f"crash-{crash}-{shape}", retries.test_a_crash_is_reported, choices)
    for shape in few:
        for function in (
            shapes.test_decorators_that_have_nothing_to_do_change_nothing,
            retries.test_what_takes_too_long_is_tried_again,
            merges.test_what_all_inputs_agree_on_comes_through_every_join,
        ):
            yield Case(f"{function.__name__[len('test_') :]}-{shape}", function, {"shape": shape})
    yield from parametrized(shapes.test_plain_decorators_of_the_author)
    for module in (authoring, bad_input, currents, merges, parameters):
        for function in asked_of_every_target(module):
            if function is not merges.test_what_all_inputs_agree_on_comes_through_every_join:
                yield from parametrized(function)
    checkpoints = currents.test_an_attempt_goes_on_from_the_checkpoint_of_the_one_before
    yield Case("checkpoints", checkpoints, {})
    yield Case("retry_waits", retries.test_the_wait_between_retries_grows_by_its_factor, {})
    yield Case("with_specs", retries.test_with_specs_put_decorators_on_every_step, {})
    for shape, victim in places:
        choices = {"shape": shape, "victim": victim}
        yield Case(f"resume-{shape}-{victim}", resume.test_resume_goes_on_where_the_run_failed, choices)
    yield Case("resume_from", resume.test_resume_of_a_good_run_from_a_step, {})
    yield Case("resume_new_code", resume.test_resume_uses_the_code_of_now, {})
    yield Case("resume_of_a_resumed", resume.test_resume_of_a_resumed_run, {})
    yield Case("resume_parameters", resume.test_resume_keeps_the_parameters_of_the_run, {})


def one_of_each(everything: Iterable[Case], all_of: Callable[[Case], bool], done: Iterable[Any] = ()) -> Iterator[Case]:
    """Every case that ``all_of`` says yes to, and of the other tests, but for those that are done, the first one."""
    seen = set(done)
    for case in everything:
        if all_of(case) or case.function not in seen:
            seen.add(case.function)
            yield case
