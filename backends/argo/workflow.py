"""The WorkflowTemplate of a flow, and the CronWorkflow that starts it by the clock."""

from __future__ import annotations

import re
from typing import Any

from .dag import MAIN, dag_template
from .ending import TEMPLATE, ending_templates
from .jobset import pull_secrets
from .names import LONGEST_CRON, shortened
from .parameters import workflow_parameters
from .site import Site
from .steps import step_templates

API = "argoproj.io/v1alpha1"

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


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
    spec: dict[str, Any] = {"schedules": [_cron_text(str(schedule.options["cron"]))]}
    if schedule.options.get("timezone"):
        spec["timezone"] = str(schedule.options["timezone"])
    spec["workflowSpec"] = {"workflowTemplateRef": {"name": site.name}}
    name = shortened(site.name, LONGEST_CRON)
    return {"apiVersion": API, "kind": "CronWorkflow", "metadata": site.metadata(name), "spec": spec}


def _cron_text(text: str) -> str:
    """The schedule as Argo reads it: a weekday 7 is to crontab(5) another Sunday, and to Argo none, without a word."""
    *others, weekdays = text.split()
    if "7" not in re.findall(r"(?:^|[,-])([0-9]+)", weekdays):
        return text
    return " ".join([*others, ",".join(str(day) for day in sorted(_days(weekdays)))])


def _days(weekdays: str) -> set[int]:
    found = set()
    for item in weekdays.split(","):
        span, _, every = item.partition("/")
        first, dash, last = ("0", "-", "6") if span in ("*", "?") else span.partition("-")
        low = _day(first)
        # Like crontab, Argo takes 2/3 for 2-6/3.
        high = _day(last) if dash else 6 if every else low
        found |= {day % 7 for day in range(low, high + 1, int(every or 1))}
    return found


def _day(text: str) -> int:
    return int(text) if text.isdigit() else _WEEKDAYS.index(text.lower())
