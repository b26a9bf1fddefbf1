"""What pods are given by ``@kubernetes`` beside image, amounts and secrets, and whatever else the templates say.

For each kind of template there is a table of all the fields that flowc ever writes in it, down to the container, with
what they must be for a step; a field that is not in the table is foreign. What the tables hold comes from the rules by
which ``@kubernetes`` is read, not from what writes the templates.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ...compiler.plan import Step
from ...runtime import contract
from . import names, options
from . import option_values as values
from .reading_containers import RUN, Manifests, container_of, deletes, jobset_of, pod_of, variables_of
from .reading_fields import differences, elsewhere, flow_labels, pull_secrets

_CODE = "/flowc/code"
_DATA = "/flowc/data"
"""Where pods see the code, and the claim of the datastore."""

_QUEUE = "kueue.x-k8s.io/queue-name"
_TOPOLOGY = "alpha.jobset.sigs.k8s.io/exclusive-topology"

_STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
"""Of the pod by which Argo watches a JobSet."""

_GRACE, _GRACE_OF_RANKS, _TO_END = 30, 45, 15
"""Seconds in which a pod has ended: at least Kubernetes' own, or those of ranks; beyond ``@checkpoint(grace=)``."""

_PREEMPTED = 75
"""With what a rank exits that was asked to end from outside."""

_RECORDING = {"requests": {"cpu": "100m", "memory": "256Mi"}}
"""What the record of a run's end needs."""

_SPOT_NODES = {
    "cloud.google.com/gke-spot": "true",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
"""The labels of nodes that a cloud may take back. GKE and AKS also keep other pods away from them."""

_SPOT_TAINTS = ("cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority")


def pod_problems(made: Manifests) -> Iterator[str]:
    """What the templates say of their pods otherwise than the Plan, and what flowc never says."""
    steps = {step.name: step for step in made.plan.steps}
    running: dict[str, str] = {}
    for item in made.spec["templates"]:
        container = container_of(item) or {}
        if _args(container)[0] == "step" and contract.CAUGHT not in variables_of(container):
            running[container["args"][1]] = item["name"]
    for item in made.spec["templates"]:
        args = _args(container_of(item) or {})
        found: Iterator[str] = iter(())
        if "dag" in item:
            found = differences(item, {**elsewhere("name", "inputs"), "dag": elsewhere("tasks")})
        elif deletes(item):
            found = differences(item, _deletion(made))
        elif args[0] == "end":
            first = made.plan[made.plan.first]
            found = iter([*differences(item, _record(made, first)), *_mounts(made, first, item)])
        elif args[0] == "step" and args[1] in steps:
            step = steps[args[1]]
            marks = {**_labels(made, step), "flowc/step": running.get(step.name)}
            if "resource" in item:
                found = iter([*differences(item, _gang(made)), *_jobset(made, step, item, marks)])
            else:
                found = differences(item, _task(step, marks, running.get(step.name) == item["name"]))
            found = iter([*found, *_mounts(made, step, item)])
        for problem in found:
            yield f"template {item['name']}: {problem}"


def _args(container: Mapping[str, Any]) -> list[str]:
    return list(container.get("args") or [""])


# The tables ----------------------------------------------------------------------------------------------------------


def _task(step: Step, marks: Mapping[str, Any], works: bool) -> dict[str, Any]:
    """The template of a plain step, or of one that only goes on after a failure."""
    grace = _grace(step, _GRACE)
    # No field of a template says it.
    patch = json.dumps({"terminationGracePeriodSeconds": grace}) if works and grace != _GRACE else None
    return {
        **elsewhere("name", "inputs", "retryStrategy", "activeDeadlineSeconds", "timeout", "serviceAccountName"),
        **elsewhere("volumes"),
        "outputs": elsewhere("parameters"),
        "metadata": {"labels": {**_queue(step), **marks}, "annotations": _annotations(step)},
        **_placement(step),
        "podSpecPatch": patch,
        "container": _container(step),
    }


def _gang(made: Manifests) -> dict[str, Any]:
    """The template that makes a JobSet and waits for it."""
    return {
        **elsewhere("name", "inputs", "retryStrategy", "activeDeadlineSeconds", "timeout", "serviceAccountName"),
        "metadata": {"labels": {**flow_labels(made.plan), "flowc/run": RUN}, "annotations": _STAYS},
        "resource": {
            **elsewhere("action", "successCondition", "failureCondition", "manifest"),
            "setOwnerReference": True,
        },
    }


def _jobset(made: Manifests, step: Step, item: Mapping[str, Any], marks: Mapping[str, Any]) -> Iterator[str]:
    """A gang's JobSet: what is said of it, of its Job and of the pods."""
    topology = options.given(step).get("topology")
    notes = {**(_annotations(step) or {}), **({_TOPOLOGY: str(topology)} if topology else {})}
    # Who was only asked to end uses up none of the times that @retry gives.
    free = step.retry is not None
    restart = "RestartJobSetAndIgnoreMaxRestarts"
    again = [{"name": "preempted", "action": restart, "onJobFailureReasons": ["PodFailurePolicy"]}]
    pod = {
        **elsewhere("restartPolicy", "serviceAccountName", "volumes"),
        "terminationGracePeriodSeconds": _grace(step, _GRACE_OF_RANKS),
        **_placement(step),
        "imagePullSecrets": pull_secrets(made.plan),
        "containers": [{"name": names.RANK_JOB, **_container(step)}],
    }
    job = {
        **elsewhere("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds"),
        "completionMode": "Indexed",
        **({"podFailurePolicy": {"rules": _preempted()}, "podReplacementPolicy": "Failed"} if free else {}),
        "template": {"metadata": {"labels": {**marks}, "annotations": _annotations(step)}, "spec": pod},
    }
    meant = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "generateName": names.jobset_prefix(item["name"]),
            "labels": {**_queue(step), **marks},
            "annotations": notes or None,
        },
        "spec": {
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "startupPolicy": {"startupPolicyOrder": "AnyOrder"},
            "successPolicy": {"operator": "All"},
            "failurePolicy": {**elsewhere("maxRestarts"), **({"rules": again} if free else {})},
            "replicatedJobs": [{"name": names.RANK_JOB, **elsewhere("replicas"), "template": {"spec": job}}],
        },
    }
    yield from differences(jobset_of(item), meant, "manifest")


