"""The semantics on a real cluster: the tests of test_matrix_on_argo.py, deployed and submitted there, and what only a
real one can answer. Run by ``make e2e-argo``; docs/e2e-argo.md names the fact that each test confirms.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_argo_cluster import ArgoOnCluster, Site
from flow_target import Finished
from matrix_cases import Case, asked_of_every_target, bad_input, parameters, resume
from test_matrix_on_argo import on_argo, test_a_wait_that_grows_by_a_fraction  # noqa: F401 (the same test)

# Before the tests' settings take everything named FLOWC_ away.
SITE = Site.from_environment()
KUBECONFIG = os.environ.get("KUBECONFIG", "")
LONG = bool(os.environ.get("FLOWC_E2E_LONG"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * SITE.timeout)]

WriteFlow = Callable[..., Path]

NOT_HERE = {
    **dict.fromkeys(asked_of_every_target(resume), "runs are resumed on this machine, and their lab is on the claim"),
    parameters.test_files_and_configs_given: "`flowc submit` sends no file with a run",
    bad_input.test_numpy_arrays_are_the_tasks_own: "the image need have nothing but Python",
}
"""What the lab is asked and a cluster is not, and why."""

PLAIN = """
from DSL import FlowSpec, Parameter, step
class PlainFlow(FlowSpec):
    text = Parameter("text", default="")
    rounds = Parameter("rounds", default=0, type=int)
    @step
    def start(self):
        self.round, self.said = 0, self.text
        self.next(self.again)
    @step
    def again(self):
        self.round += 1
        self.way = "again" if self.round < self.rounds else "end"
        self.next({"again": self.again, "end": self.end}, condition="way")
    @step
    def end(self):
        pass
"""
GANG = """
import time
from DSL import FlowSpec, parallel, step
class StoppedGangFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.train, num_parallel=2)
    @parallel
    @step
    def train(self):
        print("a rank is here", flush=True)
        time.sleep(3000)
        self.next(self.join)
    @step
    def join(self, inputs):
        self.next(self.end)
    @step
    def end(self):
        pass
"""


PREEMPTED = """
import time
from DSL import FlowSpec, checkpoint, current, parallel, retry, step
class PreemptedFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.train, num_parallel=2)
    @retry(times=1, minutes_between_retries=0)
    @checkpoint
    @parallel
    @step
    def train(self):
        print("a rank is here", flush=True)
        self.attempt = current.retry_count
        if current.retry_count == 2:
            raise ValueError("its own fault")
        if current.retry_count < 3:
            time.sleep(3000)
        self.next(self.join)
    @step
    def join(self, inputs):
        self.attempts = [i.attempt for i in inputs]
        self.next(self.end)
    @step
    def end(self):
        pass
"""


@pytest.fixture
def target(tmp_path: Path) -> ArgoOnCluster:
    """The target of every test here."""
    return ArgoOnCluster(tmp_path, SITE, KUBECONFIG)


def status(target: ArgoOnCluster, run: str) -> dict[str, object]:
    """What ``flowc status --json`` says."""
    found: dict[str, object] = json.loads(target.command("status", run, *SITE.where, "--json").stdout)
    return found


@pytest.mark.parametrize("case", list(on_argo()), ids=lambda case: case.name)
def test_on_argo_as_here(case: Case, target: ArgoOnCluster, tmp_path: Path, write_flow: WriteFlow) -> None:
    numpy = bad_input.test_numpy_arrays_are_the_tasks_own
    if reason := NOT_HERE.get(numpy if "numpy" in str(case.choices) else case.function):
        pytest.skip(f"not here: {reason}")
    case.ask(target, tmp_path, write_flow)


def test_parameters_arrive_as_they_were_given(target: ArgoOnCluster, write_flow: WriteFlow) -> None:
    """`{{=sprig.b64enc(workflow.parameters.json)}}` gives the parameters, whatever is in them."""
    text = "a 'b' \"c\" $(HOME) $$ ${X} \\ ä€ \t }} #"
    run = target.run(write_flow(PLAIN), {"text": text})
    assert run.artifact("start", "said") == text


def test_the_code_comes_from_several_config_maps(target: ArgoOnCluster, write_flow: WriteFlow) -> None:
    """One projected volume lays the files of several ConfigMaps out, and the exit handler's DAG records the end."""
    run = target.run(write_flow(PLAIN))
    manifests = target.command("compile", str(run.flow_file), "--target", "argo", "-o", str(target.folder / "out"))
    assert manifests.returncode == 0
    text = (target.folder / "out" / "argo" / "workflow-template.yaml").read_text()
    assert text.count("- configMap:") + text.count("configMap:\n") >= 2
    assert run.status["state"] == "done" and run.status["finished"]


