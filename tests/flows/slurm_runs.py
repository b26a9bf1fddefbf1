"""Runs on Slurm as a person starts and watches them: submitted, asked after, followed by their jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from flow_slurm import Slurm
from flow_target import RunView, until

HEAD = """
import os, sys, time
from flowc import FlowSpec, Parameter, catch, checkpoint, current, parallel, retry, slurm, step, timeout


def wait_for(path, seconds=60):
    until = time.time() + seconds
    while not os.path.exists(path):
        assert time.time() < until, path
        time.sleep(0.05)
"""

GANG = """
class GangFlow(FlowSpec):
    folder = Parameter("folder", default="")
    seconds = Parameter("seconds", default=10)

    @step
    def start(self):
        self.size = 3
        self.next(self.train, num_parallel=self.size)

    @retry(times=2, minutes_between_retries=0)
    @checkpoint
    @slurm(time="LIMIT")
    @parallel
    @step
    def train(self):
        at = os.path.join(current.checkpoint.directory, "at")
        self.began_at = int(open(at).read()) if current.checkpoint.is_loaded else 0
        self.host = os.uname().nodename
        for done in range(self.began_at + 1, self.seconds + 1):
            time.sleep(1)
            with open(at, "w") as file:
                file.write(str(done))
            current.checkpoint.save()
            if self.index == 0:
                open(os.path.join(self.folder, "at-%d" % done), "w").close()
        self.next(self.join)

    @step
    def join(self, inputs):
        self.began_at = inputs[0].began_at
        self.hosts = [i.host for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    GangFlow()
"""

ASKED = """
class AskedFlow(FlowSpec):
    folder = Parameter("folder", default="")
    seconds = Parameter("seconds", default=10)
    takes = Parameter("takes", default=0)

    @step
    def start(self):
        self.size = 3
        self.next(self.train, num_parallel=self.size)

    @retry(times=2, minutes_between_retries=0)
    @checkpoint
    LIMIT
    @parallel
    @step
    def train(self):
        at = os.path.join(current.checkpoint.directory, "at")
        self.began_at = done = int(open(at).read()) if current.checkpoint.is_loaded else 0
        try:
            while done < self.seconds:
                time.sleep(1)
                done += 1
                if self.index == 0:
                    open(os.path.join(self.folder, "at-%d" % done), "w").close()
        except SystemExit:
            # Only who is asked to end saves, and needs a while for it.
            time.sleep(self.takes)
            with open(at, "w") as file:
                file.write(str(done))
            current.checkpoint.save()
            with open(os.path.join(self.folder, "saved-%d-%d" % (self.index, current.retry_count)), "w") as file:
                file.write(str(done))
            raise
        self.next(self.join)

    @step
    def join(self, inputs):
        self.began_at = [i.began_at for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    AskedFlow()
"""


_ONE_GANG = """
from flowc import mpi, resources, torchrun

class NAME(FlowSpec):
    @step
    def start(self):
        self.next(self.work, num_parallel=2)

DECORATORS
    @step
    def work(self):
BODY
        self.next(self.join)

    @step
    def join(self, inputs):
JOIN
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    NAME()
"""


def one_gang(name: str, decorators: str, body: str, join: str = "pass") -> str:
    """A flow with a gang of two nodes, for `write`."""
    text = _ONE_GANG.replace("NAME", name).replace("DECORATORS", indent(dedent(decorators).strip(), " " * 4))
    for mark, code in (("BODY", body), ("JOIN", join)):
        text = text.replace(mark, indent(dedent(code).strip(), " " * 8))
    return text


def assert_saved_when_asked(view: RunView, folder: Path, *, outlived: bool = True) -> None:
    """Every rank of ``ASKED`` was asked to end, saved then, and went on from that and from nothing else. ``outlived``
    says that the job's own supervisor was left to note what became of the attempt.
    """
    *_, asked, last = view.attempts("train/0")
    saved = [int((folder / f"saved-{rank}-{asked}").read_text()) for rank in range(3)]
    assert min(saved) >= 1 and view.artifact("join", "began_at") == saved
    assert not list(folder.glob(f"saved-*-{last}"))
    for rank in range(3):
        report = json.loads((view.folder / "train" / str(rank) / str(asked) / "gang.json").read_text())
        assert report["kind"] == "preempted", report
    journal = view.folder / "slurm" / "attempts" / f"train._.{asked}.json"
    assert journal.exists() == outlived
    assert not outlived or json.loads(journal.read_text()) == {"ended": "preempted"}


def write(target: Slurm, text: str) -> Path:
    file = target.folder / "flow.py"
    file.write_text(HEAD + text)
    return file


def submitted(target: Slurm, file: Path, *options: str, env: Mapping[str, str] | None = None) -> str:
    """Submit a flow and give the run's id at once."""
    done = target.command("submit", str(file), "--target", "slurm", "--datastore", str(target.root), *options, env=env)
    assert done.returncode == 0, done.said
    return done.stdout.strip()


def status(target: Slurm, flow: str, run: str) -> dict[str, Any]:
    """What ``flowc status`` says."""
    done = target.command("status", f"{flow}/{run}", "--json", "--datastore", str(target.root))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ended(target: Slurm, flow: str, run: str, seconds: float = 90) -> dict[str, Any]:
    """What ``flowc status`` says once the run is over."""
    return until(lambda: (s := status(target, flow, run))["state"] != "running" and s, seconds, "the run goes on", 0.5)


def queue(target: Slurm) -> list[str]:
    """What the controller still has to do."""
    return [line for line in target.cluster.run(["squeue", "-h"]).stdout.splitlines() if line]


def job_of(target: Slurm, run: str, key: str) -> str:
    """The id of one of the run's jobs."""
    file = next(target.root.glob(f"*/{run}/slurm/jobs/{key}.json"))
    return str(json.loads(file.read_text())["job"])


def ended_in_a_hurry(target: Slurm, run: str, job: str, flow: str = "GangFlow") -> dict[str, Any]:
    """The end of a run, one job of which is put back into the queue: Slurm would let it wait there for two minutes."""
    hurried = 0.0

    def look() -> Any:
        nonlocal hurried
        if target.cluster.details(job).get("Reason") == "BeginTime":
            # Not at once: a job that starts in the second in which it was ended is taken for one that has ended.
            hurried = hurried or time.monotonic() + 4
            if time.monotonic() > hurried:
                target.cluster.run(["scontrol", "update", f"jobid={job}", "starttime=now"])
                hurried = 0.0
        found = status(target, flow, run)
        return found["state"] != "running" and found

    found: dict[str, Any] = until(look, 280, "the run goes on", 2.0)
    return found
