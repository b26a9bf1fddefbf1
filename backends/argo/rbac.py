"""The rights of a flow's pods: to report to Argo, and to see to its JobSets where it has gangs; nothing else."""

from __future__ import annotations

from typing import Any

from . import options
from .site import Site

_API = "rbac.authorization.k8s.io"


def rbac(site: Site) -> list[dict[str, Any]]:
    """ServiceAccount, Role and RoleBinding."""
    named = [options.given(step).get("service_account") for step in site.plan.steps]
    accounts = list(dict.fromkeys([site.name, *(str(name) for name in named if name)]))
    rules = [{"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}]
    if site.gangs:
        verbs = ["create", "delete", "get", "list", "watch"]
        rules.append({"apiGroups": ["jobset.x-k8s.io"], "resources": ["jobsets"], "verbs": verbs})
    subjects = [
        {"kind": "ServiceAccount", "name": name, **({"namespace": site.namespace} if site.namespace else {})}
        for name in accounts
    ]
    metadata = site.metadata(site.name)
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{_API}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{_API}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": _API, "kind": "Role", "name": site.name},
            "subjects": subjects,
        },
    ]
