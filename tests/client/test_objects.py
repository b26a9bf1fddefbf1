"""Flows, runs, steps, tasks and artifacts as objects."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from flowc import (
    CaughtFailure,
    DataArtifact,
    Flow,
    Metaflow,
    MissingArtifact,
    Run,
    Step,
    Task,
    get_namespace,
    namespace,
)
from flowc.client import NotFound

THEIRS = """
from metaflow import FlowSpec, step


class Point:
    def __init__(self, x):
        self.x = x


class TheirFlow(FlowSpec):
    @step
    def start(self):
        self.point = Point(7)
        self.next(self.end)

    @step
    def end(self):
        pass
"""


def test_runs_newest_first(runs: Path) -> None:
    flow = Flow("ClientFlow")
    assert [run.id for run in flow] == ["2", "1"]
    assert flow.latest_run == Run("ClientFlow/2")
    assert flow.latest_successful_run == flow["1"] == flow[1]
    assert 2 in flow and "3" not in flow
    assert [run.id for run in flow.runs("good")] == ["1"]
    assert [flow.id for flow in Metaflow()] == ["ClientFlow"]
    assert Metaflow().flows[0].latest_run == flow.latest_run


def test_run(runs: Path) -> None:
    run = Run("ClientFlow/1")
    assert (run.id, run.pathspec, run.successful, run.finished, run.state) == ("1", "ClientFlow/1", True, True, "done")
    assert run.tags == {"good"}
    assert run.parent.id == "ClientFlow"
    assert isinstance(run.created_at, datetime) and isinstance(run.finished_at, datetime)
    assert timedelta(0) < run.finished_at - run.created_at < timedelta(seconds=60)
    assert datetime.now() - run.created_at < timedelta(minutes=10)
    assert [step.id for step in run] == ["start", "work", "join", "gang", "gather", "loop", "end"]
    assert [step.id for step in run.steps()][-1] == "end"
    assert "work" in run and "nothing" not in run
    assert run.end_task == Task("ClientFlow/1/end/_")
    assert run.data.letters == ["a", "b", "c"]
    assert run.parameters["alpha"] == 3.0
    assert run.failure is None


def test_failed_run(runs: Path) -> None:
    run = Run("ClientFlow/2")
    assert (run.successful, run.finished, run.state) == (False, True, "failed")
    assert run.end_task is None and run.data is None
    assert run.failure is not None and run.failure["address"] == "end"
    task = run["end"].task
    assert (task.successful, task.finished) == (False, True)
    assert isinstance(task.exception, CaughtFailure)
    assert (task.exception.type, task.exception.message) == ("RuntimeError", "told to fail")
    assert "in end" in task.exception.traceback
    assert "told to fail" in task.stderr


def test_steps_and_tasks(runs: Path) -> None:
    run = Run("ClientFlow/1")
    step = run["work"]
    assert step == Step("ClientFlow/1/work")
    assert step.parent == run
    assert [task.id for task in step] == [task.id for task in step.tasks()] == ["0", "1", "2"]
    assert [task.index for task in step] == [0, 1, 2]
    assert step["1"] == step[1] == Task("ClientFlow/1/work/1")
    assert step.task.data.letter == "a"
    assert 2 in step and "3" not in step
    start = run["start"].task
    assert (start.id, start.pathspec, start.index) == ("_", "ClientFlow/1/start/_", None)
    assert (start.stdout, start.stderr) == ("to stdout\n", "to stderr\n")
    assert start.exception is None
    assert (start.current_attempt, start.runtime_name) == (0, "local")
    assert start.metadata_dict["attempt_ok"] == "True"
    assert start.parent == run["start"]
    assert run["start"].created_at <= start.finished_at <= run["start"].finished_at  # type: ignore[operator]
    gang = run["gang"]
    assert gang.control_task.index == 0
    assert [task.data.rank for task in gang] == [0, 1]
    assert gang.task.metadata_dict["gang-size"] == "2"


def test_a_caught_failure(runs: Path) -> None:
    task = Task("ClientFlow/1/work/1")
    assert task.successful
    assert task.exception is not None and str(task.exception) == "ValueError: b is bad"
    assert task.data.failure.message == "b is bad"
    assert Task("ClientFlow/1/work/0").data.failure is None


def test_rounds_of_a_loop(runs: Path) -> None:
    run = Run("ClientFlow/1")
    assert [(task.round, task.data.rounds) for task in run["loop"]] == [(3, 3), (2, 2), (1, 1)]
    assert run["loop"].task.data.answer == "enough"
    assert [task.pathspec for task in run["loop@2"]] == ["ClientFlow/1/loop@2/_"]
    assert Task("ClientFlow/1/loop@2/_").data.rounds == 2


def test_artifacts(runs: Path) -> None:
    task = Run("ClientFlow/1")["end"].task
    names = [artifact.id for artifact in task]
    assert {"alpha", "rate_of", "note", "bad", "large", "letters"} <= set(names)
    large = task.artifacts.large
    assert large.data == b"x" * 5000
    assert large.type == "bytes"
    assert large.size > 5000
    blob = runs / ".flowc/ClientFlow/blobs" / large.sha[:2] / large.sha
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == large.sha
    assert DataArtifact("ClientFlow/1/end/_/large").data == large.data
    assert large.pathspec == "ClientFlow/1/end/_/large"
    assert large.finished_at == task.finished_at
    assert (task.data.alpha, task.data.rate_of, task.data.note) == (3.0, 1, "ünïcode")
    assert task["note"].sha == hashlib.sha256("ünïcode".encode()).hexdigest()
    assert "large" in task.data and "small" not in task.data
    assert "large" in dir(task.data)


def test_values_of_the_flows_own_classes(runs: Path) -> None:
    before = list(sys.path)
    assert Run("ClientFlow/1")["start"].task.data.point.x == 7
    assert sys.path == before
    sys.modules.pop("client_flow", None)


MISSING = [
    (lambda: Flow("ClientFlw"), "did you mean 'ClientFlow'?"),
    (lambda: Flow("Other"), "there is ClientFlow"),
    (lambda: Run("ClientFlow/7"), "flow ClientFlow has no run '7'; there is 2, 1"),
    (lambda: Run("ClientFlow"), "write 'Flow/12'"),
    (lambda: Run("ClientFlow/1")["wrok"], "has no step 'wrok'; did you mean 'work'?"),
    (lambda: Run("ClientFlow/1")["work"][9], "has no task '9'; there is 0, 1, 2"),
    (lambda: Step("ClientFlow/1"), "write 'Flow/12/train'"),
    (lambda: Task("ClientFlow/1/work"), "write 'Flow/12/train/0.3'"),
    (lambda: Task("ClientFlow/1/work/0")["lettr"], "did you mean 'letter'?"),
    (lambda: DataArtifact("ClientFlow/1/work/0"), "write 'Flow/12/train/0.3/model'"),
    (lambda: Flow("ClientFlow", datastore="nowhere"), "there is none"),
]


@pytest.mark.parametrize(("look", "message"), MISSING, ids=[message for _, message in MISSING])
def test_what_is_not_there(runs: Path, look: object, message: str) -> None:
    with pytest.raises(NotFound) as caught:
        look()  # type: ignore[operator]
    assert message in str(caught.value)
    assert isinstance(caught.value, KeyError)


def test_a_missing_artifact_is_an_attribute_error(runs: Path) -> None:
    data = Task("ClientFlow/1/work/0").data
    with pytest.raises(MissingArtifact, match="did you mean 'letter'"):
        data.lettr
    assert getattr(data, "lettr", None) is None
    assert not hasattr(Task("ClientFlow/1/work/0").artifacts, "lettr")


def test_namespaces(runs: Path) -> None:
    assert get_namespace() is None
    try:
        namespace("good")
        assert [run.id for run in Flow("ClientFlow")] == ["1"]
        namespace("user:nobody-at-all")
        assert Flow("ClientFlow").latest_run is None
        assert Run("ClientFlow/2").state == "failed"
    finally:
        namespace(None)
    assert len(list(Flow("ClientFlow"))) == 2


def test_the_datastore_is_that_of_the_environment(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound):
        Flow("ClientFlow")
    assert Flow("ClientFlow", datastore=str(runs / ".flowc")).latest_run.id == "2"
    monkeypatch.setenv("FLOWC_DATASTORE", f"file://{runs}/.flowc")
    assert Run("ClientFlow/1").successful


@pytest.mark.slow
@pytest.mark.parametrize("beside", [True, False])
def test_classes_of_a_flow_that_imports_metaflow_load_in_a_plain_script(tmp_path: Path, beside: bool) -> None:
    (tmp_path / "theirs.py").write_text(THEIRS)
    scripts = tmp_path if beside else tmp_path / "elsewhere"
    scripts.mkdir(exist_ok=True)
    script = scripts / "look.py"
    look = "from flowc import Run\nprint(Run('TheirFlow/1', datastore={!r})['start'].task.data.point.x)\n"
    script.write_text(look.format(str(tmp_path / ".flowc")))
    made = subprocess.run([sys.executable, "-m", "flowc", "run", "theirs.py"], cwd=tmp_path, capture_output=True)
    assert made.returncode == 0, made.stderr
    looked = subprocess.run([sys.executable, str(script)], cwd=scripts, capture_output=True, text=True)
    assert (looked.returncode, looked.stdout) == (0, "7\n"), looked.stderr
