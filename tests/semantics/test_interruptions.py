"""Runs that are interrupted or killed: nothing is left running, and the run can be resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flow_checks import assert_as_reference
from flow_reference import Reference
from flow_shapes import SHAPES
from flow_target import Finished, Local, RunView, clean_environment, flowc
from flow_text import FlowText

pytestmark = pytest.mark.slow

WriteFlow = Callable[..., Path]
WAIT = "if not mended(self):\n    subprocess.Popen(['sleep', '600'])\n    time.sleep(600)"


def marked(mark: str) -> dict[int, str]:
    """Living processes whose environment holds the mark, with their command lines."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
            command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark.encode() in environment and state not in "ZX":
            found[int(name)] = command
    return found


def until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Wait for a condition; gives how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.02)
    return time.monotonic() - began


class Started:
    """A run in the background whose processes can be told from all others."""

    def __init__(self, target: Local, file: Path, *options: str) -> None:
        self.target = target
        self.file = file
        self.lab = target.folder / "lab"
        self.lab.mkdir(exist_ok=True)
        self.mark = f"FLOW_TEST_MARK={target.folder}"
        self.output = target.folder / "output"
        name, _, value = self.mark.partition("=")
        with open(self.output, "w") as output:
            self.process = subprocess.Popen(
                flowc("run", str(file), "--datastore", str(target.root), "--lab", str(self.lab), *options),
                env={**clean_environment(), name: value},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=target.folder,
                start_new_session=True,
            )

    def begun(self, step: str, times: int) -> None:
        """Wait until that many tasks of a step have begun."""
        trace = self.lab / "trace"

        def enough() -> bool:
            assert self.process.poll() is None, self.output.read_text()
            return trace.exists() and trace.read_text().count(f'"begin", "here": "{step}/') >= times

        until(enough, 30, f"{times} tasks of {step} never began")

    def view(self) -> RunView:
        said = self.output.read_text()
        finished = Finished(self.process.returncode, said, "")
        return RunView("ShapeFlow", "1", self.target.root, finished, self.target, self.file, {"lab": str(self.lab)})


@pytest.fixture
def start(target: Local, write_flow: WriteFlow) -> Iterator[Callable[..., Started]]:
    """Start a flow of a shape in the background, one step of which waits forever; whatever is left of it is killed."""
    begun: list[Started] = []

    def start(shape: str, step: str, wait: str = WAIT, *options: str) -> Started:
        flow = FlowText(SHAPES[shape]).put(step, body=["import subprocess", wait])
        begun.append(Started(target, write_flow(flow.text()), *options))
        return begun[-1]

    yield start
    for started in begun:
        for pid in (*marked(started.mark), *([started.process.pid] if started.process.poll() is None else [])):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        started.process.wait(10)


PLACES = [("linear", "a", 1), ("foreach", "work", 4), ("gang", "train", 4), ("branch", "left", 1)]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize(("shape", "step", "tasks"), PLACES)
def test_an_interrupted_run_leaves_nothing_and_can_be_resumed(
    shape: str, step: str, tasks: int, stop: signal.Signals, start: Callable[..., Started]
) -> None:
    started = start(shape, step)
    started.begun(step, tasks)
    assert len(marked(started.mark)) > tasks
    # A terminal sends Ctrl-C to the whole foreground group.
    (os.killpg if stop == signal.SIGINT else os.kill)(started.process.pid, stop)
    took = until(lambda: started.process.poll() is not None, 10, "the run did not end")
    assert took < 8
    assert started.process.returncode == 130, started.output.read_text()
    until(lambda: not marked(started.mark), 1, f"left running: {marked(started.mark)}")
    view = started.view()
    assert view.status["state"] == "interrupted"
    assert "Traceback" not in view.finished.said
    assert "resume" in view.finished.said
    finish(started, shape)


@pytest.mark.parametrize(("shape", "step", "tasks"), PLACES)
def test_a_killed_scheduler_leaves_nothing_and_can_be_resumed(
    shape: str, step: str, tasks: int, start: Callable[..., Started]
) -> None:
    started = start(shape, step)
    started.begun(step, tasks)
    os.kill(started.process.pid, signal.SIGKILL)
    started.process.wait(5)
    until(lambda: not marked(started.mark), 8, f"left running: {marked(started.mark)}")
    shown = started.target.command("runs", "--datastore", str(started.target.root))
    assert "lost" in shown.stdout, shown.said
    assert f"out {step}/" in started.view().log(
        sorted(a for a in started.view().started() if a.startswith(step))[0], "stdout"
    )
    finish(started, shape)


