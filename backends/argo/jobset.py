"""A gang as a JobSet: one replicated job with one Indexed Job, whose pods are the ranks.

Everything that JobSet's webhook would fill in is written out (https://jobset.sigs.k8s.io/docs/reference/jobset.v1alpha2).
A gang that fails is not restarted in place: Argo makes a new JobSet for the next attempt, and waits before as
``@retry`` says. One that was only asked to end from outside is, at once, and Argo does not see it: ``@retry`` pays for
failures.
"""

from __future__ import annotations

import math
from typing import Any

from ...compiler.plan import Step
from ...runtime import contract, preemptions
from . import options
from .container import (
    RUN,
    attempt_env,
    container,
    deadline,
    labels,
    longest_rest,
    own_volumes,
    placement,
    step_annotations,
    step_env,
    termination_grace,
)
from .names import RANK_JOB, jobset_prefix
from .site import Site
from .yaml_text import dump

SIZE = "{{inputs.parameters.size}}"
_NUMBER = "size-known-at-run-time"
LONGEST = 5 * 24 * 3600
"""Seconds after which a gang without ``@timeout`` is ended: nothing may hang for ever."""

GRACE = 45
"""Seconds that ranks have to save a checkpoint when they are asked to end, and to end, where the step says nothing."""

_START = 3600
"""Seconds in which a gang's pods have to start, new nodes and large images included: their Job's deadline counts that,
``@timeout`` does not."""

_FORM = 600
"""Seconds in which a gang then has to form, where the step says nothing."""

_PREEMPTED = 75
"""With what the ranks of a gang exit that was asked to end: `flowc.runtime.gang.EXIT_PREEMPTED`."""

_QUEUE = 7 * 24 * 3600
"""Seconds beyond the Job's own deadline in which a JobSet has to begin where it waits in a queue of Kueue, else
``_START``."""


_POD_FAILURES = {
    "rules": [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": RANK_JOB, "operator": "In", "values": [_PREEMPTED]},
        },
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
}
"""Tells a Job whose pods were asked to end (a node is drained or taken back, a pod of higher priority comes) from one
that failed: its reason is PodFailurePolicy (https://kubernetes.io/docs/concepts/workloads/controllers/job/)."""

_RULES = [
    {
        "name": "preempted",
        "action": "RestartJobSetAndIgnoreMaxRestarts",
        "onJobFailureReasons": ["PodFailurePolicy"],
    }
]
"""What a JobSet does then (https://jobset.sigs.k8s.io/docs/concepts/failure-policy/); after any other failure it does
as maxRestarts says, and fails."""


def job_deadline(step: Step) -> int:
    """Seconds that the ranks of one attempt may take, counted from the start of their Job."""
    return deadline(step, _START + _to_form(step)) or LONGEST + longest_rest(step)


def _to_form(step: Step) -> int:
    said = options.given(step).get("hostname_resolution_timeout")
    if not said and step.framework is not None:
        said = step.framework.options.get("all_nodes_started_timeout")
    return math.ceil(said or _FORM)


def step_deadline(step: Step) -> int:
    """Seconds after which Argo gives a JobSet up. It comes to that only where Kubernetes refuses the Job."""
    again = 0 if step.retry is None else min(preemptions.MOST * job_deadline(step), preemptions.LONGEST)
    return again + job_deadline(step) + (_QUEUE if options.given(step).get("queue") else _START)


def manifest(site: Site, step: Step) -> str:
    """The text of the JobSet, with Argo's variables in it."""
    # Without quotes, so that it is a number once Argo has put it in.
    return dump(jobset(site, step)).replace(f": {_NUMBER}\n", f": {SIZE}\n")


def jobset(site: Site, step: Step) -> dict[str, Any]:
    """The JobSet of a gang."""
    given = options.given(step)
    metadata: dict[str, Any] = {"generateName": jobset_prefix(site.drawing.of_step[step.name])}
    marks = labels(site, step)
    metadata["labels"] = {**({"kueue.x-k8s.io/queue-name": given["queue"]} if given.get("queue") else {}), **marks}
    notes = step_annotations(step)
    if given.get("topology"):
        notes["alpha.jobset.sigs.k8s.io/exclusive-topology"] = str(given["topology"])
    if notes:
        metadata["annotations"] = notes
    job = {
        "completionMode": "Indexed",
        "parallelism": _NUMBER,
        "completions": _NUMBER,
        "backoffLimit": 0,
        "activeDeadlineSeconds": job_deadline(step),
        "template": _pod(site, step),
    }
    failures: dict[str, Any] = {"maxRestarts": 0}
    if step.retry is not None:
        job |= {"podFailurePolicy": _POD_FAILURES, "podReplacementPolicy": "Failed"}
        failures["rules"] = _RULES
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "startupPolicy": {"startupPolicyOrder": "AnyOrder"},
            "successPolicy": {"operator": "All"},
            "failurePolicy": failures,
            "replicatedJobs": [{"name": RANK_JOB, "replicas": 1, "template": {"spec": job}}],
        },
    }


def _pod(site: Site, step: Step) -> dict[str, Any]:
    env = dict(step_env(site, step)) | dict(attempt_env(step)) | {contract.GANG_SIZE: SIZE, contract.WORKFLOW: RUN}
    patience = options.given(step).get("hostname_resolution_timeout")
    if patience:
        env[contract.GANG_TIMEOUT] = str(patience)
    args = ["step", step.name]
    if len(step.scope) > 1:
        args += ["--index", "{{inputs.parameters.index}}"]
    ranks = {"name": RANK_JOB, **container(site, step, args, env)}
    ranks["env"] = [*ranks["env"], *_downward()]
    metadata: dict[str, Any] = {"labels": labels(site, step)}
    if step_annotations(step):
        metadata["annotations"] = step_annotations(step)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": termination_grace(step, GRACE),
        # By which they see whether their Workflow has ended, which other steps need not.
        "serviceAccountName": site.gang_account,
        **placement(step),
    }
    if pull_secrets(site):
        spec["imagePullSecrets"] = pull_secrets(site)
    spec["containers"] = [ranks]
    spec["volumes"] = [*site.volumes(), *own_volumes(step)]
    return {"metadata": metadata, "spec": spec}


def _downward() -> list[dict[str, Any]]:
    """What a rank learns of its JobSet, by the names that its membership is read by."""
    fields = {
        "JOBSET_NAME": "metadata.annotations['jobset.sigs.k8s.io/jobset-name']",
        "JOBSET_RESTART_ATTEMPT": "metadata.labels['jobset.sigs.k8s.io/restart-attempt']",
        "REPLICATED_JOB_NAME": "metadata.annotations['jobset.sigs.k8s.io/replicatedjob-name']",
    }
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]


def pull_secrets(site: Site) -> list[dict[str, str]]:
    """The secrets by which images are pulled: Argo has them for a whole Workflow."""
    named = [name for step in site.plan.steps for name in options.given(step).get("image_pull_secrets") or ()]
    return [{"name": name} for name in dict.fromkeys(named)]
