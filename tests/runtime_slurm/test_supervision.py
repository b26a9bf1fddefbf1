"""What a job's supervisor does: a real process with real attempts, among programs that stand in for Slurm's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flowc.compiler import compile_flow
from flowc.runtime.address import Address
from flowc.runtime.datastore import open_datastore
from flowc.runtime.outline import StepOutline
from flowc.runtime.runs import RunInfo, create_run
from flowc.runtime.slurm.attempt import Attempt, _short_json
from flowc.runtime.slurm.journal import Journal, Settings

FLOW = """
import os, sys, time
from flowc import FlowSpec, Parameter, catch, checkpoint, retry, step, timeout

class OneFlow(FlowSpec):
    what = Parameter("what", default="")

    DECORATORS
    @step
    def start(self):
        print("at work", flush=True)
        exec(self.what)
        self.next(self.end)

    @step
    def end(self):
        pass
"""

PROGRAMS = {
    "sbatch": "echo 17",
    "squeue": "",
    "scancel": "",
    "scontrol": """case "$*" in
*"show job"*) echo "JobId=4 JobState=$STATE Requeue=$REQUEUE PreemptTime=$PREEMPTED";;
esac""",
}


class Supervised:
    """A run whose first job is this process's to start, and programs of Slurm's names that note how they are called."""

    def __init__(self, folder: Path, what: str, decorators: str = "") -> None:
        self.folder = folder
        flow = folder / "flow.py"
        flow.write_text(FLOW.replace("DECORATORS", decorators or "# none"))
        plan = compile_flow(str(flow)).plan
        assert plan is not None
        self.datastore = open_datastore(str(folder / "store"))
        self.run: RunInfo = create_run(self.datastore, plan.to_json(), {"what": what}, file=str(flow), target="slurm")
        self.journal = Journal(self.datastore, self.run)
        self.journal.begin(Settings("me", "F.1-a.", str(folder / "code"), 4))
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        for name, body in PROGRAMS.items():
            self.answers(name, body)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FLOWC_", "SLURM"))},
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "FLOWC_DATASTORE": str(folder / "store"),
            "FLOWC_FLOW_NAME": "OneFlow",
            "FLOWC_RUN_ID": self.run.run_id,
            "FLOWC_FLOW_FILE": str(flow),
            "FLOWC_SLURM_INDEX": "",
            "FLOWC_SLURM_REGION": "begin",
            "FLOWC_PREEMPT_GRACE": "1",
            "SLURM_JOB_ID": "4",
            "REQUEUE": "1",
            "STATE": "RUNNING",
            "PREEMPTED": "None",
        }

    def answers(self, name: str, body: str) -> None:
        """Let a program of Slurm's do this from now on."""
        file = self.folder / "bin" / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.folder}/calls\n{body}\n')
        file.chmod(0o755)

    def start(self, **more: str) -> subprocess.Popen[str]:
        """The job's process."""
        self.output = (self.folder / "output").open("a+")
        return subprocess.Popen(
            [sys.executable, "-m", "flowc.runtime", "slurm", "supervise", "start"],
            env={**self.environment, **more},
            stdout=self.output,
            stderr=self.output,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> int:
        """Its exit code."""
        return process.wait(30)

    def until_at_work(self, attempt: int = 0) -> None:
        """Wait for the body of the step."""
        log = self.folder / "store" / self.run.prefix / "start" / "_" / str(attempt) / "stdout.log"
        until = time.monotonic() + 20
        while not log.exists() or "at work" not in log.read_text():
            assert time.monotonic() < until, self.said
            time.sleep(0.02)

    def end_at_work(self, word: str, **more: str) -> None:
        """Start the job, and have Slurm end it while it is at work: its daemon writes why, and sends SIGTERM."""
        process = self.start(**more)
        self.until_at_work()
        with (self.folder / "output").open("a") as output:
            output.write(f"slurmstepd: error: {word}\n")
        process.send_signal(signal.SIGTERM)
        assert self.finish(process) == 1

    def warn_until_requeued(self) -> None:
        """Start the job, let the early warning come while it is at work, and Slurm end it when it asks for that."""
        process = self.start()
        self.until_at_work()
        process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + 20
        while "scontrol requeue 4" not in self.calls:
            assert time.monotonic() < until, self.said
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        self.finish(process)

    @property
    def said(self) -> str:
        """The job's output."""
        return (self.folder / "output").read_text()

    @property
    def calls(self) -> list[str]:
        """What was asked of Slurm."""
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def failure(self) -> dict[str, Any]:
        """What the run failed on."""
        ended = self.journal.ended
        assert ended is not None and ended.state == "failed", self.said
        return dict(ended.failure or {})

    @property
    def states(self) -> list[str]:
        """Of the attempts' records, in order."""
        folder = self.folder / "store" / self.run.prefix / "start" / "_"
        files = [each / "record.json" for each in sorted(folder.iterdir())]
        return [json.loads(file.read_text())["state"] if file.exists() else "none" for file in files]


def test_a_task_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    job = Supervised(tmp_path, "")
    assert job.finish(job.start()) == 0, job.said
    assert job.finish(job.start(SLURM_RESTART_COUNT="1")) == 0, job.said
    assert job.states == ["done"]
    submitted = [call.split()[-1] for call in job.calls if call.startswith("sbatch")]
    assert submitted == [f"{tmp_path}/code/steps/{step}.sbatch" for step in ("start", "end")]
    assert job.journal.is_submitted("begin")


def test_a_second_job_for_a_task_that_is_done_ends_quietly(tmp_path: Path) -> None:
    job = Supervised(tmp_path, "")
    assert job.finish(job.start()) == 0, job.said
    assert job.finish(job.start(SLURM_JOB_ID="5")) == 0, job.said
    assert job.states == ["done"] and "job 4 is at work" in job.said


@pytest.mark.parametrize(
    ("what", "kind", "exit_code", "number"),
    [
        ("raise ValueError('no')", "ValueError", 1, None),
        ("os._exit(9)", "ProcessFailure", 9, None),
        ("os.kill(os.getpid(), 9)", "ProcessFailure", None, "SIGKILL"),
    ],
)
def test_a_failure_ends_the_run_and_takes_its_other_jobs_away(
    what: str, kind: str, exit_code: int | None, number: str | None, tmp_path: Path
) -> None:
    job = Supervised(tmp_path, what)
    assert job.finish(job.start()) == 1
    assert (job.failure["type"], job.failure["exit_code"], job.failure["signal"]) == (kind, exit_code, number)
    assert job.failure["last_lines"]
    assert any(call.startswith("squeue") for call in job.calls)
    assert not any(call.startswith("sbatch") for call in job.calls)


def test_attempts_are_forked_anew_and_see_their_number(tmp_path: Path) -> None:
    what = "first = os.environ['FLOWC_ATTEMPT'] == '0'; assert 'MINE' not in os.environ; os.environ['MINE'] = '1'"
    what += "; assert not first, 'the first one'"
    job = Supervised(tmp_path, what, "@retry(times=1, minutes_between_retries=0)")
    assert job.finish(job.start()) == 0, job.said
    assert job.states == ["failed", "done"]


@pytest.mark.slow
def test_a_timeout_is_the_attempts_own(tmp_path: Path) -> None:
    job = Supervised(tmp_path, "time.sleep(60)", "@timeout(seconds=1)")
    assert job.finish(job.start()) == 1
    assert job.failure["type"] == "Timeout" and job.states == ["none"]


def test_what_an_attempt_leaves_running_ends_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "child"
    what = (
        f"pid = os.fork()\nif not pid:\n    os.setsid()\n    time.sleep(60)\nopen({str(mark)!r}, 'w').write(str(pid))"
    )
    job = Supervised(tmp_path, what, "@retry(times=1)")
    assert job.finish(job.start()) == 0, job.said
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "requeue", "kind"),
    [
        ("*** JOB 4 ON n1 CANCELLED AT 2024-01-01T00:00:00 ***", "1", "Cancelled"),
        ("*** JOB 4 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE to SIGNAL Terminated ***", "1", "Cancelled"),
        ("*** JOB 4 ON n1 CANCELLED AT 2024-01-01T00:00:00 DUE TO TIME LIMIT ***", "1", "Timeout"),
        ("*** JOB 4 ON n1 CANCELLED AT 2024-01-01T00:00:00 DUE TO PREEMPTION ***", "0", "Preempted"),
        ("*** JOB 4 ON n1 CANCELLED AT 2024-01-01T00:00:00 DUE TO NODE FAILURE ***", "0", "JobLost"),
        ("*** JOB 4 ON n1 CANCELLED AT 2024-01-01T00:00:00 DUE TO PREEMPTION ***", "1", "Preempted"),
        ("*** JOB 4 ON n1 CANCELLED AT 2024-01-01T00:00:00 DUE TO NODE FAILURE ***", "1", ""),
    ],
)
def test_a_job_that_is_taken_away_finds_out_why(word: str, requeue: str, kind: str, tmp_path: Path) -> None:
    job = Supervised(tmp_path, "time.sleep(60)")
    job.end_at_work(word, REQUEUE=requeue)
    if kind:
        assert job.failure["type"] == kind
    else:
        assert job.journal.ended is None and "may start again" in job.said


