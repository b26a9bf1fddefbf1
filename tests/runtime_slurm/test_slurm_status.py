"""How a run stands, as Slurm and the run's own files say it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from flowc.compiler import compile_flow
from flowc.runtime.datastore import open_datastore
from flowc.runtime.runs import FAILED, RUNNING, RunStatus, create_run, write_status
from flowc.runtime.slurm.commands import Commands, LiveJob
from flowc.runtime.slurm.journal import Journal, Settings
from flowc.runtime.slurm.status import look

FLOW = """
from flowc import FlowSpec, step

class OneFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""


class Queue(Commands):
    """A queue that holds nothing, and what it remembers of jobs that have ended."""

    def __init__(self, remembered: list[dict[str, str]]) -> None:
        super().__init__(1.0)
        self.remembered = remembered

    def live(self, user: str, prefix: str) -> list[LiveJob]:
        return []

    def show_all(self, job: str) -> list[dict[str, str]]:
        return self.remembered


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    (tmp_path / "flow.py").write_text(FLOW)
    plan = compile_flow(str(tmp_path / "flow.py")).plan
    assert plan is not None
    datastore = open_datastore(str(tmp_path / "store"))
    run = create_run(datastore, plan.to_json(), {}, file=str(tmp_path / "flow.py"), target="slurm")
    write_status(datastore, run, RunStatus(RUNNING, run.created, None, None, "here"))
    journal = Journal(datastore, run)
    journal.begin(Settings("me", "F.1-a.", str(tmp_path / "code"), 4))
    return journal


def state(journal: Journal, *remembered: dict[str, str], later: float = 0.0) -> RunStatus:
    """How the run stands when so many seconds have gone by."""
    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr(time, "time", lambda: now + later)
        return look(journal.datastore, journal.run, Queue(list(remembered))).status


def test_a_run_that_is_being_submitted_is_running_for_a_while(journal: Journal) -> None:
    assert state(journal, later=30).state == RUNNING
    found = state(journal, later=90)
    assert found.state == FAILED and "submission was cut off" in str(found.failure)


def test_a_run_whose_submission_waits_for_room_is_running_for_as_long_as_it_says_so(journal: Journal) -> None:
    journal.set_waiting("start._", 0, None)
    assert state(journal, later=200).state == RUNNING
    assert state(journal, later=400).state == FAILED


def test_the_task_of_an_array_that_ended_without_a_word_is_found(journal: Journal) -> None:
    journal.set_job("start._", "7", "F.1-a.start")
    good = {"JobState": "COMPLETED", "EndTime": "2024-01-01T00:00:01", "NodeList": "n1"}
    lost = {"JobState": "NODE_FAIL", "EndTime": "2024-01-01T00:00:02", "NodeList": "n2"}
    found = state(journal, good, lost, good)
    assert found.state == FAILED
    assert "on n2 ended without a word of its own: Slurm says NODE_FAIL" in str(found.failure)
