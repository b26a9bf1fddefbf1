"""The files that ``kubectl apply -k`` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .code import ConfigMap, holds_runtime
from .rbac import rbac
from .site import Site, description
from .workflow import cron_workflow
from .yaml_text import dump, dump_all

WORKFLOW = "workflow-template.yaml"
CODE = "code.yaml"
RUNTIME_CODE = "runtime.yaml"
RBAC = "rbac.yaml"
CRON = "cron-workflow.yaml"
KUSTOMIZATION = "kustomization.yaml"
BUNDLE = "bundle.json"


def manifests(site: Site, workflow: Mapping[str, Any]) -> dict[str, bytes]:
    """Every file of a flow by name; ``workflow`` is its WorkflowTemplate."""
    out = {WORKFLOW: dump(workflow, _about(site))}
    own = [item for item in site.code.maps if not holds_runtime(item.name)]
    runtime = [item for item in site.code.maps if holds_runtime(item.name)]
    if own:
        out[CODE] = dump_all(_config_maps(site, own), "The code of the flow.")
    if runtime:
        # A file of its own: it changes with flowc, the other with the flow.
        out[RUNTIME_CODE] = dump_all(_config_maps(site, runtime), "flowc's runtime.")
    out[RBAC] = dump_all(rbac(site), "What the pods of the flow may do.")
    cron = cron_workflow(site)
    if cron is not None:
        out[CRON] = dump(cron, "Starts the flow by the clock.")
    listed = sorted(out)
    head: dict[str, Any] = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    if site.namespace:
        head["namespace"] = site.namespace
    out[KUSTOMIZATION] = dump({**head, "resources": listed}, "All of the flow: kubectl apply -k FOLDER")
    return {**{name: text.encode() for name, text in out.items()}, BUNDLE: description(site), **site.code.files}


def _config_maps(site: Site, items: Sequence[ConfigMap]) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": site.metadata(item.name),
            "immutable": True,
            **item.content(),
        }
        for item in items
    ]


def _about(site: Site) -> str:
    lines = [f"The flow {site.plan.name} for Argo Workflows{' and JobSet' if site.gangs else ''}, written by flowc."]
    lines.append(f"Start a run of it: argo submit --from workflowtemplate/{site.name}")
    return "\n".join(lines)