@pytest.mark.slow
@pytest.mark.parametrize("retry", ["", "@retry(times=1)"])
def test_a_job_that_is_cancelled_to_preempt_it_asks_for_another_start(retry: str, tmp_path: Path) -> None:
    job = Supervised(tmp_path, "time.sleep(60)", retry)
    job.end_at_work("*** JOB 4 ON n1 CANCELLED AT 2024-01-01T00:00:09 DUE TO PREEMPTION ***", STATE="COMPLETING")
    assert job.calls.count("scontrol requeue 4") == bool(retry)
    assert (job.journal.ended is None) == bool(retry)


@pytest.mark.slow
@pytest.mark.parametrize("retry", ["", "@retry(times=1)"])
def test_a_job_at_the_end_of_its_grace_time_was_preempted(retry: str, tmp_path: Path) -> None:
    job = Supervised(tmp_path, "time.sleep(60)", retry)
    word = "*** JOB 4 ON n1 CANCELLED AT 2024-01-01T00:00:09 DUE TO TIME LIMIT ***"
    job.end_at_work(word, PREEMPTED="2024-01-01T00:00:00")
    assert job.calls.count("scontrol requeue 4") == bool(retry)
    if retry:
        assert job.journal.ended is None and "goes on in a new start of the job" in job.said
    else:
        assert job.failure["type"] == "Preempted" and "grace time is over" in job.failure["message"]


