"""What must hold of every finished run of a generated flow, whatever its shape: the facts against the reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flow_reference import Reference, Visit
from flow_target import Finished, RunView


def assert_as_reference(
    run: RunView, reference: Reference, attempts: Mapping[str, int] | None = None, skip: frozenset[str] = frozenset()
) -> None:
    """Every task ran once (or as often as ``attempts`` says, by address), saw what it must see, and left its logs.

    Parameters
    ----------
    skip : frozenset of str
        Addresses of tasks that wrote no trace into this run's trace file, since another run did their work.
    """
    attempts = attempts or {}
    assert run.done() == set(reference.visits), "the tasks of the run are not those of the flow"
    for address, visit in reference.visits.items():
        assert_visit(run, address, visit, attempts.get(address, 1) - 1)
    assert_heritage_is_shared(run, reference)
    assert_trace(run, reference, attempts, skip)


def assert_visit(run: RunView, address: str, visit: Visit, attempt: int) -> None:
    """One task's artifacts, record and logs."""
    record = run.record(address)
    assert record.attempt == attempt, address
    found = run.artifacts(address)
    item = visit.frames[-1][2] if visit.frames else None
    at = visit.frames[-1][0] if visit.frames else None
    expected = {
        "came": visit.came,
        "here": visit.here,
        "stack": visit.index,
        "frames": visit.frames,
        "item": item,
        "at": at,
        "attempt": attempt,
        "heritage": visit.heritage,
        "facts": (run.flow, run.run_id, visit.step, True),
        "gang": visit.gang,
    }
    if record.origin is not None:
        del expected["facts"]
    assert {name: found.get(name) for name in expected} == expected, address
    if record.origin is None:
        for stream in ("out", "err"):
            assert run.log(address, f"std{stream}", attempt) == f"{stream} {visit.here} {attempt}\n", address


def assert_heritage_is_shared(run: RunView, reference: Reference) -> None:
    """An artifact that nobody changes is stored once and referred to everywhere."""
    refs = [run.record(a).artifacts["heritage"] for a, v in reference.visits.items() if isinstance(v.heritage, dict)]
    assert all(ref == refs[0] for ref in refs)


def assert_trace(
    run: RunView, reference: Reference, attempts: Mapping[str, int], skip: frozenset[str] = frozenset()
) -> None:
    """Every attempt began once, after the end of everything before it; the good ones ended once."""
    begins: dict[str, list[int]] = {}
    ends: dict[str, list[int]] = {}
    lines = run.trace()
    for at, line in enumerate(lines):
        (begins if line["event"] == "begin" else ends).setdefault(line["here"], []).append(at)
    by_address: dict[str, Visit] = {a: v for a, v in reference.visits.items() if a not in skip}
    assert set(begins) == {v.here for v in by_address.values()}
    for address, visit in by_address.items():
        wanted = attempts.get(address, 1)
        retries = [lines[at]["retry"] for at in begins[visit.here]]
        assert retries == list(range(wanted)), address
        assert len(ends[visit.here]) == 1, address
        for parent in visit.parents:
            if parent in by_address:
                assert ends[by_address[parent].here][0] < begins[visit.here][0], (
                    f"{address} began before {parent} ended"
                )


def values_of(run: RunView, name: str) -> dict[str, Any]:
    """One artifact of every task that has it, by address."""
    return {a: run.artifact(a, name) for a in sorted(run.done()) if name in run.record(a).artifacts}


def assert_clear(finished: Finished, code: int, *said: str) -> None:
    """The exit code, no traceback of flowc's, and every one of these words."""
    assert finished.returncode == code, finished.said
    assert_no_flowc_frames(finished.said)
    for words in said:
        assert words in finished.said, f"{words!r} is not in\n{finished.said}"


def assert_no_flowc_frames(text: str) -> None:
    import flowc

    folder = str(Path(flowc.__file__).resolve().parent)
    frames = re.findall(r'File "([^"]+)", line \d+', text)
    # In pods of Argo, flowc lies with the flow's code.
    there = (folder, "/flowc/code/flowc/")
    ours = [f for f in frames if str(Path(f).resolve()).startswith(there) and "/tests/" not in f]
    assert not ours, f"frames of flowc in\n{text}"
    assert "site-packages/click" not in text
    assert "internal error" not in text, text
