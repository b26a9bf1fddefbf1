"""Steps that fail: what is recorded, what is said, and who goes on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from flowc import CaughtFailure, FlowSpec, step
from flowc.runtime import failure as failure_module
from flowc.runtime.datastore import file as file_module
from flowc.runtime.failure import failure_of, user_traceback
from flowc.runtime.record import Next as Onward
from plans import LINE, Branches, Catch, End, Foreach, Gang, Next, Switch, plan, task
from task_lab import Lab

PACKAGE = Path(failure_module.__file__).resolve().parent.parent


def one(start: Callable[[Any], None], leave: Any = None, **attributes: Any) -> tuple[Any, type[FlowSpec]]:
    """A Plan and a flow whose first step does this."""
    start.__name__ = "start"
    shape = plan(task("start", leave or Next("end"), **attributes), task("end", End(), "start"))
    flow = type("F", (FlowSpec,), {"start": step(start), "end": step(lambda self: None), "__module__": __name__})
    return shape, flow


def assert_no_flowc_frames(text: str) -> None:
    for room in ("dsl", "runtime"):
        assert f"{PACKAGE}/{room}/" not in text and f"flowc/{room}/" not in text, text


def deep(n: int) -> None:
    if n:
        deep(n - 1)
    raise KeyError("nothing here")


def test_the_authors_traceback(tmp_path: Path) -> None:
    lab = Lab(tmp_path, *one(lambda self: deep(2)))
    failure = lab.failed("start").failure
    assert failure is not None
    assert (failure.type, failure.message) == ("KeyError", "'nothing here'")
    assert lab.err == failure.traceback and lab.err.startswith("Traceback (most recent call last):")
    assert lab.err.count("in deep") == 3 and lab.err.rstrip().endswith("KeyError: 'nothing here'")
    assert_no_flowc_frames(lab.err)


def test_what_led_to_an_error_is_shown(tmp_path: Path) -> None:
    def start(self: Any) -> None:
        try:
            self.absent
        except AttributeError as error:
            raise ValueError("no") from error

    lab = Lab(tmp_path, *one(start))
    lab.failed("start")
    assert "MissingArtifact" in lab.err and "direct cause" in lab.err and "ValueError: no" in lab.err
    assert_no_flowc_frames(lab.err)


def test_an_error_of_flowc_is_its_text(tmp_path: Path) -> None:
    def start(self: Any) -> None:
        self.number = 1
        self.lock = threading.Lock()
        self.next(self.end)

    lab = Lab(tmp_path, *one(start))
    failure = lab.failed("start").failure
    assert failure is not None and failure.type == "BadArtifact"
    assert lab.err.startswith("BadArtifact: self.lock is a _thread.lock and cannot be stored.")
    assert "Traceback" not in lab.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nubmer", r"there is no artifact 'nubmer': no step before start has set it; there is nothing yet"),
        ("input_", r"'input_'"),
    ],
)
def test_a_missing_artifact_at_the_start(tmp_path: Path, name: str, said: str) -> None:
    failure = Lab(tmp_path, *one(lambda self: getattr(self, name))).failed("start").failure
    assert failure is not None and failure.type == "MissingArtifact" and said in failure.message


def test_a_missing_artifact_with_its_nearest_name(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.number = 1
            self.next(self.middle)

        @step
        def middle(self):
            print(self.nubmer)

    lab = Lab(tmp_path, LINE, F)
    lab.done("start")
    failure = lab.failed("middle").failure
    assert failure is not None and "no artifact 'nubmer'" in failure.message
    assert "did you mean self.number?" in failure.message
    assert "print(self.nubmer)" in lab.err


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


@pytest.mark.parametrize(
    ("raised", "type_name", "message"),
    [
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (SystemExit(0), "SystemExit", "end a step by returning from it"),
        (SystemExit(), "SystemExit", "end a step by returning from it"),
        (SystemExit(3), "SystemExit", "sys.exit(3)"),
        (SystemExit("out of data"), "SystemExit", "sys.exit('out of data')"),
        (GeneratorExit(), "GeneratorExit", ""),
        (Unspeakable(), "Unspeakable", ""),
        (RecursionError("deep"), "RecursionError", "deep"),
        (UnicodeError("\udcff"), "UnicodeError", "\udcff"),
    ],
)
def test_odd_ways_to_end(tmp_path: Path, raised: BaseException, type_name: str, message: str) -> None:
    def start(self: Any) -> None:
        raise raised

    lab = Lab(tmp_path, *one(start))
    failure = lab.failed("start").failure
    assert failure is not None and failure.type == type_name and message in failure.message
    assert type_name in lab.err


def test_exit_after_next_does_no_harm(tmp_path: Path) -> None:
    def start(self: Any) -> None:
        self.x = 1
        self.next(self.end)
        sys.exit()

    lab = Lab(tmp_path, *one(start))
    lab.done("start")
    assert lab.values("start") == {"x": 1}

    def fails(self: Any) -> None:
        self.next(self.end)
        sys.exit(1)

    Lab(tmp_path, *one(fails)).failed("start")


def test_a_recursion_limit_that_the_step_lowered(tmp_path: Path) -> None:
    def start(self: Any) -> None:
        sys.setrecursionlimit(300)

        def down() -> None:
            down()

        down()

    limit = sys.getrecursionlimit()
    try:
        assert "RecursionError" in Lab(tmp_path, *one(start)).failed("start").failure.type  # type: ignore[union-attr]
    finally:
        sys.setrecursionlimit(limit)


# self.next ------------------------------------------------------------------------------------------------------------


def case(text: str) -> Callable[[Any], None]:
    code = compile(text, "flow.py", "exec")

    def start(self: Any) -> None:
        exec(code, {"self": self})

    return start


END = Next("end")
TRANSITIONS = [
    ("pass", END, "ended without self.next; its last statement must be self.next(self.end)"),
    ("self.next(self.end); self.next(self.end)", END, "called twice"),
    (
        "self.next(self.start)",
        END,
        "went on with self.next(self.start), but the flow was planned with self.next(self.end)",
    ),
    ("self.next(self.end, self.start)", END, "but the flow was planned with"),
    ("self.x = [1]; self.next(self.end, foreach='x')", END, "foreach='x'), but the flow was planned with"),
    ("self.next('end')", END, "is not a step of F; write self.<step>"),
    ("self.next(self.end)", Foreach("end", "xs"), "planned with self.next(self.end, foreach='xs')"),
    ("self.ys = [1]; self.next(self.end, foreach='ys')", Foreach("end", "xs"), "planned with"),
    ("self.next(self.end, foreach='xs')", Foreach("end", "xs"), "no artifact 'xs'"),
    ("self.xs = 5; self.next(self.end, foreach='xs')", Foreach("end", "xs"), "self.xs is of type int, not something"),
    ("self.xs = 5; self.next(self.end, foreach='xs')", Foreach("end", "xs"), "write list(range(5))"),
    (
        "self.xs = None; self.next(self.end, foreach='xs')",
        Foreach("end", "xs"),
        "self.xs is None; foreach needs a list",
    ),
    ("self.xs = iter([1]); self.next(self.end, foreach='xs')", Foreach("end", "xs"), "make it a list: list(...)"),
    ("self.xs = len; self.next(self.end, foreach='xs')", Foreach("end", "xs"), "builtin_function_or_method"),
    ("self.xs = [1, lambda: 1]; self.next(self.end, foreach='xs')", Foreach("end", "xs"), "self.xs[1] is a lambda"),
    ("self.next(self.end, num_parallel=0)", Gang("end"), "a gang of 0 is not possible; it needs at least 1 rank"),
    ("self.next(self.end, num_parallel=-2)", Gang("end"), "a gang of -2 is not possible"),
    ("self.next(self.end, num_parallel='4')", Gang("end"), "'4' is of type str; a gang needs a whole number"),
    ("self.next(self.end, num_parallel=2.0)", Gang("end"), "2.0 is of type float"),
    ("self.next(self.end, num_parallel=True)", Gang("end"), "True is of type bool"),
    ("self.next(self.end, num_parallel=2)", Gang("end", size=4), "asks for 2 ranks, but the flow was planned with 4"),
]
SWITCH = Switch("way", (("left", "end"), ("1", "start")))
TRANSITIONS += [
    (
        "self.way = 'lfet'; self.next({'left': self.end, 1: self.start}, condition='way')",
        SWITCH,
        "cases are 'left', '1'",
    ),
    ("self.way = None; self.next({'left': self.end, 1: self.start}, condition='way')", SWITCH, "self.way is None"),
    ("self.next({'left': self.end, 1: self.start}, condition='way')", SWITCH, "no artifact 'way'"),
    ("self.way = 1; self.next({1: self.end, 'left': self.start}, condition='way')", SWITCH, "but the flow was planned"),
    ("self.yaw = 1; self.next({'left': self.end, 1: self.start}, condition='yaw')", SWITCH, "but the flow was planned"),
]


@pytest.mark.parametrize(("text", "leave", "said"), TRANSITIONS)
def test_what_self_next_may_not_be(tmp_path: Path, text: str, leave: Any, said: str) -> None:
    lab = Lab(tmp_path, *one(case(text), leave))
    failure = lab.failed("start").failure
    assert failure is not None and failure.type in ("BadTransition", "BadArtifact")
    assert said in failure.message, failure.message
    assert_no_flowc_frames(lab.err)


def test_self_next_in_the_last_step(tmp_path: Path) -> None:
    def start(self: Any) -> None:
        self.next(self.end)

    failure = Lab(tmp_path, *one(start, End())).failed("start").failure
    assert failure is not None and "cannot call self.next" in failure.message


@pytest.mark.parametrize(
    ("value", "to", "name"),
    [
        ("'left'", "end", "left"),
        ("1", "start", "1"),
        ("1.0", "start", "1"),
        ("__import__('numpy').int64(1)", "start", "1"),
    ],
)
def test_values_of_a_switch(tmp_path: Path, value: str, to: str, name: str) -> None:
    switch = Switch("way", (("left", "end"), ("1", "start")))
    text = f"self.way = {value}; self.next({{'left': self.end, 1: self.start}}, condition='way')"
    assert Lab(tmp_path, *one(case(text), switch)).done("start").next == Onward("switch", (to,), case=name)


def test_a_switch_on_true_and_false(tmp_path: Path) -> None:
    switch = Switch("way", (("True", "end"), ("False", "start")))
    for value, to in (("True", "end"), ("3 > 4", "start"), ("__import__('numpy').bool_(True)", "end"), ("0", "start")):
        text = f"self.way = {value}; self.next({{True: self.end, False: self.start}}, condition='way')"
        onward = Lab(tmp_path, *one(case(text), switch)).done("start").next
        assert onward is not None and onward.to == (to,)


def test_an_array_is_no_case(tmp_path: Path) -> None:
    text = "self.way = __import__('numpy').zeros(3); self.next({'left': self.end, 1: self.start}, condition='way')"
    failure = Lab(tmp_path, *one(case(text), Switch("way", (("left", "end"), ("1", "start"))))).failed("start").failure
    assert failure is not None and "the cases are" in failure.message


# @catch ---------------------------------------------------------------------------------------------------------------


def breaks(self: Any) -> None:
    self.before = 1
    self.lock = threading.Lock()
    raise ValueError("broke")


def test_a_caught_failure_goes_on(tmp_path: Path) -> None:
    lab = Lab(tmp_path, *one(breaks, catch=Catch("what")))
    record = lab.done("start")
    assert record.next == Onward("next", ("end",))
    assert record.failure is not None and (record.failure.type, record.failure.message) == ("ValueError", "broke")
    assert "ValueError: broke" in lab.err
    lab.done("end")
    values = lab.values("end")
    assert set(values) == {"before", "what"}, "what was set so far and can be stored"
    what = values["what"]
    assert isinstance(what, CaughtFailure) and (what.type, what.message, str(what)) == (
        "ValueError",
        "broke",
        "ValueError: broke",
    )
    assert "in breaks" in what.traceback


def test_a_quiet_catch(tmp_path: Path) -> None:
    lab = Lab(tmp_path, *one(breaks, catch=Catch(None, print_exception=False)))
    lab.done("start")
    assert lab.err == "" and lab.values("start") == {"before": 1}


def test_a_catch_waits_for_the_last_attempt(tmp_path: Path) -> None:
    lab = Lab(tmp_path, *one(breaks, catch=Catch("what")))
    lab.failed("start", 0, retries_left=True)
    record = lab.task("start", 1)
    assert record is not None and record.done and record.failure is not None


def test_nothing_to_catch(tmp_path: Path) -> None:
    lab = Lab(tmp_path, *one(case("self.x = 1; self.next(self.end)"), catch=Catch("what")))
    assert lab.done("start").failure is None
    assert lab.values("start") == {"x": 1, "what": None}


def test_an_artifact_that_cannot_be_stored_is_caught(tmp_path: Path) -> None:
    lab = Lab(tmp_path, *one(case("self.x = 1; self.f = lambda: 1; self.next(self.end)"), catch=Catch("what")))
    lab.done("start")
    assert set(lab.values("start")) == {"x", "what"} and lab.value("start", "what").type == "BadArtifact"


def test_a_step_whose_process_ended_is_recorded_for_it(tmp_path: Path) -> None:
    class F(FlowSpec):
        constant = 7

        @step
        def start(self):
            self.x = 1
            self.next(self.middle)

        @step
        def middle(self):
            raise AssertionError("it is not run again")

        @step
        def end(self):
            pass

    shape = plan(
        task("start", Next("middle")),
        task("middle", Next("end"), "start", catch=Catch("what")),
        task("end", End(), "middle"),
    )
    lab = Lab(tmp_path, shape, F)
    lab.done("start")
    record = lab.task("middle", 3, caught={"type": "Killed", "message": "signal 9"})
    assert record is not None and record.done and record.attempt == 3
    lab.done("end")
    assert lab.value("end", "x") == 1 and lab.value("end", "constant") == 7
    assert str(lab.value("end", "what")) == "Killed: signal 9"
    lab.task("end", code=2, caught={"type": "x"})
    assert "has no @catch" in lab.err


def test_a_caught_failure_in_a_step_that_branches(tmp_path: Path) -> None:
    def start(self: Any) -> None:
        raise ValueError

    shape = plan(
        task("start", Branches(("a", "b")), catch=Catch()),
        task("a", Next("end"), "start"),
        task("b", Next("end"), "start"),
        task("end", End(), "a", "b", joins="start"),
    )
    flow = one(start)[1]
    assert Lab(tmp_path, shape, flow).done("start").next == Onward("branches", ("a", "b"))
    last = plan(task("start", End(), catch=Catch()))
    assert Lab(tmp_path, last, flow).done("start").next == Onward("end")


# The store and the process --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "said"), [(errno.ENOSPC, "is full"), (errno.EROFS, "read-only")])
def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str) -> None:
    def start(self: Any) -> None:
        self.big = os.urandom(10_000)
        self.next(self.end)

    lab = Lab(tmp_path, *one(start, catch=Catch("what")))
    real = os.open

    def fails(path: Any, flags: int, *rest: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *rest)

    monkeypatch.setattr(file_module.os, "open", fails)
    lab.task("start", code=1)
    assert said in lab.err and str(tmp_path) in lab.err and "Traceback" not in lab.err
    monkeypatch.undo()
    assert lab.records.attempts(lab.plan and __import__("flowc.runtime.address").runtime.address.Address("start")) in (
        [],
        [0],
    )


FLOW = """
import os, signal, sys, time
from contextlib import nullcontext
from functools import partial
from flowc import FlowSpec, step
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.runs import read_run
from flowc.runtime.task import Surroundings, TaskRequest, run_task
from flowc.runtime.address import Address

