"""What is wrong with a flow, its parameters or its values is one clear message, never a traceback of flowc's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flow_checks import assert_clear, assert_no_flowc_frames
from flow_small import fanned, small
from flow_target import Local, RunView, Target

pytestmark = pytest.mark.slow

WriteFlow = Callable[..., Path]


def failed(target: Target, file: Path) -> RunView:
    run = target.run(file, expect="failed")
    assert_no_flowc_frames(run.finished.said)
    return run


# Files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "check", "plan", "graph"])
def test_no_such_file(command: str, target: Local) -> None:
    assert_clear(target.command(command, "absent.py"), 2, "absent.py")


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("class A(:\n", (1, 2), "flow.py:1"),
        ("import nothing_of_that_name\nfrom flowc import FlowSpec\n", (1, 2), "nothing_of_that_name"),
        ("x = 1\n", (1, 2), "FlowSpec"),
        ("", (1, 2), "FlowSpec"),
        ("from flowc import FlowSpec, step\n1 / 0\n", (1, 2), "ZeroDivisionError"),
        ("\0\x01", (1, 2), "flow.py"),
        ("from flowc import FlowSpec, step\nraise SystemExit(5)\n", (1, 2), "flow.py"),
        ("from flowc import FlowSpec, no_such_thing\n", (1, 2), "no_such_thing"),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_files_that_hold_no_flow(
    text: str, code: tuple[int, ...], said: str, command: str, target: Local, write_flow: WriteFlow
) -> None:
    finished = target.command(command, str(write_flow(text)))
    assert finished.returncode in code, finished.said
    assert_no_flowc_frames(finished.said)
    assert said in finished.said


def test_a_folder_or_a_binary_is_no_flow(target: Local, tmp_path: Path) -> None:
    (tmp_path / "blob.py").write_bytes(bytes(range(256)))
    for file in (tmp_path, tmp_path / "blob.py"):
        finished = target.command("run", str(file))
        assert finished.returncode in (1, 2)
        assert_no_flowc_frames(finished.said)


def test_an_error_of_the_graph_is_shown_with_its_line(target: Local, write_flow: WriteFlow) -> None:
    file = write_flow(small().replace("self.next(self.middle)", "self.next(self.midle)"))
    for command in ("run", "check"):
        assert_clear(target.command(command, str(file)), 1, "flow.py:9:", "error[FC", "midle", "middle", "^")
    assert not list(target.folder.glob("**/run.json"))


# What a step does -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [("5", "int"), ("None", "None"), ("lambda: 1", "function")],
)
def test_foreach_over_what_cannot_be_gone_over(value: str, said: str, target: Target, write_flow: WriteFlow) -> None:
    text = fanned(f"self.things = {value}")
    run = failed(target, write_flow(text))
    assert run.status["failure"]["address"] == "start"
    assert "things" in run.finished.said and said in run.finished.said


@pytest.mark.parametrize(
    "value",
    [
        "lambda: 1",
        "{'deep': [1, open(__file__)]}",
        "__import__('threading').Lock()",
        "(n for n in [1])",
    ],
)
def test_an_artifact_that_does_not_pickle_is_named(value: str, target: Target, write_flow: WriteFlow) -> None:
    run = failed(target, write_flow(small(f"self.fine = 1; self.odd_one = {value}")))
    assert run.status["failure"]["address"] == "start"
    assert "odd_one" in run.status["failure"]["message"]
    assert "odd_one" in run.finished.said


def test_a_missing_artifact_with_its_nearest_name(target: Target, write_flow: WriteFlow) -> None:
    run = failed(target, write_flow(small(middle="print(self.nubmer)")))
    failure = run.status["failure"]
    assert failure["address"] == "middle"
    assert "'nubmer'" in failure["message"] and "number" in failure["message"].replace("nubmer", "")


def test_the_authors_traceback_is_the_authors(target: Target, write_flow: WriteFlow) -> None:
    text = small(middle="deep(3)").replace(
        "class SmallFlow", "def deep(n):\n    return deep(n - 1) if n else {}['nothing here']\n\nclass SmallFlow"
    )
    run = failed(target, write_flow(text))
    for said in (run.log("middle", "stderr"), run.finished.said):
        assert "KeyError: 'nothing here'" in said
        assert "in middle" in said and "in deep" in said
    trace = run.log("middle", "stderr")
    assert trace.index("in middle") < trace.index("in deep")


def test_a_chained_exception_keeps_both_parts(target: Target, write_flow: WriteFlow) -> None:
    text = small(
        "try:\n            1 / 0\n        except ZeroDivisionError as e:\n            raise KeyError('x') from e"
    )
    run = failed(target, write_flow(text))
    said = run.log("start", "stderr")
    assert "ZeroDivisionError" in said and "KeyError" in said and "direct cause" in said


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("self.next(self.end); self.next(self.end)", "twice"),
        ("self.number = self.number.nope", "nope"),
        ("raise Exception()", "Exception"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()", "Odd"),
        ("import sys; sys.setrecursionlimit(200); f = lambda: f(); f()", "RecursionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_odd_ends_of_a_step(statement: str, said: str, target: Target, write_flow: WriteFlow) -> None:
    text = small(middle=statement)
    if "twice" in said:  # the graph is fine, only a run can tell
        text = text.replace("MIDDLE", "").replace(statement, "go = self.next; go(self.end)")
    run = failed(target, write_flow(text))
    assert run.status["failure"]["address"] == "middle"
    assert said in run.finished.said


def test_text_that_no_encoding_has_can_be_printed(target: Target, write_flow: WriteFlow) -> None:
    assert target.run(write_flow(small(middle="print('\\udcff')"))).log("middle", "stdout") == "\\udcff\n"


def test_a_switch_with_an_unknown_case(target: Target, write_flow: WriteFlow) -> None:
    text = small("self.way = 'lfet'").replace(
        "self.next(self.middle)", "self.next({'left': self.middle, 'right': self.end}, condition='way')"
    )
    run = failed(target, write_flow(text))
    said = run.status["failure"]["message"]
    assert "lfet" in said and "left" in said and "right" in said


def test_a_step_that_does_not_say_where_to_go(target: Local, write_flow: WriteFlow) -> None:
    text = small().replace("self.next(self.end)", "if not self.number:\n            self.next(self.end)")
    finished = target.command("run", str(write_flow(text)), "--datastore", str(target.root))
    assert finished.returncode == 1
    assert_no_flowc_frames(finished.said)
    assert "self.next" in finished.said


def test_artifacts_of_odd_kinds_survive(target: Target, write_flow: WriteFlow) -> None:
    values = "float('nan'), 10**50, b'x' * 3000, 'ü\\n', {1: {2: {3: ()}}}, ..., type, len"
    run = target.run(write_flow(small(f"self.odd = ({values})", end="self.back = self.odd")))
    back = run.artifact("end", "back")
    assert back[0] != back[0]
    assert back[1:] == (10**50, b"x" * 3000, "ü\n", {1: {2: {3: ()}}}, ..., type, len)
    assert run.record("end").artifacts["odd"] == run.record("start").artifacts["odd"]


def test_a_cycle_in_an_artifact_and_a_change_in_place(target: Target, write_flow: WriteFlow) -> None:
    run = target.run(
        write_flow(
            small("self.ring = [1]; self.ring.append(self.ring)", "self.ring[0] = 2", "self.first = self.ring[0]")
        )
    )
    assert run.artifact("end", "first") == 2
    assert run.artifact("start", "ring")[0] == 1


def test_numpy_arrays_are_the_tasks_own(target: Target, write_flow: WriteFlow) -> None:
    pytest.importorskip("numpy")
    make = "import numpy; self.array = numpy.zeros(100_000)"
    run = target.run(write_flow(small(make, "self.array[5] = 3.0", "self.total = float(self.array.sum())")))
    assert run.artifact("start", "array").sum() == 0
    assert run.artifact("middle", "array")[5] == 3
    assert run.artifact("end", "total") == 3


# Commands that look at runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "SmallFlow/99"), "99"),
        (("show", "NoFlow/1"), "NoFlow"),
        (("logs", "SmallFlow/1/middel"), "middel"),
        (("logs", "SmallFlow/1/middle/7"), "7"),
        (("dump", "SmallFlow/1/middle", "--name", "nubmer"), "number"),
        (("resume", "SmallFlow/99"), "99"),
        (("resume", "SmallFlow/1", "--from", "middel"), "middle"),
        (("runs", "NoFlow"), "NoFlow"),
        (("show", "Small Flow//"), ""),
    ],
)
def test_runs_that_are_not_there(arguments: tuple[str, ...], said: str, target: Local, write_flow: WriteFlow) -> None:
    target.run(write_flow(small()))
    assert_clear(target.command(*arguments, "--datastore", str(target.root)), 2, said)


def test_wrong_usage(target: Local, write_flow: WriteFlow) -> None:
    file = str(write_flow(small()))
    assert_clear(target.command("rnu", file), 2, "run")
    assert_clear(target.command("run"), 2)
    assert_clear(target.command("run", file, "--max-workers", "0"), 2, "max-workers")
    assert_clear(target.command("run", file, "--with", "retyr:times=2"), 2, "retry")
    assert_clear(target.command("run", file, "--with", "retry:tmies=2"), 1, "times")
    assert_clear(target.command("run", file, "--datastore", "gopher://x"), 2, "gopher")
    assert_clear(target.command("run", file + ":NoFlow"), 2, "NoFlow", "SmallFlow")


def test_a_foreach_wider_than_allowed(target: Local, write_flow: WriteFlow) -> None:
    text = fanned("self.things = range(30)")
    file = write_flow(text)
    target.run(file, options=["--max-num-splits", "30"])
    run = target.run(file, options=["--max-num-splits", "29"], expect="failed")
    assert "30" in run.finished.said and "--max-num-splits" in run.finished.said
