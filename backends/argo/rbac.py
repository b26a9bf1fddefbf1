"""The rights of a flow's pods: to report to Argo, and to see to its JobSets where it has gangs; nothing else.

Ranks of gangs have an account of their own, by which they see whether their Workflow has ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...compiler.plan import Step
from . import options
from .site import Site

_API = "rbac.authorization.k8s.io"


def rbac(site: Site) -> list[dict[str, Any]]:
    """ServiceAccounts, Roles and RoleBindings."""
    rules = [{"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}]
    if not site.gangs:
        return _account(site, site.name, rules, site.plan.steps)
    verbs = ["create", "delete", "get", "list", "watch"]
    rules.append({"apiGroups": ["jobset.x-k8s.io"], "resources": ["jobsets"], "verbs": verbs})
    look = [{"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["get"]}]
    gangs = [step for step in site.plan.steps if step.kind == "gang"]
    return [*_account(site, site.name, rules, site.plan.steps), *_account(site, site.gang_account, look, gangs)]


def _account(site: Site, name: str, rules: list[dict[str, Any]], steps: Iterable[Step]) -> list[dict[str, Any]]:
    """An account with its rights, which those also get that the steps name instead."""
    named = [options.given(step).get("service_account") for step in steps]
    accounts = list(dict.fromkeys([name, *(str(each) for each in named if each)]))
    subjects = [
        {"kind": "ServiceAccount", "name": account, **({"namespace": site.namespace} if site.namespace else {})}
        for account in accounts
    ]
    metadata = site.metadata(name)
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{_API}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{_API}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": _API, "kind": "Role", "name": name},
            "subjects": subjects,
        },
    ]