def _preempted() -> list[dict[str, Any]]:
    """How Kubernetes tells a pod that was asked to end from one that failed."""
    codes = {"containerName": names.RANK_JOB, "operator": "In", "values": [_PREEMPTED]}
    conditions = [{"type": "DisruptionTarget", "status": "True"}]
    return [{"action": "FailJob", "onExitCodes": codes}, {"action": "FailJob", "onPodConditions": conditions}]


def _record(made: Manifests, first: Step) -> dict[str, Any]:
    """The template that records the end of a run: as the first step's, but without devices, with its own amounts and
    not on nodes that are taken back."""
    return {
        **elsewhere("name", "serviceAccountName", "volumes"),
        "timeout": "900s",
        "metadata": {"labels": _labels(made, first), "annotations": _annotations(first)},
        **_placement(first, spot=False),
        "container": {**_container(first), "ports": None, "resources": _RECORDING},
    }


def _deletion(made: Manifests) -> dict[str, Any]:
    """The template that deletes the JobSets of a run."""
    return {
        **elsewhere("name", "serviceAccountName"),
        "retryStrategy": {"limit": "3", "retryPolicy": "Always"},
        "activeDeadlineSeconds": "300",
        "metadata": {"labels": {**flow_labels(made.plan), "flowc/run": RUN}},
        "resource": elsewhere("action", "flags"),
    }


# What the tables hold of a step --------------------------------------------------------------------------------------


def _container(step: Step) -> dict[str, Any]:
    given = options.given(step)
    return {
        **elsewhere("image", "command", "args", "workingDir", "env", "envFrom", "volumeMounts"),
        "imagePullPolicy": given.get("image_pull_policy") or None,
        "ports": [{"containerPort": given["port"]}] if given.get("port") else None,
        "resources": elsewhere("requests", "limits"),
        "securityContext": values.security_context(given.get("security_context") or {}) or None,
    }


