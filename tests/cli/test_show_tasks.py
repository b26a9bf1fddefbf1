"""``flowc show`` of tasks: their attempts, and how the ranks of a gang ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flowc.cli import main
from flowc.compiler.plan import End, Gang, Next, Plan, Step
from flowc.runtime import gang_report
from flowc.runtime.address import Address
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.gang.failure import GangFailure, RankEnd
from flowc.runtime.record import Failure as Recorded
from flowc.runtime.record import Record
from flowc.runtime.report import PREEMPTED, Failure
from flowc.runtime.runs import RunStatus, create_run, write_status
from flows_for_cli import flowc

GANG = """
import os
import signal
import time

from flowc import FlowSpec, current, parallel, step


class GangFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.train, num_parallel=5)

    @parallel
    @step
    def train(self):
        rank = current.parallel.node_index
        if rank == 2:
            signal.signal(signal.SIGTERM, lambda *_: os._exit(4))
        print("I am", rank, flush=True)
        current.parallel.barrier()
        if rank == 1:
            os._exit(3)
        time.sleep(60)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    GangFlow()
"""


def shown(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["show", *words]) == 0
    return capfd.readouterr().out


def test_the_attempts_of_a_task(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = shown(capfd, "FanFlow/1/work/2").splitlines()
    assert lines[0] == "FanFlow/1/work/2: failed"
    assert [line.partition(" after ")[0] for line in lines[1:3]] == ["  attempt 0: failed", "  attempt 1: failed"]
    assert all(line.endswith("s: ValueError: bad item 2") for line in lines[1:3])
    out = shown(capfd, "FanFlow/1/work")
    assert [line for line in out.splitlines() if line[:1].strip()] == [
        "FanFlow/1/work/0: done", "FanFlow/1/work/1: done", "FanFlow/1/work/2: failed",
    ]  # fmt: skip
    data = json.loads(shown(capfd, "FanFlow/1/work/0", "--json"))
    (task,) = data["tasks"]
    assert (data["run_id"], task["task"], task["state"]) == ("1", "work/0", "done")
    assert [(attempt["attempt"], attempt["state"], attempt["why"]) for attempt in task["attempts"]] == [
        (0, "failed", "RuntimeError: only once"),
        (1, "done", None),
    ]


def test_how_the_ranks_of_a_gang_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gang.py").write_text(GANG)
    code, _, err = flowc(tmp_path, "run", "gang.py", "--quiet")
    assert code == 1
    assert "train/1 failed: exit code 3\n  rank 1 of its gang failed first\n" in err
    assert "  all ranks:   flowc show 1/train/1\n" in err
    ranks = json.loads(shown(capfd, "1/train/1", "--json"))["tasks"][0]["attempts"][0]["ranks"]
    ended = [(rank["rank"], rank["exit_code"], rank["signal"]) for rank in ranks]
    assert ended == [(0, 143, None), (1, 3, None), (2, 4, None), (3, 143, None), (4, 143, None)]
    host = ranks[0]["host"]
    attempt = f"  attempt 0: stopped: rank 1 on host {host} exited with code 3"
    ends = [
        f"    rank 1 on host {host}: exited with code 3",
        "",
        "        I am 1",
        "",
        f"    ranks 0, 3, 4 on host {host}: ended by SIGTERM",
        f"    rank 2 on host {host}: exited with code 4 when it was asked to end",
        "",
    ]
    assert shown(capfd, "GangFlow/1/train/0").splitlines() == ["GangFlow/1/train/0: stopped", attempt, *ends]
    # Of a step, they stand once for each gang.
    said = shown(capfd, "latest/train").splitlines()
    assert said[2:9] == ends and sum("SIGTERM" in line for line in said) == 1
    assert said[9:11] == ["GangFlow/1/train/1: failed", attempt.replace("stopped", "failed")]


def test_what_was_asked_to_end_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWC_DATASTORE", str(tmp_path))
    steps = (
        Step("start", "task", Gang("train", 3)),
        Step("train", "gang", Next("join"), inputs=(("start",),), scope=("start",)),
        Step("join", "task", Next("end"), inputs=(("train",),), joins="start"),
        Step("end", "task", End(), inputs=(("join",),)),
    )
    store = FileDatastore(str(tmp_path))
    run = create_run(store, Plan("GangFlow", "start", "end", steps).to_json(), None)
    records = run.records(store)
    asked = GangFailure(0, "a", None, None, (), "was asked to end by SIGTERM", "preempted")
    failed = GangFailure(0, "a", 3, None, (), "exited with code 3")
    ends = tuple(RankEnd(rank, "a", None, 15, (), "ended by SIGTERM", "ended") for rank in range(3))
    for rank in range(3):
        for attempt, first in enumerate((asked, failed)):
            report = GangFailure(**{**vars(first), "ranks": ends if not rank else ()})
            gang_report.write(records, Address("train", (rank,)), attempt, report)
    # One that raised while it saved is not what ended the gang.
    disk = Recorded("OSError", "no space left", "")
    records.commit(Record(Address("train", (2,)), 0, "failed", 1.0, 3.0, failure=disk))
    why = "rank 0 on host a was asked to end by SIGTERM"
    said = [shown(capfd, f"1/train/{rank}").splitlines() for rank in range(3)]
    assert [lines[1] for lines in said[:2]] == [f"  attempt 0: preempted: {why}"] * 2
    assert said[2][1] == "  attempt 0: preempted after 2.0s: OSError: no space left"
    tasks = json.loads(shown(capfd, "1/train", "--json"))["tasks"]
    assert [task["attempts"][0]["state"] for task in tasks] == ["preempted"] * 3
    assert [task["state"] for task in tasks] == ["failed", "stopped", "stopped"]
    # A task that is no gang's has no report; the run's own status says it.
    store.write(f"{records.folder(Address('start'), 0)}/stdout.log", b"")
    failure = Failure("start", 0, PREEMPTED, "was asked to end by its scheduler")
    write_status(store, run, RunStatus("failed", 1.0, 2.0, failure=failure.to_json()))
    assert shown(capfd, "1/start").splitlines()[1] == "  attempt 0: preempted: was asked to end by its scheduler"
