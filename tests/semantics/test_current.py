"""What ``current`` says inside a step, and checkpoints that outlive an attempt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flow_target import Local, Target

WriteFlow = Callable[..., Path]

FACTS = """
from DSL import FlowSpec, current, project, step

NAMES = ("flow_name", "run_id", "step_name", "task_id", "retry_count", "pathspec", "username", "tags", "namespace",
         "origin_run_id", "is_running_flow", "is_parallel")


def facts():
    return {name: getattr(current, name) for name in NAMES}


assert not current.is_running_flow


class FactsFlow(FlowSpec):
    @step
    def start(self):
        self.facts = facts()
        self.items = [1, 2]
        self.folder = current.tempdir
        self.next(self.work, foreach="items")

    @step
    def work(self):
        self.facts = facts()
        self.next(self.join)

    @step
    def join(self, inputs):
        self.ids = [i.facts["task_id"] for i in inputs]
        try:
            current.parallel
        except AttributeError as error:
            self.said = str(error)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    FactsFlow()
"""


@pytest.mark.parametrize("dsl", ["flowc", "metaflow"])
def test_the_facts_of_a_task(dsl: str, target: Target, write_flow: WriteFlow) -> None:
    options = ["--tag", "blue", "--tag", "big"] if target.tagged else []
    run = target.run(write_flow(FACTS, dsl=dsl), options=options, env={"FLOWC_USER": "somebody"})
    start, work = run.artifact("start", "facts"), run.artifact("work/1", "facts")
    assert start["flow_name"] == "FactsFlow"
    assert (start["run_id"], work["run_id"]) == (run.run_id, run.run_id)
    assert (start["step_name"], work["step_name"]) == ("start", "work")
    assert start["pathspec"] == f"FactsFlow/{run.run_id}/start/{start['task_id']}"
    assert work["pathspec"] == f"FactsFlow/{run.run_id}/work/{work['task_id']}"
    assert start["username"] == work["username"] == run.info["user"]
    assert sorted(start["tags"]) == sorted(work["tags"])
    assert start["origin_run_id"] is None
    assert start["is_running_flow"] is True
    assert len(set(run.artifact("join", "ids"))) == 2
    assert "num_parallel" in run.artifact("join", "said")
    if target.tagged:
        assert run.info["user"] == "somebody"
        assert sorted(run.info["tags"]) == ["big", "blue"]
        assert {"blue", "big"} <= set(start["tags"])


CHECKPOINTS = """
import os
import tempfile

from DSL import FlowSpec, Parameter, checkpoint, current, retry, step


class CheckpointFlow(FlowSpec):
    fail = Parameter("fail", default=2)

    @step
    def start(self):
        self.items = "ab"
        self.next(self.work, foreach="items")

    @retry(times=3, minutes_between_retries=0)
    @checkpoint
    @step
    def work(self):
        folder = current.checkpoint.load()
        epoch = 0
        if folder:
            with open(os.path.join(str(folder), "state")) as file:
                self.found = file.read()
            epoch = int(self.found.split()[1])
        for epoch in range(epoch, 4):
            save = tempfile.mkdtemp()
            with open("%s/state" % save, "w") as file:
                file.write("%s %d" % (self.input, epoch + 1))
            current.checkpoint.save(save)
            if epoch + 1 == self.fail + current.retry_count and current.retry_count < 2:
                os._exit(1)
        self.epochs = epoch + 1
        self.next(self.join)

    @step
    def join(self, inputs):
        self.found = [i.found for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    CheckpointFlow()
"""


def test_an_attempt_goes_on_from_the_checkpoint_of_the_one_before(target: Local, write_flow: WriteFlow) -> None:
    run = target.run(write_flow(CHECKPOINTS))
    # Attempt 0 ends after epoch 2, attempt 1 after epoch 3, attempt 2 does the last one; each item on its own.
    assert run.artifact("join", "found") == ["a 3", "b 3"]
    assert [run.artifact(f"work/{n}", "epochs") for n in range(2)] == [4, 4]
    assert run.attempts("work/0") == [0, 1, 2]