def _placement(step: Step, *, spot: bool = True) -> dict[str, Any]:
    given = options.given(step)
    tolerations = values.tolerations(given.get("tolerations") or ())
    affinity = None
    if spot and given.get("spot"):
        tolerations += [
            {"key": key, "operator": "Equal", "value": _SPOT_NODES[key], "effect": "NoSchedule"} for key in _SPOT_TAINTS
        ]
        terms = [
            {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}
            for key, value in _SPOT_NODES.items()
        ]
        nodes = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        affinity = {"nodeAffinity": nodes}
    return {
        "nodeSelector": values.selector(given.get("node_selector") or {}) or None,
        "tolerations": tolerations or None,
        "affinity": affinity,
        "priorityClassName": given.get("priority_class") or None,
        "securityContext": values.pod_security_context(given.get("security_context") or {}) or None,
    }


def _grace(step: Step, least: int) -> int:
    return least if step.grace is None else max(least, math.ceil(step.grace) + _TO_END)


def _labels(made: Manifests, step: Step) -> dict[str, str]:
    return {**(options.given(step).get("labels") or {}), **flow_labels(made.plan), "flowc/run": RUN}


def _queue(step: Step) -> dict[str, str]:
    """The label of what waits in a queue: a JobSet as a whole, not each of its pods."""
    queue = options.given(step).get("queue")
    return {_QUEUE: str(queue)} if queue else {}


def _annotations(step: Step) -> dict[str, str] | None:
    return dict(options.given(step).get("annotations") or {}) or None


# Volumes -------------------------------------------------------------------------------------------------------------


def _mounts(made: Manifests, step: Step, item: Mapping[str, Any]) -> Iterator[str]:
    """What a container finds at which path, whatever the volumes are called."""
    gang = "resource" in item
    own = (pod_of(item) if gang else item).get("volumes", [])
    volumes: dict[str, dict[str, Any]] = {}
    for volume in [*([] if gang else made.spec.get("volumes", [])), *own]:
        if volume["name"] in volumes:
            yield f"it has two volumes {volume['name']}"
        volumes[volume["name"]] = {field: value for field, value in volume.items() if field != "name"}
    mounts = (container_of(item) or {}).get("volumeMounts", [])
    there = {}
    for mount in mounts:
        more = {field: value for field, value in mount.items() if field not in ("name", "mountPath")}
        there[mount["mountPath"]] = {**volumes.get(mount["name"], {}), **more}
    for name in sorted({volume["name"] for volume in own} - {mount["name"] for mount in mounts}):
        yield f"it also has the volume {name}, mounted nowhere"
    yield from differences(there, dict(_mounted(made, step)), "volumeMounts")


def _mounted(made: Manifests, step: Step) -> Iterator[tuple[str, dict[str, Any]]]:
    """What has to be at which path: the code, the datastore's claim, and what the step asks for."""
    given = options.given(step)
    if made.way != "image":
        yield _CODE, {**elsewhere("projected"), "readOnly": True}
    if made.claim:
        yield _DATA, {"persistentVolumeClaim": {"claimName": made.claim}}
    for claim, path in (given.get("persistent_volume_claims") or {}).items():
        yield str(path), {"persistentVolumeClaim": {"claimName": claim}}
    if options.shared_memory(step):
        yield "/dev/shm", _memory(options.shared_memory(step))  # noqa: S108
    tmpfs = options.tmpfs(step)
    if tmpfs is not None:
        yield tmpfs[0], _memory(tmpfs[1])
    if values.security_context(given.get("security_context") or {}).get("readOnlyRootFilesystem") and (
        tmpfs is None or tmpfs[0].rstrip("/") != "/tmp"  # noqa: S108
    ):
        yield "/tmp", {"emptyDir": {}}  # noqa: S108


def _memory(mebibytes: int) -> dict[str, Any]:
    return {"emptyDir": {"medium": "Memory", "sizeLimit": f"{mebibytes}Mi"}}
