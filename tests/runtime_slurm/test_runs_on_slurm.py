"""What only a real Slurm can show: arrays, lost nodes, a controller that is away, cancelled and forgotten jobs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flow_slurm import Slurm
from flow_target import RunView, until
from slurm_runs import GANG, ended, ended_in_a_hurry, job_of, queue, status, submitted, write

FAN = """
class FanFlow(FlowSpec):
    width = Parameter("width", default=3)
    word = Parameter("word", default="")
    folder = Parameter("folder", default="")

    @step
    def start(self):
        self.items = list(range(self.width))
        self.next(self.work, foreach="items")

    @step
    def work(self):
        self.square = self.input ** 2
        self.next(self.more)

    @step
    def more(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(i.square for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        print(self.word)


if __name__ == "__main__":
    FanFlow()
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_foreach_of_200_through_arrays(on_slurm: Slurm) -> None:
    on_slurm.patience = 280.0
    run = on_slurm.run(write(on_slurm, FAN), params={"width": 200})
    assert run.artifact("join", "total") == sum(n * n for n in range(200))
    assert len(run.done()) == 403
    jobs = sorted(file.name for file in (run.folder / "slurm" / "jobs").iterdir())
    assert jobs == ["end._.json", "join._.json", "more._.c0.json", "start._.json", "work._.c0.json"]


def test_values_of_parameters_arrive_unchanged_where_arrays_are_small(on_slurm: Slurm, slurm: Any) -> None:
    word = """a  "b" 'c' $(touch pwned) `touch pwned`, x=1,2 # no; \\n %j %% ü→ \t\n2nd line & | > * ~ ${HOME}"""
    with slurm.changed(MaxArraySize=4):
        run = on_slurm.run(write(on_slurm, FAN), params={"word": word, "width": 6})
    assert run.info["parameters"]["word"] == word
    assert run.log("end", "stdout") == word + "\n"
    assert not list(on_slurm.folder.rglob("pwned"))
    assert run.artifact("join", "total") == 55
    jobs = sorted(file.name for file in (run.folder / "slurm" / "jobs").glob("work*"))
    assert jobs == ["work._.c0.json", "work._.c4.json"]


def test_two_runs_at_once_do_not_disturb_each_other(on_slurm: Slurm) -> None:
    file = write(on_slurm, FAN)
    runs = [submitted(on_slurm, file, "--width", str(width)) for width in (2, 3)]
    assert runs == ["1", "2"]
    for run, total in zip(runs, (1, 5)):
        assert ended(on_slurm, "FanFlow", run)["state"] == "done"
        view = RunView("FanFlow", run, on_slurm.root, None, on_slurm, file)  # type: ignore[arg-type]
        assert view.artifact("join", "total") == total


INSIDE = """
class InsideFlow(FlowSpec):
    @step
    def start(self):
        self.items = [2, 3]
        self.next(self.outer, foreach="items")

    @step
    def outer(self):
        self.inner_items = list(range(self.input))
        self.next(self.inner, foreach="inner_items")

    @step
    def inner(self):
        if self.input == 2:
            print("this one fails", file=sys.stderr, flush=True)
            raise ValueError("in the middle")
        time.sleep(60)
        self.next(self.inner_join)

    @step
    def inner_join(self, inputs):
        self.next(self.outer_join)

    @step
    def outer_join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    InsideFlow()
"""


def test_a_failure_deep_inside_ends_everything(on_slurm: Slurm) -> None:
    run = on_slurm.run(write(on_slurm, INSIDE), expect="failed")
    failure = run.status["failure"]
    assert (failure["address"], failure["type"], failure["exit_code"]) == ("inner/1.2", "ValueError", 1)
    assert "this one fails" in failure["last_lines"]
    assert "in the middle" in run.finished.said
    until(lambda: not queue(on_slurm), 15, "jobs are left in the queue")
    assert not {"inner_join/0", "outer_join", "end"} & run.started()
    shown = on_slurm.command("show", "InsideFlow/1", "--datastore", str(on_slurm.root))
    assert "failed" in shown.stdout and "in the middle" in shown.stdout


SLEEPER = """
class SleepFlow(FlowSpec):
    folder = Parameter("folder", default="")

    @step
    def start(self):
        open(os.path.join(self.folder, "begun"), "w").close()
        wait_for(os.path.join(self.folder, "go"), 100)
        self.items = [1, 2]
        self.next(self.work, foreach="items")

    @step
    def work(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    SleepFlow()
"""


@pytest.fixture
def sleeping(on_slurm: Slurm) -> Iterator[tuple[Slurm, str]]:
    """A run whose first step waits for a file."""
    run = submitted(on_slurm, write(on_slurm, SLEEPER), "--folder", str(on_slurm.folder))
    until((on_slurm.folder / "begun").exists, 30, "the first step never began")
    yield on_slurm, run


def test_a_cancelled_job_ends_its_run(sleeping: tuple[Slurm, str]) -> None:
    target, run = sleeping
    target.cluster.run(["scancel", job_of(target, run, "start._")])
    found = ended(target, "SleepFlow", run, 20)
    assert found["state"] == "failed"
    assert (found["failure"]["address"], found["failure"]["type"]) == ("start", "Cancelled")
    until(lambda: not queue(target), 15, "jobs are left in the queue")


def test_a_run_of_another_cluster_is_left_as_it_is(sleeping: tuple[Slurm, str]) -> None:
    target, run = sleeping
    file = next(target.root.glob(f"*/{run}/slurm/run.json"))
    mine = file.read_text()
    settings = json.loads(mine)
    assert (settings["cluster"], settings["uid"]) == ("lab", os.getuid())
    # As if somebody asked where the folder is the same and the queue is not.
    file.write_text(json.dumps({**settings, "cluster": "elsewhere", "prefix": "NoJobs."}))
    words = (f"SleepFlow/{run}", "--datastore", str(target.root))
    asked, cancelled = target.command("status", *words), target.command("cancel", *words)
    file.write_text(mine)
    assert asked.returncode == 0 and ": running" in asked.stdout, asked.said
    assert "cannot be seen from here; ask on cluster elsewhere (this is lab)" in asked.stderr
    assert cancelled.returncode == 1 and "is left as it is" in cancelled.stderr, cancelled.said
    (target.folder / "go").touch()
    assert ended(target, "SleepFlow", run)["state"] == "done"


def test_flowc_cancel_interrupts_a_run_which_can_be_resumed(sleeping: tuple[Slurm, str]) -> None:
    target, run = sleeping
    said = target.command("cancel", f"SleepFlow/{run}", "--datastore", str(target.root))
    assert said.returncode == 0 and "resume" in said.stderr
    assert status(target, "SleepFlow", run)["state"] == "interrupted"
    until(lambda: not queue(target), 15, "jobs are left in the queue")
    (target.folder / "go").touch()
    resumed = target.command("resume", f"SleepFlow/{run}", "--wait", "--datastore", str(target.root))
    assert resumed.returncode == 0, resumed.said


def test_a_controller_that_is_away_is_waited_for(sleeping: tuple[Slurm, str], slurm: Any) -> None:
    target, run = sleeping
    # One that crashes would forget what it was given in its last seconds.
    slurm.stop_controller()
    try:
        (target.folder / "go").touch()
        # The step is done, and its job finds nobody to give the next jobs to.
        until(lambda: list(target.root.glob(f"*/{run}/start/_/0/record.json")), 20, "start was not done")
        time.sleep(3)
    finally:
        slurm.start_controller()
    assert ended(target, "SleepFlow", run)["state"] == "done"
    jobs = sorted(file.stem for file in target.root.glob(f"*/{run}/slurm/jobs/*.json"))
    assert jobs == ["end._", "join._", "start._", "work._.c0"]
    assert len(list(target.root.glob(f"*/{run}/work/*/*/record.json"))) == 2


def test_a_job_that_dies_without_a_word_is_found_out(sleeping: tuple[Slurm, str], slurm: Any) -> None:
    target, run = sleeping
    node = slurm.wait_state(job_of(target, run, "start._"), "RUNNING").nodes
    index = next(i for i, each in enumerate(slurm.nodes) if each.name in node)
    slurm.kill_node(index)
    slurm.run(["scontrol", "update", f"nodename={slurm.nodes[index].name}", "state=down", "reason=off"])
    # The run says that it is running, and nobody asks with flowc status.
    words = ("show", f"SleepFlow/{run}", "--json", "--datastore", str(target.root))
    found = until(
        lambda: (s := json.loads(target.command(*words).stdout))["state"] != "running" and s,
        60,
        "it is never found out",
    )
    assert (found["state"], found["failure"]["type"]) == ("failed", "JobLost")
    assert "NODE_FAIL" in found["failure"]["message"]
    runs = target.command("runs", "--datastore", str(target.root))
    assert "failed" in runs.stdout


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_gang_goes_on_elsewhere_when_a_node_loses_its_power(on_slurm: Slurm, slurm: Any) -> None:
    file = write(on_slurm, GANG.replace("LIMIT", "00:10:00"))
    run = submitted(on_slurm, file, "--folder", str(on_slurm.folder))
    until((on_slurm.folder / "at-3").exists, 60, "the gang never came that far")
    job = job_of(on_slurm, run, "train._")
    names = [node.name for node in slurm.nodes]
    at_work = slurm.run(["scontrol", "show", "hostnames", slurm.details(job)["NodeList"]]).stdout.split()
    # Not the first node, on which the job's script runs: there Slurm alone can start it again.
    gone = at_work[1]
    slurm.kill_node(names.index(gone))
    slurm.run(["scontrol", "update", f"nodename={gone}", "state=down", "reason=off"])
    assert ended_in_a_hurry(on_slurm, run, job)["state"] == "done"
    view = RunView("GangFlow", run, on_slurm.root, None, on_slurm, file)  # type: ignore[arg-type]
    assert view.artifact("join", "began_at") >= 2
    hosts = view.artifact("join", "hosts")
    assert gone not in hosts and len(set(hosts)) == 3
    assert view.attempts("train/0") == [0, 1]