def finish(started: Started, shape: str) -> None:
    """Resume the run, which must then hold all that the shape's reference asks for."""
    (started.lab / "mended").touch()
    os.rename(started.lab / "trace", started.lab / "trace-before")
    run = started.target.resume(started.view())
    reference = Reference(SHAPES[shape])
    copies = frozenset(address for address in reference.visits if run.record(address).origin is not None)
    assert "start" in copies
    assert_as_reference(run, reference, skip=copies)


def test_a_killed_scheduler_with_fresh_interpreters(start: Callable[..., Started]) -> None:
    started = start("foreach", "work", WAIT, "--isolation", "spawn")
    started.begun("work", 4)
    os.kill(started.process.pid, signal.SIGKILL)
    started.process.wait(5)
    until(lambda: not marked(started.mark), 8, f"left running: {marked(started.mark)}")


STUBBORN = (
    "import signal, subprocess\n"
    "if not mended(self):\n"
    "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "    subprocess.Popen(['sh', '-c', 'trap \"\" TERM INT; sleep 600; sleep 600'])\n"
    "    trace(self, 'deaf')\n"
    "    time.sleep(600)"
)


@pytest.mark.slow
def test_tasks_that_will_not_go_are_killed(start: Callable[..., Started]) -> None:
    started = start("foreach", "work", STUBBORN)
    started.begun("work", 4)
    until(lambda: (started.lab / "trace").read_text().count("deaf") == 4, 10, "the tasks never came that far")
    os.kill(started.process.pid, signal.SIGTERM)
    until(lambda: started.process.poll() is not None, 12, "the run did not end")
    until(lambda: not marked(started.mark), 1, f"left running: {marked(started.mark)}")
    assert started.view().status["state"] == "interrupted"


def test_a_second_interrupt_does_not_lose_anything(start: Callable[..., Started]) -> None:
    started = start("foreach", "work", STUBBORN)
    started.begun("work", 4)
    for _ in range(3):
        os.killpg(started.process.pid, signal.SIGINT)
        time.sleep(0.1)
    until(lambda: started.process.poll() is not None, 12, "the run did not end")
    until(lambda: not marked(started.mark), 1, f"left running: {marked(started.mark)}")
    assert started.process.returncode == 130
    assert "Traceback" not in started.output.read_text()


def test_what_a_task_leaves_behind_is_ended_with_it(start: Callable[..., Started]) -> None:
    started = start("linear", "a", "subprocess.Popen(['sleep', '600'])")
    started.process.wait(20)
    assert started.process.returncode == 0, started.output.read_text()
    until(lambda: not marked(started.mark), 1, f"left running: {marked(started.mark)}")


def test_a_failing_run_ends_its_other_tasks(start: Callable[..., Started]) -> None:
    fail = "if self.at == 1:\n    time.sleep(0.3)\n    raise ValueError('one of four')\n"
    wait = fail + "subprocess.Popen(['sleep', '600'])\ntime.sleep(600)"
    started = start("foreach", "work", wait)
    until(lambda: started.process.poll() is not None, 15, "the run did not end")
    assert started.process.returncode == 1
    until(lambda: not marked(started.mark), 1, f"left running: {marked(started.mark)}")
    assert started.view().status["failure"]["address"] == "work/1"


def test_a_failing_rank_ends_the_gang_at_once(start: Callable[..., Started]) -> None:
    fail = "if self.gang[0] == 2:\n    print('rank two gives up', file=sys.stderr, flush=True)\n    os._exit(41)\n"
    wait = fail + "time.sleep(600)"
    started = start("gang", "train", wait)
    took = until(lambda: started.process.poll() is not None, 15, "the run did not end")
    assert took < 6
    until(lambda: not marked(started.mark), 1, f"left running: {marked(started.mark)}")
    failure = started.view().status["failure"]
    assert (failure["rank"], failure["exit_code"]) == (2, 41)
    assert any("rank two gives up" in line for line in failure["last_lines"])
    said = started.output.read_text()
    assert "rank 2" in said and "41" in said and "rank two gives up" in said
