"""The WorkflowTemplate of a flow, and the CronWorkflow that starts it by the clock."""

from __future__ import annotations

from typing import Any

from .dag import MAIN, dag_template
from .ending import TEMPLATE, ending_templates
from .jobset import pull_secrets
from .parameters import workflow_parameters
from .site import Site
from .steps import step_templates

API = "argoproj.io/v1alpha1"


def workflow_template(site: Site) -> dict[str, Any]:
    """The flow. Works in Argo 3.7 and 4."""
    spec: dict[str, Any] = {"entrypoint": MAIN, "onExit": TEMPLATE, "serviceAccountName": site.name}
    parameters = workflow_parameters(site.plan)
    if parameters:
        spec["arguments"] = {"parameters": parameters}
    spec["workflowMetadata"] = {"labels": dict(site.labels)}
    if pull_secrets(site):
        spec["imagePullSecrets"] = pull_secrets(site)
    spec["templates"] = [
        *(dag_template(dag) for dag in site.drawing.dags),
        *step_templates(site),
        *ending_templates(site),
    ]
    spec["volumes"] = site.volumes()
    return {"apiVersion": API, "kind": "WorkflowTemplate", "metadata": site.metadata(site.name), "spec": spec}


def cron_workflow(site: Site) -> dict[str, Any] | None:
    """What starts the flow by the clock; None where it has no schedule."""
    schedule = site.plan.schedule
    if schedule is None:
        return None
    spec: dict[str, Any] = {"schedules": [str(schedule.options["cron"])]}
    if schedule.options.get("timezone"):
        spec["timezone"] = str(schedule.options["timezone"])
    spec["workflowSpec"] = {"workflowTemplateRef": {"name": site.name}}
    return {"apiVersion": API, "kind": "CronWorkflow", "metadata": site.metadata(site.name), "spec": spec}
