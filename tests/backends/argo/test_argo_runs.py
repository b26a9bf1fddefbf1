"""What is made of a Workflow's status, of pods and of JobSets, in the forms in which a cluster has them."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from argo_flows import schema_errors
from flowc.backends.argo.client import ArgoClient
from flowc.backends.argo.cluster import errors, pods
from flowc.backends.argo.cluster.connection import Cluster
from flowc.backends.argo.cluster.nodes import RunningFlow
from flowc.backends.argo.cluster.submitting import workflow_of
from flowc.backends.clients import Access
from flowc.runtime.ending import told
from flowc.runtime.runs import RunError


def container(step: str, **env: str) -> dict[str, Any]:
    known = [{"name": name, "value": value} for name, value in {"FLOWC_FLOW_NAME": "F", **env}.items()]
    return {"args": ["step", step, "--index", "{{inputs.parameters.index}}"], "env": known}


SPEC = {
    "templates": [
        {"name": "main", "dag": {"tasks": []}},
        {"name": "work", "container": container("work")},
        {"name": "work-caught", "container": container("work", FLOWC_CAUGHT="{}")},
        {"name": "record-end", "container": {"args": ["end"]}},
    ]
}


def node(name: str, kind: str, phase: str, template: str = "work", index: str = "0", **more: Any) -> dict[str, Any]:
    at = more.pop("at", 0)
    return {
        "id": name, "name": name, "type": kind, "phase": phase, "templateName": template, "startedAt": stamp(at),
        "finishedAt": stamp(at + 1), "inputs": {"parameters": [{"name": "index", "value": index}]}, **more,
    }  # fmt: skip


def stamp(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}Z"


def workflow(*nodes: dict[str, Any], phase: str = "Running", packed: bool = False, **spec: Any) -> RunningFlow:
    status: dict[str, Any] = {"phase": phase, "startedAt": stamp(0), "storedWorkflowTemplateSpec": SPEC}
    there = {each["id"]: each for each in nodes}
    if packed:
        status["compressedNodes"] = base64.b64encode(gzip.compress(json.dumps(there).encode())).decode()
    else:
        status["nodes"] = there
    return RunningFlow({"metadata": {"name": "f-1"}, "spec": spec, "status": status})


RETRIED = (
    node("a", "Retry", "Failed", index="1", at=3, children=["a0", "a1"]),
    node("a0", "Pod", "Failed", index="1", at=3, message="Error (exit code 3)"),
    node("a1", "Pod", "Failed", index="1", at=5, message="OOMKilled (exit code 137)"),
)


@pytest.mark.parametrize("packed", [False, True])
def test_attempts_are_one_task_and_what_is_passed_over_is_none(packed: bool) -> None:
    flow = workflow(
        node("m", "DAG", "Running", "main"), node("x", "Pod", "Running"), node("y", "Pod", "Pending", index="2"),
        node("s", "Skipped", "Skipped"), node("o", "Pod", "Omitted"), node("e", "Pod", "Running", "record-end"),
        *RETRIED, packed=packed,
    )  # fmt: skip
    assert flow.flow == "F" and flow.counts() == {"work": {"running": 1, "waiting": 1, "failed": 1}}
    assert flow.lines() == ["work  1 running, 1 waiting, 1 failed"]


def test_the_first_failure_with_its_last_attempt() -> None:
    later = node("b", "Pod", "Error", index="9", at=8, message="late")
    status = workflow(later, *RETRIED, phase="Failed").run_status()
    assert status.state == "failed" and status.failure is not None
    wanted = {"address": "work/1", "attempt": 1, "message": "OOMKilled (exit code 137)", "exit_code": 137}
    assert {key: status.failure[key] for key in wanted} == wanted


def test_what_was_caught_is_no_failure() -> None:
    caught = node("c", "Pod", "Succeeded", "work-caught", index="1", at=7)
    flow = workflow(*RETRIED, caught, node("d", "Pod", "Error", index="2", at=9, message="x"), phase="Failed")
    assert flow.counts() == {"work": {"failed": 1, "caught": 1}}
    failure = flow.run_status().failure
    assert failure is not None and failure["address"] == "work/2"


@pytest.mark.parametrize("spec", [{"shutdown": "Stop"}, {}])
def test_a_workflow_that_was_stopped_is_interrupted(spec: dict[str, str]) -> None:
    message = "workflow shutdown with strategy:  Stop"
    flow = workflow(node("x", "Pod", "Failed", message=message), phase="Failed", **spec)
    assert flow.run_status().state == "interrupted"


@pytest.mark.parametrize("of_retry", ["Stopped with strategy 'Stop'", "workflow shutdown with strategy:  Stop"])
def test_attempts_that_were_stopped_are_no_failure(of_retry: str) -> None:
    flow = workflow(
        node("a", "Retry", "Failed", children=["a0", "a1"], message=of_retry),
        node("a0", "Pod", "Failed", at=3, message="Error (exit code 3)"),
        node("a1", "Pod", "Failed", at=5, message="workflow shutdown with strategy:  Stop"), phase="Failed",
    )  # fmt: skip
    status = flow.run_status()
    assert status.state == "interrupted" and status.failure is not None and status.failure["message"] == of_retry


def test_how_long_pods_may_take_to_end() -> None:
    def longest(*patches: str) -> float:
        templates = [{"name": "a"}, *({"podSpecPatch": patch} for patch in patches)]
        return RunningFlow({"metadata": {"name": "f-1"}}, {"templates": templates}).longest_grace

    assert longest() == 0
    assert longest('{"terminationGracePeriodSeconds": 60}', '{"terminationGracePeriodSeconds": 75}') == 75
    assert longest("hostNetwork: true", "[]", '{"priority": 3}', '{"terminationGracePeriodSeconds": {}}') == 0


def test_an_error_of_argo_itself() -> None:
    flow = RunningFlow({"metadata": {"name": "f-1"}, "status": {"phase": "Error", "message": "invalid spec: x"}})
    status = flow.run_status()
    assert status.state == "failed" and status.failure is not None and status.failure["message"] == "invalid spec: x"
    assert RunningFlow({"metadata": {"name": "f-1"}, "status": {"offloadNodeStatusVersion": "fnv:1"}}).offloaded


def pod(
    name: str, *args: str, rank: str | None = None, attempt: str = "", jobset: str = "", restarts: str = ""
) -> dict[str, Any]:
    labels = {"batch.kubernetes.io/job-completion-index": rank} if rank else {}
    if jobset:
        labels |= {"jobset.sigs.k8s.io/jobset-name": jobset, "jobset.sigs.k8s.io/restart-attempt": restarts}
    env = [{"name": "FLOWC_ATTEMPT", "value": attempt}] if attempt else []
    return {
        "metadata": {"name": name, "labels": labels, "creationTimestamp": stamp(0)},
        "spec": {"containers": [{"name": "wait", "args": ["wait"]}, {"name": "main", "args": list(args), "env": env}]},
        "status": {},
    }


def test_pods_are_tasks() -> None:
    found = pods.tasks([
        pod("p", "step", "work", "--index", "0.3"), pod("q", "step", "train", "--index", "2", rank="1", attempt="1"),
        pod("r", "step", "loop"), pod("s", "step", "loop"), pod("t", "end"),
    ])  # fmt: skip
    assert [(each.address, each.attempt, each.name) for each in found] == [
        ("work/0.3", 0, "p"), ("train/2.1", 1, "q"), ("loop", 0, "r"), ("loop@2", 0, "s"),
    ]  # fmt: skip
    assert [each.name for each in pods.wanted(found, "train/2", None)] == ["q"]
    assert [each.name for each in pods.wanted(found, "loop", None)] == ["r", "s"]
    assert [each.name for each in pods.wanted(found, "loop@2", None)] == ["s"]
    assert not pods.wanted(found, "work/0", 1) and not pods.wanted(found, "work/3", None)


def test_attempts_of_gangs_count_what_their_jobsets_started_anew() -> None:
    def rank(name: str, number: str, attempt: str, jobset: str, restarts: str) -> dict[str, Any]:
        words = ("step", "train", "--index", "2")
        return pod(name, *words, rank=number, attempt=attempt, jobset=jobset, restarts=restarts)

    found = pods.tasks([
        # Of the first one's earlier attempts no pods are left; of the second one's some linger.
        rank("a", "0", "0", "one", "2"), rank("b", "1", "0", "one", "2"), rank("c", "0", "1", "two", "0"),
        rank("d", "0", "1", "two", "1"), rank("e", "1", "1", "two", "1"),
        # The next round of a loop, and another item.
        rank("f", "0", "0", "three", "0"), rank("g", "0", "1", "four", "0"),
        pod("h", "step", "train", "--index", "3", rank="0", attempt="0", jobset="five", restarts="0"),
    ])  # fmt: skip
    assert [(each.address, each.attempt, each.name) for each in found] == [
        ("train/2.0", 2, "a"), ("train/2.1", 2, "b"), ("train/2.0", 3, "c"), ("train/2.0", 4, "d"),
        ("train/2.1", 4, "e"), ("train@2/2.0", 0, "f"), ("train@2/2.0", 1, "g"), ("train/3.0", 0, "h"),
    ]  # fmt: skip
    # A first round without a retry, and a second one with one.
    later = pods.tasks([rank(*of) for of in (("a", "0", "0", "one", "0"), ("b", "0", "0", "two", "0"),
                                             ("c", "0", "1", "three", "0"))])  # fmt: skip
    assert [(each.address, each.attempt) for each in later] == [
        ("train/2.0", 0),
        ("train@2/2.0", 0),
        ("train@2/2.0", 1),
    ]
    assert [each.name for each in pods.wanted(found, "train/2", None)] == ["d", "e", "g"]
    assert [each.name for each in pods.wanted(found, "train", 2)] == ["a", "b"]
    two = pods.tasks([pod("p", "step", "work", attempt="0"), pod("q", "step", "work", attempt="1")])
    assert [each.name for each in pods.wanted(two, "work", None)] == ["q"]
    assert [each.name for each in pods.wanted(two, "work", 0)] == ["p"]


def test_gangs_without_pods() -> None:
    def jobset(name: str, **more: Any) -> dict[str, Any]:
        return {"metadata": {"name": name, "creationTimestamp": stamp(0)}, **more}

    now = RunningFlow({"metadata": {"name": "f"}, "status": {"startedAt": stamp(50)}}).run_status().started
    has = pod("p", "step", "train", rank="0")
    has["metadata"]["annotations"] = {"jobset.sigs.k8s.io/jobset-name": "c"}
    there = [
        jobset("a", spec={"suspend": True}), jobset("b"), jobset("c"), jobset("d", status={"terminalState": "Failed"}),
    ]  # fmt: skip
    told = dict(pods.jobset_problems(there, [has], now))
    assert set(told) == {"gang a", "gang b"}
    assert "waits in its queue" in told["gang a"] and "Kubernetes may refuse its Job" in told["gang b"]
    assert not dict(pods.jobset_problems(there[1:], [has], now - 40))


def test_a_workflow_is_what_the_schema_says() -> None:
    made = workflow_of("fanflow", {"flowc/flow": "fanflow", "other": "x"}, {"width": "3", "n": "08"})
    assert made["metadata"]["labels"] == {
        "flowc/flow": "fanflow", "workflows.argoproj.io/workflow-template": "fanflow",
    }  # fmt: skip
    assert made["spec"]["arguments"]["parameters"][1] == {"name": "n", "value": "08"}
    assert not schema_errors({"workflow.yaml": json.dumps(made).encode()})


def test_a_list_of_failures_that_is_cut_off_is_read_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    message = 'it said "no" \\ in C:\\new\n'
    items = [{"displayName": f"n{at}", "message": message, "finishedAt": stamp(at)} for at in range(20)]
    listed = json.dumps(items)
    for text in (listed, json.dumps(listed)):  # Argo gives a text within the text
        for size in (len(text) // 2, len(text) // 2 + 1, len(text) - 1, 1, 0):
            monkeypatch.setenv("FLOWC_FAILURES", text[:size])
            found = told()
            assert [item.node for item in found] == [f"n{at}" for at in range(len(found))]
            assert all(item.message == message for item in found)
            assert abs(len(found) - 20 * size / len(text)) < 1.5
    stopped = json.dumps(json.dumps([*items, {"displayName": "x", "message": "Stopped with strategy 'Stop'"}]))
    monkeypatch.setenv("FLOWC_FAILURES", stopped[:-9])
    assert "Stopped with strategy" in told()[0].message and len(told()) == 21


def test_what_waits_outlasts_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(errors.time, "sleep", pauses.append)
    answers = [0, 503, 429, 500, 502, 504]

    def ask() -> str:
        if answers:
            raise errors.ClusterError("not now", answers.pop(0))
        return "yes"

    assert errors.patiently(ask) == "yes" and pauses == [2, 4, 8, 16, 30, 30]
    for status, patience in ((403, 600.0), (503, 1.0)):
        answers.append(status)
        with pytest.raises(errors.ClusterError):
            errors.patiently(ask, patience)
    assert len(pauses) == 6


def test_a_workflow_of_nobody_and_of_another_flow_is_refused() -> None:
    client = ArgoClient(Access("x"))
    client._known = Cluster.__new__(Cluster)
    client._known.namespace = "flows"
    ours = {"metadata": {"name": "f-1", "labels": {"flowc/flow": "fanflow"}}}
    client._check_flow(ours, None)
    client._check_flow(ours, "FanFlow")
    with pytest.raises(RunError, match="of another flow"):
        client._check_flow(ours, "Other")
    with pytest.raises(RunError, match="is no run of flowc's"):
        client._check_flow({"metadata": {"name": "f-1"}}, None)


def test_a_kubeconfig_without_a_current_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "me", "user": {"token": "x"}}],
        "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "me", "namespace": "flows"}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(json.dumps(there))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    cluster = Cluster("lab")
    assert (cluster.namespace, cluster.name) == ("flows", "cluster lab")
    with pytest.raises(errors.ClusterError, match="has no context 'home'; it has lab"):
        Cluster("home")
    with pytest.raises(errors.ClusterError, match="there is no cluster to talk to"):
        Cluster()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    with pytest.raises(errors.ClusterError, match="this pod cannot talk to its own"):
        Cluster()
