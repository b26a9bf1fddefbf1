"""What depends on how a site has set up its cluster: preemption, containers, limits, and jobs that are held."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flow_slurm import Slurm
from flow_target import RunView, until
from slurm_runs import ASKED, assert_saved_when_asked, ended, ended_in_a_hurry, job_of, submitted, write
from test_runs_on_slurm import FAN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@contextmanager
def preempting(slurm: Any, grace: int, mode: str = "REQUEUE") -> Iterator[None]:
    """Jobs of the partition ``other`` take the nodes of others, who have so many seconds to give them up."""
    with slurm.changed(PreemptType="preempt/partition_prio", PreemptMode=mode):
        slurm.run(["scontrol", "update", "partitionname=other", "prioritytier=10"], check=True)
        slurm.run(["scontrol", "update", "partitionname=main", f"gracetime={grace}"], check=True)
        yield


def preempt(slurm: Any) -> None:
    """A job that needs all nodes, to its end."""
    slurm.finish(slurm.sbatch("--partition=other", "--nodes=4", "--exclusive", "--wrap", "true"))


# Slurm kills those without a grace time after KillWait, which is 2 s here, but not before 5 s.
@pytest.mark.parametrize(("grace", "takes"), [(0, 1), (20, 8)])
def test_a_gang_that_slurm_preempts_goes_on_from_its_checkpoint(
    grace: int, takes: int, on_slurm: Slurm, slurm: Any
) -> None:
    file = write(on_slurm, ASKED.replace("LIMIT", '@slurm(time="00:10:00")'))
    options = ("--folder", str(on_slurm.folder), "--seconds", "6", "--takes", str(takes))
    with preempting(slurm, grace):
        run = submitted(on_slurm, file, *options)
        until((on_slurm.folder / "at-3").exists, 60, "the gang never came that far")
        job = job_of(on_slurm, run, "train._")
        preempt(slurm)
        assert slurm.details(job)["Restarts"] == "1"
        assert ended_in_a_hurry(on_slurm, run, job, "AskedFlow")["state"] == "done"
    view = RunView("AskedFlow", run, on_slurm.root, None, on_slurm, file)  # type: ignore[arg-type]
    assert_saved_when_asked(view, on_slurm.folder, outlived=grace > 0)
    assert view.attempts("train/0") == [0, 1]
    (log,) = (view.folder / "slurm" / "logs").glob("*train*")
    assert "preempt" in log.read_text()


PATIENT = """
class PatientFlow(FlowSpec):
    mark = Parameter("mark", default="")

    RETRY
    @step
    def start(self):
        if not os.path.exists(self.mark):
            open(self.mark, "w").close()
            time.sleep(60)
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    PatientFlow()
"""


def preempted_at_work(on_slurm: Slurm, slurm: Any, file: Path) -> tuple[str, str]:
    """The run of a patient flow and its first job, which has begun and is preempted."""
    mark = on_slurm.folder / "mark"
    run = submitted(on_slurm, file, "--mark", str(mark))
    until(mark.exists, 60, "the task never began")
    job = job_of(on_slurm, run, "start._")
    preempt(slurm)
    return run, job


@pytest.mark.parametrize("retry", ["@retry(times=1, minutes_between_retries=0)", ""])
def test_a_task_that_outlasts_its_grace_time_was_preempted(retry: str, on_slurm: Slurm, slurm: Any) -> None:
    file = write(on_slurm, PATIENT.replace("RETRY", retry))
    with preempting(slurm, 2):
        run, job = preempted_at_work(on_slurm, slurm, file)
        if retry:
            assert ended_in_a_hurry(on_slurm, run, job, "PatientFlow")["state"] == "done"
        else:
            failure = ended(on_slurm, "PatientFlow", run)["failure"]
            assert failure["type"] in ("Preempted", "JobLost") and "preempt" in failure["message"], failure
    view = RunView("PatientFlow", run, on_slurm.root, None, on_slurm, file)  # type: ignore[arg-type]
    assert view.attempts("start") == ([0, 1] if retry else [0])


@pytest.mark.parametrize("retry", ["@retry(times=1, minutes_between_retries=0)", ""])
def test_a_task_that_slurm_cancels_to_preempt_it(retry: str, on_slurm: Slurm, slurm: Any) -> None:
    file = write(on_slurm, PATIENT.replace("RETRY", retry))
    with preempting(slurm, 0, "CANCEL"):
        run, job = preempted_at_work(on_slurm, slurm, file)
        if retry:
            assert ended_in_a_hurry(on_slurm, run, job, "PatientFlow")["state"] == "done"
        else:
            failure = ended(on_slurm, "PatientFlow", run)["failure"]
            assert failure["type"] == "Preempted" and "was preempted" in failure["message"], failure


CONTAINED = """
class ContainedFlow(FlowSpec):
    @slurm(container="image.sif", setup="export FROM_SETUP=1")
    @step
    def start(self):
        print("inside", file=sys.stderr)
        self.inside = os.environ.get("IN_THE_CONTAINER")
        self.size = 2
        self.next(self.work, num_parallel=self.size)

    @slurm(container="apptainer:docker://python:3.12")
    @parallel
    @step
    def work(self):
        self.inside = os.environ.get("IN_THE_CONTAINER")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.insides = [i.inside for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        self.outside = os.environ.get("IN_THE_CONTAINER")


if __name__ == "__main__":
    ContainedFlow()
"""

STAND_IN = """#!/bin/bash
# Not apptainer: it notes how it is called, and runs the command where it is.
printf '%s\\n' "$*" >> {calls}
while [ "$1" != python3 ]; do image=$1; shift; done
shift
IN_THE_CONTAINER=$image exec {python} "$@"
"""


def test_the_command_line_of_a_container_works(on_slurm: Slurm) -> None:
    """There is no apptainer here: a stand-in of its name shows that what is composed runs, not that images do."""
    tools, calls = on_slurm.folder / "bin", on_slurm.folder / "calls"
    tools.mkdir()
    (tools / "apptainer").write_text(STAND_IN.format(calls=calls, python=sys.executable))
    (tools / "apptainer").chmod(0o755)
    path = {"PATH": f"{tools}:{on_slurm.cluster.env['PATH']}"}
    run = on_slurm.run(write(on_slurm, CONTAINED), env=path)
    assert run.artifact("start", "inside") == "image.sif"
    assert run.artifact("join", "insides") == ["docker://python:3.12"] * 2
    assert run.artifact("end", "outside") is None
    first, *ranks = calls.read_text().splitlines()
    code = json.loads((run.folder / "slurm" / "run.json").read_text())["code"]
    assert first == f"exec --bind {on_slurm.root} image.sif python3 {code}/start-flowc.py step start --index "
    assert (
        ranks
        == [f"exec --bind {on_slurm.root} docker://python:3.12 python3 {code}/start-flowc.py step work --index "] * 2
    )

    said = on_slurm.command("logs", "ContainedFlow/1/start", "--stderr", "--datastore", str(on_slurm.root))
    assert (said.returncode, said.stderr) == (0, "inside\n"), said.said


@pytest.mark.parametrize(("scheduler", "env"), [("max_array_tasks=3", {}), ("defer", {"FLOWC_SLURM_MAX_ARRAY": "3"})])
def test_arrays_are_as_small_as_the_scheduler_or_the_user_wants(
    scheduler: str, env: dict[str, str], on_slurm: Slurm, slurm: Any
) -> None:
    quick = "sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0"
    with slurm.changed(SchedulerParameters=f"{quick},{scheduler}"):
        run = on_slurm.run(write(on_slurm, FAN), params={"width": 5}, env=env)
    assert run.artifact("join", "total") == 30
    jobs = sorted(file.name for file in (run.folder / "slurm" / "jobs").glob("work*"))
    assert jobs == ["work._.c0.json", "work._.c3.json"]


def test_a_foreach_that_is_too_wide_ends_its_run(on_slurm: Slurm) -> None:
    run = submitted(on_slurm, write(on_slurm, FAN), "--width", "4", "--max-num-splits", "3")
    found = ended(on_slurm, "FanFlow", run)
    assert (found["state"], found["failure"]["type"]) == ("failed", "TooManySplits")
    assert "fans out into 4 tasks of work; the limit is 3" in found["failure"]["message"]


def test_a_job_that_is_held_says_what_to_do(on_slurm: Slurm, slurm: Any) -> None:
    longer = FAN.replace("    @step\n    def start", '    @slurm(time="10")\n    @step\n    def start')
    slurm.run(["scontrol", "update", "partitionname=main", "maxtime=5"], check=True)
    try:
        run = submitted(on_slurm, write(on_slurm, longer))
        job = job_of(on_slurm, run, "start._")
        assert "longer than its partition allows" in told(on_slurm, slurm, run, job, "PartitionTimeLimit")
        slurm.run(["scontrol", "hold", job], check=True)
        assert f"scontrol release {job}" in told(on_slurm, slurm, run, job, "JobHeld")
        assert on_slurm.command("cancel", f"FanFlow/{run}", "--datastore", str(on_slurm.root)).returncode == 0
    finally:
        slurm.run(["scontrol", "update", "partitionname=main", "maxtime=INFINITE"], check=True)


def told(target: Slurm, slurm: Any, run: str, job: str, reason: str) -> str:
    """What ``flowc status`` prints while a job waits for this reason."""
    until(lambda: slurm.details(job).get("Reason", "").startswith(reason), 20, f"the job never waited for {reason}")
    said = target.command("status", f"FanFlow/{run}", "--datastore", str(target.root))
    assert said.returncode == 0 and reason in said.stdout, said.said
    return said.stdout
