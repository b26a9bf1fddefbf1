"""The templates that run the steps: a container for a plain step, a JobSet for a gang."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ...compiler.plan import Foreach, Gang, Step, Switch
from ...runtime import contract
from . import options
from .container import (
    OUTPUTS,
    attempt_env,
    container,
    deadline,
    labels,
    own_volumes,
    placement,
    retry_strategy,
    step_annotations,
    step_env,
    termination_grace,
)
from .dag import INDEX
from .jobset import manifest, step_deadline
from .site import Site

_GRACE = 30
"""Seconds that Kubernetes gives a pod to end."""

_STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
"""Keeps autoscalers from moving the pod by which Argo watches a JobSet: with it lost, a retry would begin beside it."""


def step_templates(site: Site) -> Iterator[dict[str, Any]]:
    """The template of each step, and of each caught one the template that goes on."""
    for step in site.plan.steps:
        yield _gang(site, step) if step.kind == "gang" else _task(site, step)
        if step.catch is not None:
            yield _caught(site, step)


def _task(site: Site, step: Step) -> dict[str, Any]:
    env = dict(step_env(site, step)) | dict(attempt_env(step)) | {contract.OUTPUTS: OUTPUTS}
    out: dict[str, Any] = {"name": site.drawing.of_step[step.name], **_inputs(_index(step))}
    if outputs(step):
        out["outputs"] = {
            "parameters": [{"name": name, "valueFrom": {"path": f"{OUTPUTS}/{name}"}} for name in outputs(step)]
        }
    strategy = retry_strategy(step)
    if strategy:
        out["retryStrategy"] = strategy
    out.update(_pod(site, step))
    grace = termination_grace(step, _GRACE)
    if grace != _GRACE:
        # A template has no field for it; Argo's own SIGKILL waits for as long, too.
        out["podSpecPatch"] = json.dumps({"terminationGracePeriodSeconds": grace})
    return {**out, "container": container(site, step, _arguments(step), env)}


def _caught(site: Site, step: Step) -> dict[str, Any]:
    """Runs once all attempts have ended without a record: the pod was killed, or ran too long."""
    failure = {
        "type": "ProcessFailure",
        "message": "the pod of the last attempt ended without a record of why; Argo says {{inputs.parameters.status}}",
    }
    attempts = 1 + (step.retry.times if step.retry else 0)
    env = dict(step_env(site, step)) | {
        contract.ATTEMPT: str(attempts),
        contract.CAUGHT: json.dumps(failure),
        contract.OUTPUTS: OUTPUTS,
    }
    names = [*_index(step), "status"]
    out: dict[str, Any] = {"name": site.drawing.caught[step.name], **_inputs(names), **_pod(site, step)}
    return {**out, "container": container(site, step, _arguments(step), env, devices=False)}


def _gang(site: Site, step: Step) -> dict[str, Any]:
    index = ["index"] if len(step.scope) > 1 else []
    out: dict[str, Any] = {"name": site.drawing.of_step[step.name], **_inputs([*index, "size"])}
    strategy = retry_strategy(step)
    if strategy:
        out["retryStrategy"] = strategy
    out["activeDeadlineSeconds"] = str(step_deadline(step))
    out["metadata"] = {"labels": {**site.labels, "flowc/run": "{{workflow.name}}"}, "annotations": dict(_STAYS)}
    out["serviceAccountName"] = site.jobset_account
    out["resource"] = {
        "action": "create",
        "setOwnerReference": True,
        "successCondition": "status.terminalState == Completed",
        "failureCondition": "status.terminalState == Failed",
        "manifest": manifest(site, step),
    }
    return out


def outputs(step: Step) -> list[str]:
    """What Argo must know once a step is done."""
    if isinstance(step.leave, Foreach) or (isinstance(step.leave, Gang) and step.leave.size is None):
        return ["width"]
    return ["to"] if isinstance(step.leave, Switch) else []


def _index(step: Step) -> list[str]:
    return ["index"] if step.scope else []


def _inputs(names: list[str]) -> dict[str, Any]:
    return {"inputs": {"parameters": [{"name": name} for name in names]}} if names else {}


def _arguments(step: Step) -> list[str]:
    return ["step", step.name, *(["--index", INDEX] if step.scope else [])]


def _pod(site: Site, step: Step) -> dict[str, Any]:
    """What a template says of its pod beside the container."""
    given = options.given(step)
    marks = labels(site, step)
    if given.get("queue"):
        marks = {"kueue.x-k8s.io/queue-name": str(given["queue"]), **marks}
    metadata: dict[str, Any] = {"labels": marks}
    if step_annotations(step):
        metadata["annotations"] = step_annotations(step)
    out: dict[str, Any] = {"metadata": metadata}
    limit = deadline(step)
    if limit is not None:
        out["activeDeadlineSeconds"] = str(limit)
    out.update(placement(step))
    if own_volumes(step):
        out["volumes"] = own_volumes(step)
    return out
