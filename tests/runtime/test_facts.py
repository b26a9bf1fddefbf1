"""``current`` while a step runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from flowc import FlowSpec, current, step
from flowc.compiler.plan import Feature
from plans import BRANCHES, End, Next, plan, task
from task_lab import Lab

NAMES = (
    "flow_name", "run_id", "step_name", "task_id", "retry_count", "pathspec", "username", "namespace", "tags",
    "origin_run_id", "is_running_flow", "is_parallel", "trigger",
)  # fmt: skip


class F(FlowSpec):
    @step
    def start(self):
        self.facts = {name: getattr(current, name) for name in NAMES}
        self.absent = [
            name for name in ("parallel", "project_name", "checkpoint", "card", "torch") if hasattr(current, name)
        ]
        self.tempdir = current.tempdir
        self.next(self.end)

    @step
    def end(self):
        pass


LINE = plan(task("start", Next("end")), task("end", End(), "start"))


def test_facts(tmp_path: Path) -> None:
    lab = Lab(tmp_path, LINE, F, tags=["t1", "t2"], user="ann", origin_run_id="old", run_id="7")
    lab.task("start", 3)
    assert lab.value("start", "facts") == {
        "flow_name": "F",
        "run_id": "7",
        "step_name": "start",
        "task_id": "_",
        "retry_count": 3,
        "pathspec": "F/7/start/_",
        "username": "ann",
        "namespace": "user:ann",
        "tags": frozenset(["t1", "t2"]),
        "origin_run_id": "old",
        "is_running_flow": True,
        "is_parallel": False,
        "trigger": None,
    }
    assert lab.value("start", "absent") == []
    assert os.path.isdir(lab.value("start", "tempdir"))
    assert not current.is_running_flow, "outside a task there is nothing"


def test_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWC_SCRATCH", str(tmp_path))
    lab = Lab(tmp_path / "store", LINE, F)
    lab.done("start")
    assert lab.value("start", "tempdir") == str(tmp_path)


@pytest.mark.parametrize(
    ("options", "branch", "production"),
    [
        ({}, "user.ann", False),
        ({"branch": "b"}, "test.b", False),
        ({"production": True}, "prod", True),
        ({"production": True, "branch": "b"}, "prod.b", True),
    ],
)
def test_projects(tmp_path: Path, options: dict[str, Any], branch: str, production: bool) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            self.p = (current.project_name, current.branch_name, current.project_flow_name, current.is_production)

    shape = plan(task("start", End()), project="fraud", features=(Feature("project", options),))
    lab = Lab(tmp_path, shape, F, user="ann")
    lab.done("start")
    assert lab.value("start", "p") == ("fraud", branch, f"fraud.{branch}.F", production)


def test_the_graph(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            graph = current.graph
            self.ends = (graph["start_step"], graph["end_step"], graph["name"], len(graph))
            self.types = {name: step["type"] for name, step in graph["steps"].items()}
            self.next_ = {name: step["next"] for name, step in graph["steps"].items()}
            self.matching = graph["steps"]["start"]["matching_join"]
            self.next(self.a, self.b)

        @step
        def a(self):
            pass

        @step
        def b(self):
            pass

    lab = Lab(tmp_path, BRANCHES, F)
    lab.done("start")
    assert lab.value("start", "ends")[:3] == ("start", "end", "F")
    assert lab.value("start", "types")["join"] == "join" and lab.value("start", "types")["a"] == "split-switch"
    assert lab.value("start", "next_")["start"] == ["a", "b"] and lab.value("start", "matching") == "join"


def test_cards_take_everything(tmp_path: Path) -> None:
    class F(FlowSpec):
        @step
        def start(self):
            current.card.append("x")
            current.card["other"].extend([1])
            current.card["mine"] = [1]
            current.card.refresh(1, force=True)
            current.card.anything()

    Lab(tmp_path, plan(task("start", End(), features=(Feature("card"),))), F).done("start")
