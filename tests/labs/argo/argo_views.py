"""What the lab's cluster does, as the status of Workflows, pods and JobSets shows it on a real one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argo_jobsets import JobSet
    from argo_pods import HeldPod, Pod
    from argo_workflow import Node, Workflow

Object = dict[str, Any]
_PASSED_OVER = ("Skipped", "Omitted")


def workflow_status(workflow: Workflow, spec: Mapping[str, Any], ended: bool, problem: str) -> Object:
    """``status`` of a Workflow (https://argo-workflows.readthedocs.io/en/stable/fields/#workflowstatus)."""
    roots = [workflow.root, *([workflow.exit] if workflow.exit else [])]
    nodes = {identity(workflow.name, node): _node(workflow.name, node) for root in roots for node in root.all()}
    phase = "Error" if problem else (workflow.root.phase or "Running") if ended else "Running"
    out: Object = {
        "phase": phase,
        "startedAt": stamp(workflow.root.started),
        "finishedAt": stamp(workflow.root.finished) if ended else None,
        "nodes": nodes,
        "storedWorkflowTemplateSpec": spec,
    }
    if problem or (ended and workflow.root.message):
        out["message"] = problem or workflow.root.message
    return out


def identity(workflow: str, node: Node) -> str:
    """The id of a node: for the root the Workflow's name."""
    if node.name == workflow:
        return workflow
    return f"{workflow}-{int(hashlib.sha256(node.name.encode()).hexdigest()[:8], 16)}"


def _node(workflow: str, node: Node) -> Object:
    retried = not node.is_group and bool(node.children) and node.children[0].name == f"{node.name}(0)"
    kind = "Pod" if node.is_pod else "Retry" if retried else "TaskGroup" if node.is_group else "DAG"
    if node.phase in _PASSED_OVER:
        kind = "Skipped"
    out: Object = {
        "id": identity(workflow, node),
        "name": node.name,
        "displayName": node.name.rpartition(".")[2],
        "type": kind,
        "templateName": node.template,
        "phase": node.phase or ("Pending" if node.is_pod and not node.pod_begun else "Running"),
        "startedAt": stamp(node.started),
    }
    if node.inputs:
        out["inputs"] = {"parameters": [{"name": key, "value": text} for key, text in node.inputs.items()]}
    if node.children:
        out["children"] = [identity(workflow, child) for child in node.children]
    if node.message:
        out["message"] = node.message
    if node.phase:
        out["finishedAt"] = stamp(node.finished)
    return out


def pod_objects(pods: Iterable[Pod], held: Iterable[HeldPod], namespace: str) -> list[Object]:
    """The pods that there are."""
    return [*(_pod(pod, namespace) for pod in list(pods)), *(_held(pod, namespace) for pod in list(held))]


def _pod(pod: Pod, namespace: str) -> Object:
    code = pod.process.poll()
    phase = "Running" if code is None else "Failed" if code else "Succeeded"
    state: Object = {"running": {"startedAt": stamp(pod.created)}}
    if code is not None:
        state = {"terminated": {"exitCode": 128 - code if code < 0 else code, "finishedAt": stamp(pod.created)}}
    status: Object = {"phase": phase, "conditions": [{"type": "PodScheduled", "status": "True"}]}
    name = _container_name(pod.container, pod.first)
    status["containerStatuses"] = [_of_container(name, pod.container, state)]
    return _object(pod.metadata, pod.container, pod.first, pod.created, status, namespace)


def _held(pod: HeldPod, namespace: str) -> Object:
    status: Object = {"phase": "Pending"}
    if pod.reason == "Unschedulable":
        condition = {"type": "PodScheduled", "status": "False", "reason": pod.reason, "message": pod.message}
        status["conditions"] = [condition]
    else:
        waiting = {"waiting": {"reason": pod.reason, "message": pod.message}}
        status["containerStatuses"] = [_of_container("main", pod.container, waiting)]
    return _object(pod.metadata, pod.container, False, pod.created, status, namespace)


def _of_container(name: str, container: Mapping[str, Any], state: Object) -> Object:
    image = str(container.get("image") or "")
    return {"name": name, "image": image, "imageID": image, "ready": False, "restartCount": 0, "state": state}


def _container_name(container: Mapping[str, Any], first: bool) -> str:
    # Argo calls the container of a template main, whatever it is called there.
    return str(container["name"]) if first else "main"


def _object(
    metadata: Mapping[str, Any], container: Mapping[str, Any], first: bool, created: float, status: Object, ns: str
) -> Object:
    named = {**container, "name": _container_name(container, first)}
    beside = [] if first else [{"name": "wait", "image": "argoexec", "args": ["wait"]}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "namespace": ns, "creationTimestamp": stamp(created)},
        "spec": {"containers": [*beside, named]},
        "status": status,
    }


def jobset_object(jobset: JobSet, namespace: str) -> Object:
    """A JobSet that was created."""
    status: Object = {"restarts": jobset.attempt}
    if jobset.terminal:
        status["terminalState"] = jobset.terminal
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": jobset.name,
            "namespace": namespace,
            "labels": dict(jobset.labels),
            "creationTimestamp": stamp(jobset.created),
        },
        "spec": {"suspend": False},
        "status": status,
    }


def stamp(when: float) -> str | None:
    """A time as Kubernetes writes it; the lab keeps fractions, so that what is fast keeps its order."""
    if not when:
        return None
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(when))}.{int(when % 1 * 1e6):06d}Z"
