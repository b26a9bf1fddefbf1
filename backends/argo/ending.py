"""What runs when a Workflow has ended, however it did: the record of its end, and the removal of its JobSets.

Stopping a Workflow, or its failure, ends only the pod by which Argo watches a JobSet; the JobSet itself runs on.
"""

from __future__ import annotations

import json
from typing import Any

from ...runtime import contract
from .container import beginning_env, container, flow_env, labels, own_volumes, placement, step_annotations
from .packages import requirements
from .site import Site

TEMPLATE = "on-exit"
RECORD = "record-end"
DELETE = "delete-jobsets"

_RECORD_TIMEOUT = "900s"
"""How long one try of the record may take, waiting for a node included: Argo's ``timeout`` counts that where there is
no ``retryStrategy``, the kubelet's deadline does not. There may be no node for it: it is placed as the first step is,
which may be why the run ends."""

_TRIES = 3
"""Tasks that record the end, each where the one before could not: with the one pod lost, to an eviction or to a node
that is taken back, the run would be running for ever. So it is tried again without a ``retryStrategy``."""

_DELETE_SECONDS = "300"
"""How long an attempt may take."""

_FAILURES = "{{=sprig.trunc(60000, workflow.failures)}}"
"""One variable holds 128 KiB at most, and of thousands of failed items Argo tells more than that."""


def ending_templates(site: Site) -> list[dict[str, Any]]:
    """The template that runs at the end, and those that it consists of."""
    tasks = [{"name": RECORD, "template": RECORD}]
    for number in range(2, _TRIES + 1):
        before = tasks[-1]["name"]
        depends = f"{before}.Failed || {before}.Errored"
        tasks.append({"name": f"{RECORD}-{number}", "template": RECORD, "depends": depends})
    parts = [_record(site)]
    if site.gangs:
        tasks.append({"name": DELETE, "template": DELETE})
        parts.append(_delete(site))
    return [{"name": TEMPLATE, "dag": {"tasks": tasks}}, *parts]


def _record(site: Site) -> dict[str, Any]:
    """Has what the first step has, but for its devices and amounts, and for nodes that are taken back.

    It may have to load the flow and to create the run, too, and only there are the image, the credentials of the
    datastore and what the cluster insists on known to be right.
    """
    first = site.plan[site.plan.first]
    env = dict(flow_env(site)) | dict(beginning_env(site)) | {contract.FAILURES: _FAILURES}
    wanted = requirements(site.plan, first)
    if wanted:
        env[contract.PACKAGES] = json.dumps(wanted)
    runs = container(site, first, ["end", "--status", "{{workflow.status}}"], env, devices=False)
    runs["resources"] = {"requests": {"cpu": "100m", "memory": "256Mi"}}
    runs.pop("ports", None)
    marks = {name: text for name, text in labels(site, first).items() if name != "flowc/step"}
    metadata: dict[str, Any] = {"labels": marks}
    if step_annotations(first):
        metadata["annotations"] = step_annotations(first)
    out: dict[str, Any] = {
        "name": RECORD,
        "timeout": _RECORD_TIMEOUT,
        "metadata": metadata,
        **placement(first, spot=False),
    }
    if own_volumes(first):
        out["volumes"] = own_volumes(first)
    return {**out, "container": runs}


def _delete(site: Site) -> dict[str, Any]:
    return {
        "name": DELETE,
        "retryStrategy": {"limit": "3", "retryPolicy": "Always"},
        "activeDeadlineSeconds": _DELETE_SECONDS,
        "metadata": {"labels": {**site.labels, "flowc/run": "{{workflow.name}}"}},
        "serviceAccountName": site.jobset_account,
        "resource": {
            "action": "delete",
            "flags": ["jobset", "--selector", "flowc/run={{workflow.name}}", "--ignore-not-found"],
        },
    }