def gang_at_work(target: ArgoOnCluster, write_flow: WriteFlow, text: str = GANG) -> str:
    """A run whose gang has formed."""
    file = write_flow(text)
    target.deploy(file)
    run = target.command("submit", str(file), *SITE.where).stdout.strip()
    ranks_are_there(target, run)
    return run


def ranks_are_there(target: ArgoOnCluster, run: str, attempt: int = 0) -> None:
    """Wait until both ranks of an attempt work."""
    words = ["logs", f"{run}/train", *SITE.where, "--attempt", str(attempt)]
    until = time.monotonic() + SITE.timeout / 3
    while target.command(*words).stdout.count("a rank is here") < 2:
        assert time.monotonic() < until, status(target, run)
        time.sleep(1)
    assert len(target.jobsets_at_work(run)) == 1


@pytest.mark.parametrize("force", [False, True])
def test_cancelling_leaves_no_jobset(force: bool, target: ArgoOnCluster, write_flow: WriteFlow) -> None:
    """`shutdown: Stop` runs the exit handler, which removes them; after Terminate flowc does."""
    run = gang_at_work(target, write_flow)
    done = target.command("cancel", run, *SITE.where, *(["--force"] if force else []))
    assert done.returncode == 0, done.said
    assert not target.jobsets(run)
    until = time.monotonic() + 120
    while (found := status(target, run))["state"] == "running":
        assert time.monotonic() < until, found
        time.sleep(1)
    assert found["state"] == "interrupted"


def test_a_gang_ends_with_its_workflow(target: ArgoOnCluster, write_flow: WriteFlow) -> None:
    """After `argo terminate`, when no exit handler runs, the control rank sees that the Workflow has ended."""
    run = gang_at_work(target, write_flow)
    target.terminate(run)
    until = time.monotonic() + 120
    while left := target.jobsets_at_work(run):
        assert time.monotonic() < until, left
        time.sleep(1)
    assert len(target.jobsets(run)) == 1


def test_a_preempted_gang_goes_on_and_its_retry_is_left(target: ArgoOnCluster, write_flow: WriteFlow) -> None:
    """A Job whose pod is evicted fails by its podFailurePolicy, and its JobSet is started anew without counting."""
    run = gang_at_work(target, write_flow, PREEMPTED)
    (first,) = target.jobsets(run)
    target.evict(run, 1)
    ranks_are_there(target, run, 1)
    target.evict(run, 0)
    until = time.monotonic() + SITE.timeout / 3
    # The third attempt fails by itself, and the one retry follows.
    while (found := status(target, run))["state"] == "running":
        assert time.monotonic() < until, found
        time.sleep(1)
    assert found["state"] == "done", found
    view = target.view(run, target.folder / "flow.py", {}, Finished(0, "", ""))
    assert view.artifact("join", "attempts") == [3, 3] and view.attempts("train/1") == [0, 1, 2, 3]
    begun = sorted(file.name for file in (view.folder / "train" / "0" / "begun").iterdir())
    assert begun[:3] == [f"{number}.{number}.{first}" for number in range(3)] and begun[3].startswith("3.0.")


def test_how_deep_templates_may_call_each_other(target: ArgoOnCluster, write_flow: WriteFlow) -> None:
    """A loop of 60 rounds runs; one of 120 is ended by the controller, unless DISABLE_MAX_RECURSION is set there."""
    if not LONG:
        pytest.skip("not here: this takes half an hour; set FLOWC_E2E_LONG=1")
    assert target.run(write_flow(PLAIN), {"rounds": 60}).done() >= {"again@60", "end"}
    file = write_flow(PLAIN)
    target.deploy(file)
    finished = target.command("submit", str(file), *SITE.where, "--wait", "--rounds", "120")
    assert finished.returncode == 1 and "recursion" in finished.said.lower(), finished.said