class F(FlowSpec):
    @step
    def start(self):
        try:
            BODY
        finally:
            print("finally", flush=True)
            AFTER
        self.next(self.end)

    @step
    def end(self):
        pass

def fork_one_that_goes_on():
    pid = os.fork()
    if pid:
        print("ended by", os.WTERMSIG(os.waitpid(pid, 0)[1]), flush=True)
        return
    say = str(os.getpid())
    while True:
        try:
            print(say, flush=True)
            time.sleep(30)
        except BaseException:
            say = "goes on"

datastore = FileDatastore(sys.argv[1])
gang = Surroundings({}, partial(nullcontext, {})) if "gang" in sys.argv else None
request = TaskRequest(Address("start"))
sys.exit(run_task(F, read_run(datastore, "F", "1"), datastore, request, surroundings=gang))
"""


def process(tmp_path: Path, body: str, after: str = "pass", *, gang: bool = False) -> subprocess.Popen[str]:
    Lab(tmp_path / "store", *one(lambda self: None))
    file = tmp_path / "one_task.py"
    file.write_text(FLOW.replace("BODY", body).replace("AFTER", after))
    words = [sys.executable, str(file), str(tmp_path / "store"), *(["gang"] if gang else [])]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_sigterm_runs_finally_blocks_and_leaves_no_record(tmp_path: Path) -> None:
    child = process(tmp_path, "print('at it', flush=True); time.sleep(30)")
    assert child.stdout is not None and child.stdout.readline() == "at it\n"
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=10)
    assert (child.returncode, out, err) == (143, "finally\n", "")
    assert not list(tmp_path.rglob("record.json"))


def test_a_second_sigterm_ends_a_clean_up_that_hangs(tmp_path: Path) -> None:
    child = process(tmp_path, "print('at it', flush=True); time.sleep(30)", "time.sleep(30)")
    assert child.stdout is not None and child.stdout.readline() == "at it\n"
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "finally\n"
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=10)
    assert child.returncode == -signal.SIGTERM


def test_a_second_sigterm_does_not_end_the_clean_up_of_a_rank_of_a_gang(tmp_path: Path) -> None:
    """Whose supervisor has the clock; what it has forked has no supervisor, and ends."""
    after = "fork_one_that_goes_on(); print('saving', flush=True); time.sleep(1); print('saved', flush=True)"
    child = process(tmp_path, "print('at it', flush=True); time.sleep(30)", after, gang=True)
    assert child.stdout is not None and child.stdout.readline() == "at it\n"
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "finally\n"
    forked = int(child.stdout.readline())
    os.kill(forked, signal.SIGTERM)
    assert child.stdout.readline() == "goes on\n"
    os.kill(forked, signal.SIGTERM)
    assert child.stdout.readline() == f"ended by {int(signal.SIGTERM)}\n"
    assert child.stdout.readline() == "saving\n"
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=10)
    assert (child.returncode, out, err) == (143, "saved\n", "")
    assert not list(tmp_path.rglob("record.json"))


def test_a_crash_leaves_no_record(tmp_path: Path) -> None:
    for body in ("os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"):
        child = process(tmp_path, body)
        child.communicate(timeout=10)
        assert not list(tmp_path.rglob("record.json"))


def test_closed_streams_do_no_harm(tmp_path: Path) -> None:
    child = process(tmp_path, "pass", "sys.stdout.close(); sys.stderr.close()")
    child.communicate(timeout=10)
    assert child.returncode == 0 and list(tmp_path.rglob("record.json"))


def test_a_task_in_another_thread(tmp_path: Path) -> None:
    lab = Lab(tmp_path, *one(case("self.next(self.end)")))
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(lab.done("start")))
    thread.start()
    thread.join(10)
    assert done and done[0].done


def test_tracebacks_of_files_beside_the_rooms_are_the_authors(tmp_path: Path) -> None:
    # Examples and tests may lie in the repository, which is the package.
    try:
        exec(compile("1 / 0", str(PACKAGE / "examples" / "flow.py"), "exec"))
    except ZeroDivisionError as error:
        assert "examples/flow.py" in user_traceback(error)


def test_very_long_texts_are_shortened_in_the_record(tmp_path: Path) -> None:
    def start(self: Any) -> None:
        raise ValueError("begin " + "x" * 1_000_000 + " end")

    lab = Lab(tmp_path, *one(start))
    failure = lab.failed("start").failure
    assert failure is not None and len(failure.message) < 11_000 and len(failure.traceback) < 110_000
    assert failure.message.startswith("begin") and failure.message.endswith(" end") and "[...]" in failure.message


def test_a_long_chain_of_errors() -> None:
    error: Exception = ValueError("first")
    for number in range(3000):
        later = ValueError(f"number {number}")
        later.__context__ = error
        error = later
    failure = failure_of(error)
    assert failure.message == "number 2999"


def test_an_exception_with_exceptions_of_its_own_kind() -> None:
    error = ValueError("x")
    error.exceptions = 3  # type: ignore[attr-defined]
    assert failure_of(error).message == "x"


def test_failures_of_nested_classes_and_groups() -> None:
    class Inner(Exception): ...

    assert failure_of(Inner("x")).type.endswith("Inner")
    if sys.version_info >= (3, 11):
        group = ExceptionGroup("several", [ValueError("a"), KeyError("b")])  # noqa: F821
        assert "ValueError: a" in user_traceback(group) and "KeyError" in user_traceback(group)


def test_a_step_that_reads_from_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        failure = Lab(tmp_path, *one(lambda self: input("name? "))).failed("start").failure
    assert failure is not None
    assert failure.message == "EOF when reading a line. A step has no terminal to read from."
    assert failure_of(EOFError("Ran out of input")).message == "Ran out of input"


@pytest.mark.parametrize("fails", [False, True])
def test_the_umask_of_a_step_is_not_that_of_its_artifacts(tmp_path: Path, fails: bool) -> None:
    def start(self: Any) -> None:
        os.umask(0o777)
        os.chdir("/")
        self.large = "x" * 100_000
        if fails:
            raise ValueError("no")
        self.next(self.end)

    folder, before = os.getcwd(), os.umask(0o022)
    try:
        lab = Lab(tmp_path, *one(start))
        if fails:
            lab.failed("start")
        else:
            lab.done("start")
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
        os.chdir(folder)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert "record.json" in modes and (fails or len(modes) > 2)
    assert set(modes.values()) == {0o644}