def test_an_early_warning_gives_the_job_back_to_slurm(tmp_path: Path) -> None:
    job = Supervised(tmp_path, "time.sleep(60)", "@checkpoint\n    @retry(times=1)")
    job.warn_until_requeued()
    assert job.journal.ended is None and "asked to save a checkpoint" in job.said
    # The new start of the job makes a new attempt, which is not one of @retry's.
    assert job.journal.failed(Address("start"), [0]) == 0


@pytest.mark.parametrize(("variable", "seen"), [(None, "1.5"), ("0.5", "0.5")])
def test_a_step_says_how_long_it_may_save(variable: str | None, seen: str, tmp_path: Path) -> None:
    what = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    what += "; open('grace', 'w').write(os.environ['FLOWC_PREEMPT_GRACE']); time.sleep(60)"
    job = Supervised(tmp_path, f"os.chdir({str(tmp_path)!r}); {what}", "@checkpoint(grace=1.5)\n    @retry(times=1)")
    if variable is None:
        del job.environment["FLOWC_PREEMPT_GRACE"]
    else:
        job.environment["FLOWC_PREEMPT_GRACE"] = variable
    process = job.start()
    until = time.monotonic() + 20
    while not (tmp_path / "grace").exists() or (tmp_path / "grace").read_text() != seen:
        assert time.monotonic() < until, job.said
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    until = time.monotonic() + 20  # it would be 31 s
    while "scontrol requeue 4" not in job.calls:
        assert time.monotonic() < until, job.said
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    job.finish(process)


