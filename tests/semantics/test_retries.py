"""Retry, catch and timeout in every shape."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_checks import assert_as_reference, assert_visit
from flow_reference import Reference
from flow_shapes import CROSSED, SHAPES
from flow_target import RunView, Target
from flow_text import FlowText

pytestmark = pytest.mark.slow

ODD = "(sum(self.stack) % 2 == 1 or not self.stack)"
RETRY = "@retry(times={}, minutes_between_retries=0)"


def one_gang_apart(shape: str) -> tuple[FlowText, list[str]]:
    """The flow of a shape, and its steps that are no gang."""
    flow = FlowText(SHAPES[shape])
    return flow, [step for step in flow.steps if step not in flow.gangs()]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_other_task_fails_once(shape: str, target: Target, write_flow: Callable[..., Path]) -> None:
    flow, steps = one_gang_apart(shape)
    for step in steps:
        flow.put(step, [RETRY.format(2)], [f"if {ODD} and current.retry_count == 0:\n    raise ValueError('once')"])
    reference = Reference(SHAPES[shape])
    attempts = {
        address: 2
        for address, visit in reference.visits.items()
        if visit.step in steps and (sum(visit.index) % 2 == 1 or not visit.index)
    }
    run = target.run(write_flow(flow.text()))
    assert_as_reference(run, reference, attempts)
    for address, visit in reference.visits.items():
        assert run.attempts(address) == list(range(attempts.get(address, 1)))
        if address in attempts:
            # The failed attempt's log is its own, and shows the author's line and none of flowc's.
            first = run.log(address, "stderr", 0)
            assert first.startswith(f"err {visit.here} 0\n")
            assert "ValueError: once" in first
            assert run.log(address, "stdout", 0) == f"out {visit.here} 0\n"


@pytest.mark.parametrize("failing", ["raise ValueError('rank')", "os._exit(9)", "os.kill(os.getpid(), 9)"])
@pytest.mark.parametrize("shape", ["gang", "gang_in_foreach", "gang_in_branch", "loop_of_gang"])
def test_a_gang_is_retried_as_a_whole(
    shape: str, failing: str, target: Target, write_flow: Callable[..., Path]
) -> None:
    flow = FlowText(SHAPES[shape])
    for gang in flow.gangs():
        flow.put(
            gang,
            [RETRY.format(1)],
            [f"if current.parallel.node_index == 1 and current.retry_count == 0:\n    {failing}"],
        )
    run = target.run(write_flow(flow.text()))
    reference = Reference(SHAPES[shape])
    assert run.done() == set(reference.visits)
    for address, visit in reference.visits.items():
        assert_visit(run, address, visit, 1 if visit.gang else 0)


@pytest.mark.parametrize("shape", CROSSED)
def test_retries_run_out(shape: str, target: Target, write_flow: Callable[..., Path]) -> None:
    flow = FlowText(SHAPES[shape])
    victim = list(flow.steps)[len(flow.steps) // 2]
    flow.put(victim, [RETRY.format(1)], ["raise ValueError('always ' + self.here)"])
    reference = Reference(SHAPES[shape])
    victims = {a: v for a, v in reference.visits.items() if v.step == victim}
    if not victims:  # inside a foreach over nothing, or a case not taken
        assert_as_reference(target.run(write_flow(flow.text())), reference)
        return
    run = target.run(write_flow(flow.text()), expect="failed")
    assert_failed_at(run, victims, "ValueError", 2)
    assert f"always {victims[run.status['failure']['address']].here}" in run.finished.said
    assert_nothing_after(run, reference, set(victims))


def assert_failed_at(run: RunView, victims: object, kind: str, attempts: int) -> None:
    failure = run.status["failure"]
    assert failure["address"] in victims  # type: ignore[operator]
    assert failure["type"] == kind
    assert failure["attempt"] == attempts - 1
    assert run.attempts(failure["address"]) == list(range(attempts))
    assert run.record(failure["address"]) is None
    assert failure["address"] in run.finished.said


def assert_nothing_after(run: RunView, reference: Reference, failed: set[str]) -> None:
    started = run.started()
    for address, visit in reference.visits.items():
        if any(parent not in run.done() for parent in visit.parents):
            assert address not in started, f"{address} started although what it needs failed"
    assert not failed & run.done()


@pytest.mark.parametrize("shape", CROSSED)
def test_caught_exceptions_everywhere(shape: str, target: Target, write_flow: Callable[..., Path]) -> None:
    flow = FlowText(SHAPES[shape])
    steps = flow.catchable()
    for step in steps:
        flow.put(
            step,
            [RETRY.format(1), f"@catch(var='failure_{step}')"],
            [f"if {ODD}:\n    raise KeyError('deliberate in {step}')", f"self.untouched_{step} = True"],
        )
    run = target.run(write_flow(flow.text()))
    reference = Reference(SHAPES[shape])
    assert run.done() == set(reference.visits)
    for address, visit in reference.visits.items():
        caught = visit.step in steps and (sum(visit.index) % 2 == 1 or not visit.index)
        assert_visit_but_logs(run, address, visit, 1 if caught else 0)
        if visit.step not in steps:
            continue
        artifacts = run.artifacts(address)
        failure = artifacts[f"failure_{visit.step}"]
        assert (failure is not None) == caught
        assert (f"untouched_{visit.step}" in artifacts) != caught
        if caught:
            assert failure.type == "KeyError"
            assert f"deliberate in {visit.step}" in failure.message
            assert not re.search(r"/flowc/(runtime|dsl)/", failure.traceback) and "flow.py" in failure.traceback
            assert run.record(address).failure.type == "KeyError"


def assert_visit_but_logs(run: RunView, address: str, visit: object, attempt: int) -> None:
    if run.record(address).failure is None:
        assert_visit(run, address, visit, attempt)  # type: ignore[arg-type]
    else:
        assert run.record(address).attempt == attempt
        assert run.artifact(address, "here") == visit.here  # type: ignore[attr-defined]


CRASHES = {
    "exit": ("os._exit(7)", "ProcessFailure"),
    "signal": ("os.kill(os.getpid(), 11)", "ProcessFailure"),
    "sys.exit": ("sys.exit(3)", "SystemExit"),
    "timeout": ("time.sleep(300)", "Timeout"),
}


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize(("shape", "victim"), [("linear", "a"), ("branch", "left"), ("foreach", "work")])
def test_a_caught_crash_goes_on_from_the_parents(
    shape: str, victim: str, crash: str, target: Target, write_flow: Callable[..., Path]
) -> None:
    statement, kind = CRASHES[crash]
    decorators = ["@catch(var='failure')", *([f"@timeout(seconds={target.shortest})"] if crash == "timeout" else [])]
    flow = FlowText(SHAPES[shape]).put(victim, decorators, [f"if {ODD}:\n    {statement}"])
    run = target.run(write_flow(flow.text()))
    reference = Reference(SHAPES[shape])
    assert run.done() == set(reference.visits)
    for address, visit in reference.visits.items():
        if visit.step != victim:
            continue
        failure = run.artifact(address, "failure")
        if sum(visit.index) % 2 == 1 or not visit.index:
            assert failure.type == kind
            assert run.record(address).failure.type == kind
            expected = visit.here if crash == "sys.exit" else visit.came[0]
            assert run.artifact(address, "here") == expected
        else:
            assert failure is None
            assert run.artifact(address, "here") == visit.here


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize(
    ("shape", "victim"), [("linear", "a"), ("foreach", "work"), ("gang", "train"), ("branch", "join")]
)
def test_a_crash_is_reported(
    shape: str, victim: str, crash: str, target: Target, write_flow: Callable[..., Path]
) -> None:
    statement, kind = CRASHES[crash]
    decorators = [f"@timeout(seconds={target.shortest})"] if crash == "timeout" else []
    flow = FlowText(SHAPES[shape]).put(
        victim,
        decorators,
        ["print('last words of', self.here, file=sys.stderr, flush=True)", f"if {ODD}:\n    {statement}"],
    )
    run = target.run(write_flow(flow.text()), expect="failed")
    reference = Reference(SHAPES[shape])
    assert_failed_at(run, {a for a, v in reference.visits.items() if v.step == victim}, kind, 1)
    failure = run.status["failure"]
    if crash == "exit":
        assert failure["exit_code"] == 7
    if crash == "signal":
        assert failure["signal"] in (11, "SIGSEGV")
        assert "SIGSEGV" in run.finished.said
    if victim == "train":
        assert failure["rank"] in (1, 3) or crash == "timeout"
    assert any("last words" in line for line in failure["last_lines"])
    assert_nothing_after(run, reference, {failure["address"]})


@pytest.mark.parametrize("shape", CROSSED)
def test_what_takes_too_long_is_tried_again(shape: str, target: Target, write_flow: Callable[..., Path]) -> None:
    flow = FlowText(SHAPES[shape])
    victim = list(flow.steps)[len(flow.steps) // 2]
    # Of a gang, all ranks.
    place = "self.stack[:-1]" if victim in flow.gangs() else "self.stack"
    flow.put(
        victim,
        [RETRY.format(1), f"@timeout(seconds={target.shortest})"],
        [f"if current.retry_count == 0 and not any({place}):\n    time.sleep(300)"],
    )
    reference = Reference(SHAPES[shape])
    again = {
        address: 2
        for address, visit in reference.visits.items()
        if visit.step == victim and not any(visit.index[:-1] if visit.gang else visit.index)
    }
    run = target.run(write_flow(flow.text()))
    assert_as_reference(run, reference, again)
    assert all(run.attempts(address) == [0, 1] for address in again)
    if shape in ("foreach_none", "switch_past"):  # in which no task is the victim's
        assert not again
    else:
        assert again and "took longer than" in run.finished.said + target.accounts(run.run_id)


def test_the_wait_between_retries_grows_by_its_factor(target: Target, write_flow: Callable[..., Path]) -> None:
    flow = FlowText(SHAPES["linear"]).put(
        "a",
        ["@retry(times=2, minutes_between_retries=0.005, backoff=2)"],
        ["trace(self, 'time', at=time.time())", "if current.retry_count < 2:\n    raise ValueError('not yet')"],
    )
    run = target.run(write_flow(flow.text()))
    times = [line["at"] for line in run.trace() if line["event"] == "time"]
    first, second = times[1] - times[0], times[2] - times[1]
    assert 0.3 <= first < 0.3 + target.late
    assert 0.6 <= second < 0.6 + 1.4 * target.late


def test_with_specs_put_decorators_on_every_step(target: Target, write_flow: Callable[..., Path]) -> None:
    flow = FlowText(SHAPES["foreach"])
    for step in flow.steps:
        flow.put(step, body=["if current.retry_count == 0:\n    raise ValueError('once')"])
    run = target.run(write_flow(flow.text()), with_=["retry:times=1,minutes_between_retries=0"])
    reference = Reference(SHAPES["foreach"])
    assert_as_reference(run, reference, dict.fromkeys(reference.visits, 2))
