"""The files that ``kubectl apply -k`` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .code import RUNTIME, ConfigMap
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
    own = [item for item in site.code.maps if not item.name.startswith(RUNTIME)]
    shared = [item for item in site.code.maps if item.name.startswith(RUNTIME)]
    if own:
        out[CODE] = dump_all(_config_maps(site, own), "The code of the flow.")
    if shared:
        # A file of its own, so that version control keeps one copy for all flows.
        out[RUNTIME_CODE] = dump_all(_config_maps(site, shared), "flowc's runtime: the same for every flow.")
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
            "metadata": _metadata(site, item.name),
            "immutable": True,
            **item.content(),
        }
        for item in items
    ]


def _metadata(site: Site, name: str) -> dict[str, Any]:
    out = site.metadata(name)
    if name.startswith(RUNTIME):
        # It is the same object for every flow.
        out["labels"] = {key: text for key, text in out["labels"].items() if not key.startswith("flowc/")}
    return out


def _about(site: Site) -> str:
    lines = [f"The flow {site.plan.name} for Argo Workflows{' and JobSet' if site.gangs else ''}, written by flowc."]
    lines.append(f"Start a run of it: argo submit --from workflowtemplate/{site.name}")
    return "\n".join(lines)