@pytest.mark.parametrize(("kind", "said", "grace"), [("task", None, 5), ("task", 90, 91), ("gang", None, 31)])
def test_an_attempt_that_takes_too_long_has_time_to_save(
    kind: str, said: float | None, grace: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLOWC_PREEMPT_GRACE", raising=False)
    features = [] if said is None else [{"name": "checkpoint", "options": {"grace": said}}]
    plan = {"name": "start", "kind": kind, "leave": {"kind": "end"}, "timeout": 1, "features": features}
    job: Any = SimpleNamespace(
        step=StepOutline.from_plan(plan), gang=kind == "gang", address=Address("start"), ranks=[Address("start", (0,))],
        late=lambda number: [],
    )  # fmt: skip
    asked: list[float] = []
    attempt = Attempt(job, 0, 0, None)
    monkeypatch.setattr(attempt, "_ask_to_end", asked.append)
    attempt._timeout()
    assert asked == [grace]


def test_a_step_that_saves_nothing_has_failed_when_the_early_warning_comes(tmp_path: Path) -> None:
    job = Supervised(tmp_path, "time.sleep(60)", "@retry(times=1)")
    job.warn_until_requeued()
    assert job.journal.ended is None and "save a checkpoint" not in job.said
    assert job.journal.failed(Address("start"), [0]) == 1
    process = job.start(SLURM_RESTART_COUNT="1")
    job.until_at_work(1)
    process.send_signal(signal.SIGUSR1)
    assert job.finish(process) == 1
    assert job.failure["type"] == "Timeout" and "give the step more time" in job.failure["message"]
    assert job.failure["attempt"] == 1 and job.calls.count("scontrol requeue 4") == 1


def test_a_failure_is_still_caught_once_the_early_warning_has_come(tmp_path: Path) -> None:
    job = Supervised(tmp_path, "time.sleep(60)", "@catch(var='why')")
    process = job.start()
    job.until_at_work()
    process.send_signal(signal.SIGUSR1)
    assert job.finish(process) == 0, job.said
    assert job.journal.ended is None and job.states[-1] == "done"


def in_a_full_queue(folder: Path, decorators: str = "") -> tuple[Supervised, subprocess.Popen[str]]:
    """A job whose task is done, and which waits for room in the queue for what follows."""
    job = Supervised(folder, "", decorators)
    job.answers("sbatch", "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1")
    job.answers("squeue", """case "$*" in *--name=*) ;; *) echo '9|None|';; esac""")
    process = job.start()
    until = time.monotonic() + 20
    while not any("--format=%i|%r|%k" in call for call in job.calls):
        assert time.monotonic() < until, job.said
        time.sleep(0.02)
    return job, process


def test_a_job_that_waits_for_room_minds_its_end(tmp_path: Path) -> None:
    job, process = in_a_full_queue(tmp_path)
    with (tmp_path / "output").open("a") as output:
        output.write("slurmstepd: error: *** JOB 4 ON n1 CANCELLED AT 2024-01-01T00:00:09 DUE TO TIME LIMIT ***\n")
    process.send_signal(signal.SIGTERM)
    # Slurm gives it no longer than KillWait.
    assert process.wait(10) == 1
    assert job.failure["type"] == "Timeout" and "its task is done" in job.failure["message"]
    assert "QOSMaxSubmitJobPerUserLimit" in job.failure["message"] and job.states == ["done"]


def test_a_job_that_waits_for_room_is_given_back_when_its_time_limit_is_near(tmp_path: Path) -> None:
    job, process = in_a_full_queue(tmp_path, "@retry(times=1)")
    process.send_signal(signal.SIGUSR1)
    until = time.monotonic() + 10
    while "scontrol requeue 4" not in job.calls:
        assert time.monotonic() < until, job.said
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 1
    assert job.journal.ended is None and "time limit is near, and F.1-a." in job.said
    # The new start has nothing to do but to submit.
    job.answers("sbatch", "echo 17")
    assert job.finish(job.start(SLURM_RESTART_COUNT="1")) == 0, job.said
    assert job.states == ["done"] and job.journal.is_submitted("begin")


def test_what_a_step_leaves_open_is_written_and_what_it_closes_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "left-open"
    what = f"global left; left = open({str(file)!r}, 'w'); left.write('all of it'); os.close(1); sys.stdout = None"
    job = Supervised(tmp_path, what)
    assert job.finish(job.start()) == 0, job.said
    assert file.read_text() == "all of it" and job.states == ["done"]


def test_an_error_of_the_job_itself_ends_the_run(tmp_path: Path) -> None:
    job = Supervised(tmp_path, "")
    # Nothing can be written where the attempt belongs.
    place = tmp_path / "store" / job.run.prefix / "start"
    place.mkdir(parents=True)
    (place / "_").write_text("")
    assert job.finish(job.start()) == 1
    assert job.journal.ended is not None and job.journal.ended.state == "failed", job.said


def test_a_run_that_has_ended_begins_nothing(tmp_path: Path) -> None:
    job = Supervised(tmp_path, "")
    job.journal.end("interrupted", time.time())
    assert job.finish(job.start()) == 1
    assert "the run has ended" in job.said
    assert not (tmp_path / "store" / job.run.prefix / "start").exists()


def test_a_long_failure_fits_into_a_variable() -> None:
    # JSON writes one such character in twelve bytes.
    texts = {"type": "ValueError", "message": "\U0001f600" * 50_000, "traceback": '"\n' * 200_000 + "the end"}
    found = _short_json(texts)
    assert len(found.encode()) < 128 * 1024 and json.loads(found)["traceback"].endswith("the end")
    assert json.loads(_short_json({"type": "E", "message": "short"})) == {"type": "E", "message": "short"}
