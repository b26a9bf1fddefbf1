"""What runs when a Workflow has ended, however it did: the record of its end, and the removal of its JobSets.

Stopping a Workflow, or its failure, ends only the pod by which Argo watches a JobSet; the JobSet itself runs on.
"""

from __future__ import annotations

import json
from typing import Any

from ...runtime import contract
from .container import beginning_env, flow_env, mounts
from .packages import requirements
from .site import Site

TEMPLATE = "on-exit"
RECORD = "record-end"
DELETE = "delete-jobsets"


def ending_templates(site: Site) -> list[dict[str, Any]]:
    """The template that runs at the end, and those that it consists of."""
    parts = [_record(site), *([_delete(site)] if site.gangs else [])]
    tasks = [{"name": part["name"], "template": part["name"]} for part in parts]
    return [{"name": TEMPLATE, "dag": {"tasks": tasks}}, *parts]


def _record(site: Site) -> dict[str, Any]:
    env = dict(flow_env(site)) | dict(beginning_env(site)) | {contract.FAILURES: "{{workflow.failures}}"}
    wanted = requirements(site.plan, site.plan[site.plan.first])
    if wanted:
        # It may have to load the flow, as the first step does.
        env[contract.PACKAGES] = json.dumps(wanted)
    return {
        "name": RECORD,
        "retryStrategy": {"limit": "3", "retryPolicy": "Always"},
        "metadata": {"labels": {**site.labels, "flowc/run": "{{workflow.name}}"}},
        "container": {
            "image": site.image,
            "command": ["python", *site.code.command],
            "args": ["end", "--status", "{{workflow.status}}"],
            "env": [{"name": name, "value": text} for name, text in sorted(env.items())],
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            "volumeMounts": mounts(site, None),
        },
    }


def _delete(site: Site) -> dict[str, Any]:
    return {
        "name": DELETE,
        "retryStrategy": {"limit": "3", "retryPolicy": "Always"},
        "metadata": {"labels": {**site.labels, "flowc/run": "{{workflow.name}}"}},
        "resource": {
            "action": "delete",
            "flags": ["jobset", "--selector", "flowc/run={{workflow.name}}", "--ignore-not-found"],
        },
    }
