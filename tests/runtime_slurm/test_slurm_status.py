"""How a run stands, as Slurm and the run's own files say it."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from flowc.compiler import compile_flow
from flowc.runtime.address import Address
from flowc.runtime.datastore import open_datastore
from flowc.runtime.runs import FAILED, RUNNING, RunStatus, create_run, write_status
from flowc.runtime.slurm import status as slurm_status
from flowc.runtime.slurm.commands import Cluster, Commands, ControllerAway, LiveJob, SlurmError
from flowc.runtime.slurm.journal import Journal, Settings
from flowc.runtime.slurm.status import JobsUnseen, cancel, glance, look

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

    def cluster(self) -> Cluster:
        return Cluster("here", 4)

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


def test_what_a_lost_job_wrote_before_flowc_could_run_is_told(journal: Journal, tmp_path: Path) -> None:
    journal.set_job("start._", "7", "F.1-a.start")
    output = tmp_path / "job.out"
    output.write_text("/bin/bash: line 1: /opt/python: No such file or directory\n")
    lost = {"JobState": "FAILED", "EndTime": "2024-01-01T00:00:02", "NodeList": "n2", "StdOut": str(output)}
    assert state(journal, lost).failure["last_lines"] == [output.read_text().strip()]  # type: ignore[index]


def test_a_lost_job_that_wrote_nothing_may_not_have_seen_the_folder(journal: Journal, tmp_path: Path) -> None:
    journal.set_job("start._", "7", "F.1-a.start")
    output = str(tmp_path / "job.out")
    lost = {"JobState": "FAILED", "EndTime": "2024-01-01T00:00:02", "NodeList": "n2", "StdOut": output}
    assert f"its output {output} was never begun" in str(state(journal, lost).failure)


def test_a_glance_finds_a_lost_run_and_does_not_wait_for_slurm(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.set_job("start._", "7", "F.1-a.start")
    lost = {"JobState": "NODE_FAIL", "EndTime": "2024-01-01T00:00:02", "NodeList": "n2"}
    queue = Queue([lost])

    def commands(patience: float) -> Queue:
        assert patience == 0
        return queue

    monkeypatch.setattr(slurm_status, "Commands", commands)
    for error in (ControllerAway("away"), SlurmError("squeue failed")):

        def live(user: str, prefix: str, error: SlurmError = error) -> list[LiveJob]:
            raise error

        monkeypatch.setattr(queue, "live", live)
        assert glance(journal.datastore, journal.run).state == RUNNING
    monkeypatch.undo()
    monkeypatch.setattr(slurm_status, "Commands", commands)
    assert "NODE_FAIL" in str(glance(journal.datastore, journal.run).failure)


@pytest.mark.parametrize(
    ("cluster", "uid", "asks", "where"),
    [
        ("here", 4711, 4711, ""),
        ("here", 4711, 0, ""),
        ("there", 4711, 4711, "on cluster there (this is here)"),
        ("there", 4711, 0, "on cluster there (this is here)"),
        ("here", 4711, 4712, "as user me"),
        ("there", 4711, 4712, "as user me on cluster there (this is here)"),
    ],
)
def test_a_run_is_given_up_only_where_its_jobs_would_be_seen(
    cluster: str,
    uid: int,
    asks: int,
    where: str,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert journal.settings is not None
    journal.begin(journal.settings._replace(cluster=cluster, uid=uid))
    monkeypatch.setattr(os, "getuid", lambda: asks)
    found = state(journal, later=90)
    said = capsys.readouterr().err
    assert journal.has_ended == (not where)
    if not where:
        assert found.state == FAILED and not said
        return
    assert found.state == RUNNING
    assert f"the jobs of run {journal.run.prefix} cannot be seen from here; ask {where}" in said
    with pytest.raises(JobsUnseen, match="is left as it is") as error:
        cancel(journal.datastore, journal.run, Queue([]))
    assert str(error.value).endswith(f"cancel it {where}") and error.value.exit_code == 1
    assert not journal.has_ended


def test_a_claim_that_cannot_be_read_yet_is_read_again(journal: Journal, tmp_path: Path) -> None:
    claim = tmp_path / "store" / journal.run.prefix / "slurm" / "claims" / "start._.0.json"
    claim.parent.mkdir(parents=True)
    claim.write_text("")
    shows = threading.Timer(0.4, claim.write_text, [json.dumps({"job": "7"})])
    shows.start()
    assert journal.claim(Address("start"), "8") == "7"
    shows.join()
    assert journal.claim(Address("start"), "7") is None
