"""A failed run, resumed at every place of every shape."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_checks import assert_as_reference
from flow_reference import Reference
from flow_shapes import CROSSED, SHAPES
from flow_target import RunView, Target
from flow_text import FlowText

pytestmark = pytest.mark.slow

FAIL = "if not mended(self) and (sum(self.stack) % 2 == 1 or not self.stack):\n    raise RuntimeError('not mended')"


def places(shape: str) -> list[str]:
    """The steps of a shape at which a run of it may fail: all where behaviours are crossed, else one in the middle."""
    visited = {visit.step for visit in Reference(SHAPES[shape]).visits.values()}
    steps = [step for step in FlowText(SHAPES[shape]).steps if step in visited]
    return steps if shape in CROSSED else [steps[len(steps) // 2]]


PLACES = [(shape, step) for shape in SHAPES for step in places(shape)]


def mend(target: Target) -> None:
    """Let the failing step go on from now on, and put the trace of the failed run aside."""
    lab = target.folder / "lab"
    (lab / "mended").touch()
    os.rename(lab / "trace", lab / "trace-before")


def assert_resumed(run: RunView, before: RunView, reference: Reference) -> set[str]:
    """The new run holds everything, of which what was done before is a copy; gives the addresses of the copies."""
    assert run.run_id != before.run_id
    assert run.info["origin_run_id"] == before.run_id
    copies = {a for a in reference.visits if run.record(a).origin is not None}
    assert all(run.record(a).origin == before.run_id for a in copies)
    assert_as_reference(run, reference, skip=frozenset(copies))
    for address in copies:
        assert run.record(address).artifacts == before.record(address).artifacts
    return copies


@pytest.mark.parametrize(("shape", "victim"), PLACES, ids=[f"{shape}-{step}" for shape, step in PLACES])
def test_resume_goes_on_where_the_run_failed(
    shape: str, victim: str, target: Target, write_flow: Callable[..., Path]
) -> None:
    reference = Reference(SHAPES[shape])
    file = write_flow(FlowText(SHAPES[shape]).put(victim, body=[FAIL]).text())
    if not any(v.step == victim and (sum(v.index) % 2 == 1 or not v.index) for v in reference.visits.values()):
        assert_as_reference(target.run(file), reference)
        return
    failed = target.run(file, expect="failed")
    done_before = failed.done()
    mend(target)
    run = target.resume(failed)
    copies = assert_resumed(run, failed, reference)
    expected = set()
    for address, visit in reference.visits.items():  # parents come first
        if address in done_before and all(parent in expected for parent in visit.parents):
            expected.add(address)
    for address in [a for a in expected if reference.visits[a].gang]:
        ranks = {
            a
            for a, v in reference.visits.items()
            if v.gang
            and v.parents == reference.visits[address].parents
            and v.step == reference.visits[address].step
            and v.round == reference.visits[address].round
        }
        if not ranks <= expected:
            expected -= ranks
    assert copies == expected


def test_resume_of_a_good_run_from_a_step(target: Target, write_flow: Callable[..., Path]) -> None:
    reference = Reference(SHAPES["nested_foreach"])
    first = target.run(write_flow(FlowText(SHAPES["nested_foreach"]).text()))
    mend(target)
    run = target.resume(first, options=["--from", "after"])
    copies = assert_resumed(run, first, reference)
    assert copies == {a for a, v in reference.visits.items() if v.step not in ("after", "join", "end")}


def test_resume_uses_the_code_of_now(target: Target, write_flow: Callable[..., Path]) -> None:
    flow = FlowText(SHAPES["foreach"]).put("work", body=["if self.at == 2:\n    raise RuntimeError('old code')"])
    failed = target.run(write_flow(flow.text()), expect="failed")
    (target.folder / "lab" / "trace").unlink()
    write_flow(FlowText(SHAPES["foreach"]).put("work", body=["self.news = True"]).text())
    run = target.resume(failed)
    copies = assert_resumed(run, failed, Reference(SHAPES["foreach"]))
    assert "start" in copies and "work/2" not in copies
    assert run.artifact("work/2", "news") is True


def test_resume_of_a_resumed_run(target: Target, write_flow: Callable[..., Path]) -> None:
    flow = FlowText(SHAPES["linear"])
    for step in ("a", "b"):
        flow.put(
            step, body=[f"if not os.path.exists(os.path.join(self.lab, 'ok-{step}')):\n    raise RuntimeError('no')"]
        )
    first = target.run(write_flow(flow.text()), expect="failed")
    lab = target.folder / "lab"
    (lab / "ok-a").touch()
    second = target.resume(first, expect="failed")
    assert second.done() == {"start", "a"}
    (lab / "ok-b").touch()
    os.rename(lab / "trace", lab / "trace-before")
    third = target.resume(second)
    assert_as_reference(third, Reference(SHAPES["linear"]), skip=frozenset({"start", "a"}))
    assert third.record("start").origin is not None
    assert third.record("a").origin is not None


def test_resume_keeps_the_parameters_of_the_run(target: Target, write_flow: Callable[..., Path]) -> None:
    flow = FlowText(SHAPES["linear"]).put("b", body=["self.saw = self.word", FAIL])
    flow.attributes.append('word = Parameter("word", default="none")')
    failed = target.run(write_flow(flow.text()), params={"word": "given"}, expect="failed")
    mend(target)
    assert target.resume(failed).artifact("b", "saw") == "given"
