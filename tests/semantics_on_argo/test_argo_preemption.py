"""Gangs whose pods are asked to end from outside: a JobSet starts them anew, and ``@retry`` pays for failures.

A cluster is asked the first of these questions, by the Eviction API: tests/e2e_argo/on_a_cluster.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from argo_cluster import Cluster, report
from flow_argo import Argo
from flow_target import Finished, RunView, until

pytestmark = pytest.mark.slow

FLOW = """
import json, os, sys, time
from flowc import FlowSpec, Parameter, checkpoint, current, parallel, retry, step, timeout

class GangFlow(FlowSpec):
    lab = Parameter("lab", default="")

    @step
    def start(self):
        self.next(self.train, num_parallel=2)

    DECORATORS
    @parallel
    @step
    def train(self):
        rank, number = current.parallel.node_index, current.retry_count
        told = lambda: os.path.exists(f"{self.lab}/go")
        with open(f"{self.lab}/began.{number}.{rank}", "w"):
            pass
        what = json.load(open(f"{self.lab}/script.json"))[number]
        self.loaded = open(current.checkpoint.load() + "/at").read() if current.checkpoint.latest else ""
        if what == "save":
            if rank == 0:
                os.makedirs("saved", exist_ok=True)
                with open("saved/at", "w") as file:
                    file.write(str(number))
                current.checkpoint.save("saved")
                open(f"{self.lab}/saved", "w").close()
            time.sleep(100)
        if what == "hang":
            time.sleep(100)
        if what == "raise" and rank == 1:
            raise ValueError("its own fault")
        if what == "exit 75" and rank == 1:
            os._exit(75)
        self.number = number
        self.next(self.join)

    @step
    def join(self, inputs):
        self.seen = [(i.number, i.loaded) for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        pass
"""


class Run:
    """One workflow of the flow, and what becomes of it."""

    def __init__(self, target: Argo, decorators: str, script: list[str]) -> None:
        self.target = target
        self.script = script
        self.lab = target.folder / "lab"
        self.lab.mkdir(exist_ok=True)
        (self.lab / "script.json").write_text(json.dumps(script))
        self.file = target.folder / "flow.py"
        self.file.write_text(FLOW.replace("DECORATORS", decorators))

    def go(self, meanwhile: Callable[[Cluster], None], phase: str = "Succeeded") -> RunView:
        with self.target.workflow(self.file) as (cluster, workflow):
            running = cluster.begin(workflow)
            meanwhile(cluster)
            running.join(120)
            said = report(workflow)
            assert not running.is_alive() and running.problem is None, said
            assert workflow.root.phase == phase, said
            assert cluster.running() == []
            self.jobsets = cluster.jobsets
            return self.target.view(workflow, self.file, None, Finished(0, "", said))

    def evict(self, cluster: Cluster, number: int, rank: int = 1) -> None:
        """Take the pod of a rank away once all ranks of the attempt work."""
        until(lambda: all((self.lab / f"began.{number}.{each}").exists() for each in range(2)), 60)
        if self.script[number] == "save":
            until((self.lab / "saved").exists, 60)
        cluster.jobsets[-1].pods[rank].evict()

    def restarts(self) -> list[tuple[int, str | None, list[str]]]:
        """How often each JobSet was started anew, its end, and why its Jobs failed."""
        return [(jobset.attempt, jobset.terminal, jobset.reasons) for jobset in self.jobsets]


def failures(run: RunView, rank: int = 0) -> list[Any]:
    """Type of the failure in each attempt of a rank that left a record."""
    from flowc.runtime.address import Address

    address = Address("train", (rank,))
    found = [run._records.read(address, number) for number in run.attempts(f"train/{rank}")]
    return [None if each is None else "done" if each.done else each.failure and each.failure.type for each in found]


RETRY = "@retry(times=1, minutes_between_retries=0)\n    @checkpoint"


def test_preempted_attempts_are_free_and_go_on_from_their_checkpoint(target: Argo) -> None:
    run = Run(target, RETRY, ["save", "hang", "raise", "hang", "go"])

    def meanwhile(cluster: Cluster) -> None:
        for number in (0, 1, 3):
            run.evict(cluster, number, number % 2)

    view = run.go(meanwhile)
    preempted, counted = "PodFailurePolicy", "BackoffLimitExceeded"
    assert run.restarts() == [(2, "Failed", [preempted, preempted, counted]), (1, "Completed", [preempted])]
    assert view.artifact("join", "seen") == [(4, "0"), (4, "")]
    assert view.attempts("train/0") == view.attempts("train/1") == [0, 1, 2, 3, 4]
    assert failures(view, 1)[2:3] == ["ValueError"] and failures(view)[4] == failures(view, 1)[4] == "done"
    first, second = (jobset.name for jobset in run.jobsets)
    marks = {f"{number}.{number}.{first}" for number in range(3)} | {f"3.0.{second}", f"4.1.{second}"}
    marks |= {f"first.{first}", f"first.{second}"}
    assert {file.name for file in (view.folder / "train" / "0" / "begun").iterdir()} == marks


def test_a_time_limit_counts_though_it_asks_the_ranks_to_end(target: Argo) -> None:
    run = Run(target, f"{RETRY}\n    @timeout(seconds=6)", ["hang"] * 3)
    view = run.go(lambda cluster: run.evict(cluster, 0), "Failed")
    counted = "BackoffLimitExceeded"
    assert run.restarts() == [(1, "Failed", ["PodFailurePolicy", counted]), (0, "Failed", [counted])]
    assert view.attempts("train/0") == [0, 1, 2] and failures(view)[1:] == ["Timeout", "Timeout"]
    failure = view.status["failure"]
    assert (failure["type"], failure["address"], failure["attempt"]) == ("Timeout", "train/0", 2)


def test_a_program_that_exits_with_the_code_of_a_preemption_has_failed(target: Argo) -> None:
    run = Run(target, RETRY, ["exit 75", "go"])
    view = run.go(lambda cluster: None)
    assert run.restarts() == [(0, "Failed", ["BackoffLimitExceeded"]), (0, "Completed", [])]
    assert view.artifact("join", "seen") == [(1, ""), (1, "")]


def test_without_retry_nothing_is_tried_again(target: Argo) -> None:
    run = Run(target, "@checkpoint", ["hang"])
    view = run.go(lambda cluster: run.evict(cluster, 0), "Failed")
    assert run.restarts() == [(0, "Failed", ["BackoffLimitExceeded"])]
    assert view.status["failure"]["type"] == "Preempted"


def test_a_pod_that_is_evicted_without_time_to_end_is_no_failure_of_the_gang(target: Argo) -> None:
    def meanwhile(cluster: Cluster) -> None:
        until(lambda: all((run.lab / f"began.0.{each}").exists() for each in range(2)), 60)
        pod = cluster.jobsets[-1].pods[1]
        pod.disrupted = True
        pod.kill()

    run = Run(target, RETRY, ["hang", "raise", "go"])
    run.go(meanwhile)
    assert [each[:2] for each in run.restarts()] == [(1, "Failed"), (0, "Completed")]
