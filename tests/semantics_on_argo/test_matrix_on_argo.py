"""The flows of tests/semantics with their assertions, by the manifests in the lab; on_a_cluster.py asks the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flow_shapes import FULL, SHAPES
from flow_target import Target
from flow_text import FlowText
from matrix_cases import Case, cases, one_of_each, resume, shapes

pytestmark = pytest.mark.slow

WriteFlow = Callable[..., Path]

PICKED = {
    "fails_once-gang_in_foreach",
    "fails_once-loop_of_foreach",
    "gang_again-gang-0",
    "gang_again-loop_of_gang-1",
    "runs_out-gang_in_foreach",
    "runs_out-loop_of_foreach",
    "caught-gang_in_foreach",
    "caught-loop_of_foreach",
    "caught_crash-exit-foreach",
    "caught_crash-signal-foreach",
    "caught_crash-timeout-foreach",
    "crash-exit-linear",
    "crash-signal-foreach",
    "crash-signal-gang",
    "crash-sys.exit-branch",
    "crash-timeout-linear",
    "crash-timeout-gang",
    "decorators_that_have_nothing_to_do_change_nothing-gang_in_foreach",
    "decorators_that_have_nothing_to_do_change_nothing-loop_of_foreach",
    "what_takes_too_long_is_tried_again-gang_in_foreach",
    "what_all_inputs_agree_on_comes_through_every_join-gang_in_foreach",
    "helpers-7",  # imported relatively, from a package
    "merge-2",
    "what_a_foreach_goes_over-6",  # an array
    "the_ranks_of_a_gang_in_order-1",  # three of them
    "resume-gang_in_foreach-gang_join",
    "resume-loop_of_foreach-work",
}
"""With what the tests are called that the first of their cases would not do for."""


ONLY_IN_FULL = {
    resume.test_resume_of_a_good_run_from_a_step,
    resume.test_resume_uses_the_code_of_now,
    resume.test_resume_of_a_resumed_run,
    resume.test_resume_keeps_the_parameters_of_the_run,
}
"""Runs are resumed on this machine; that it finds in Argo's what it needs, the two cases picked show as well."""


def on_argo() -> Iterator[Case]:
    """All that is asked of every target; without FLOWC_MATRIX=full each shape once, and of each other test a case."""
    everything = list(cases(SHAPES, SHAPES, resume.PLACES))
    assert {case.name for case in everything} >= PICKED
    if FULL:
        return iter(everything)
    done = ONLY_IN_FULL | {case.function for case in everything if case.name in PICKED}
    each_shape = shapes.test_a_shape_runs_as_its_reference_says
    return one_of_each(everything, lambda case: case.function is each_shape or case.name in PICKED, done)


@pytest.mark.parametrize("case", list(on_argo()), ids=lambda case: case.name)
def test_on_argo_as_here(case: Case, target: Target, tmp_path: Path, write_flow: WriteFlow) -> None:
    case.ask(target, tmp_path, write_flow)


def test_a_wait_that_grows_by_a_fraction(target: Target, write_flow: WriteFlow) -> None:
    flow = FlowText(SHAPES["linear"]).put(
        "a",
        ["@retry(times=2, minutes_between_retries=0.01, backoff=2.5)"],
        ["trace(self, 'time', at=time.time())", "if current.retry_count < 2:\n    raise ValueError('not yet')"],
    )
    run = target.run(write_flow(flow.text()))
    times = [line["at"] for line in run.trace() if line["event"] == "time"]
    # 0.6 s and 1.5 s, and the start of a pod each time.
    assert times[1] - times[0] >= 0.6 and times[2] - times[1] >= 1.5
    # The flow's file as it is mounted, not where the kubelet keeps it.
    said = run.log("a", "stderr", 0)
    assert 'File "/flowc/code/flow/flow.py"' in said and "/.." not in said
