"""How the control rank of a gang sees that its Workflow has ended, from the lab's API server by TLS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from argo_api import ArgoApi
from argo_cluster import Cluster
from flow_target import until
from flowc.runtime import contract, workflow_watch
from flowc.runtime.outline import ContractError
from flowc.runtime.workflow_watch import WorkflowWatch

Said = Callable[[], str]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ArgoApi]:
    with Cluster(tmp_path / "cluster") as cluster, ArgoApi(cluster, tmp_path) as found:
        for name, value in cluster.place.variables.items():
            monkeypatch.setenv(name, value)
        # Meant for the step; the token is not to go there.
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setattr(workflow_watch, "ACCOUNT", str(cluster.place.account))
        monkeypatch.setattr(found, "refresh", lambda: None)
        kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}
        found.objects.create("workflows", {**kind, "metadata": {"name": "f-1"}, "spec": {}}, "me", False)
        mark(found, "Running", "false")
        yield found


def mark(api: ArgoApi, phase: str, completed: str) -> None:
    labels = {"workflows.argoproj.io/phase": phase, "workflows.argoproj.io/completed": completed}
    api.objects.set_status("workflows", "f-1", {"phase": phase}, labels)


@pytest.fixture
def watch(api: ArgoApi) -> Iterator[Said]:
    """Begin to watch; gives what the watch says, or nothing so far."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(WorkflowWatch("f-1", 1.0, 0.02).wait()), daemon=True)
    thread.start()
    yield lambda: "".join(said)
    api.absent.clear()
    if api.objects.has("workflows", "f-1"):
        mark(api, "Failed", "true")
    thread.join(10)
    assert not thread.is_alive()


def looks(api: ArgoApi, more: int) -> None:
    """Wait until it has looked so many times again."""
    wanted = len(api.seen) + more
    until(lambda: len(api.seen) >= wanted)


def test_it_waits_until_the_workflow_has_ended(api: ArgoApi, watch: Said) -> None:
    looks(api, 3)
    assert watch() == ""
    assert set(api.seen) == {"GET /apis/argoproj.io/v1alpha1/namespaces/flows/workflows/f-1"}
    mark(api, "Failed", "true")
    until(lambda: watch() == "Workflow f-1 has ended (Failed)")


def test_a_workflow_that_is_deleted_is_gone(api: ArgoApi, watch: Said) -> None:
    looks(api, 1)
    api.objects.delete("workflows", "f-1", False)
    until(lambda: watch() == "Workflow f-1 is gone")


def test_a_workflow_that_never_was_here_is_not_gone(api: ArgoApi) -> None:
    api.objects.delete("workflows", "f-1", False)
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(WorkflowWatch("f-1", 1.0, 0.02).wait()), daemon=True)
    thread.start()
    looks(api, 6)
    assert thread.is_alive() and said == []
    kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}
    api.objects.create("workflows", {**kind, "metadata": {"name": "f-1"}, "spec": {}}, "me", False)
    mark(api, "Failed", "true")
    thread.join(10)
    assert said


def test_an_api_that_does_not_serve_workflows_tells_nothing(api: ArgoApi, watch: Said) -> None:
    api.absent.add("argoproj.io")
    looks(api, 3)
    assert watch() == ""


def test_who_may_not_look_is_told_once_and_looks_on(
    api: ArgoApi, watch: Said, capfd: pytest.CaptureFixture[str]
) -> None:
    api.denied.add(("get", "workflows"))
    looks(api, 8)
    said = capfd.readouterr().err
    assert said.count("this gang runs until its deadline") == 1 and 'cannot get resource "workflows"' in said
    api.denied.clear()
    mark(api, "Failed", "true")
    until(lambda: watch() != "")


def test_a_server_that_is_away_or_somebody_else_is_asked_again(
    api: ArgoApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark(api, "Succeeded", "true")
    said: list[str] = []
    right = api.cluster.place.variables["KUBERNETES_SERVICE_PORT"]
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    certificate = Path(workflow_watch.ACCOUNT) / "ca.crt"
    text = certificate.read_text()
    thread = threading.Thread(target=lambda: said.append(WorkflowWatch("f-1", 1.0, 0.02).wait()), daemon=True)
    thread.start()
    time.sleep(0.2)
    certificate.write_text("no certificate")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", right)
    time.sleep(0.2)
    assert thread.is_alive() and api.seen == []
    certificate.write_text(text)
    thread.join(10)
    assert said == ["Workflow f-1 has ended (Succeeded)"]


def test_who_watches(api: ArgoApi, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert workflow_watch.workflow_watch() is None
    monkeypatch.setenv(contract.WORKFLOW, "f-1")
    monkeypatch.setenv(contract.PREEMPT_GRACE, "60")
    assert workflow_watch.workflow_watch() == workflow_watch.workflow_watch(90) == WorkflowWatch("f-1", 75.0)
    monkeypatch.delenv(contract.PREEMPT_GRACE)
    assert workflow_watch.workflow_watch() == WorkflowWatch("f-1", 45.0)
    assert workflow_watch.workflow_watch(90) == WorkflowWatch("f-1", 105.0)
    monkeypatch.setenv(contract.PREEMPT_GRACE, "soon")
    with pytest.raises(ContractError, match="FLOWC_PREEMPT_GRACE"):
        workflow_watch.workflow_watch()
    monkeypatch.setattr(workflow_watch, "ACCOUNT", "/no/such/folder")
    assert workflow_watch.workflow_watch() is None
    assert "this gang runs until its deadline: the pod has no token" in capfd.readouterr().err
