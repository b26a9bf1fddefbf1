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
    steps = site.plan.steps
    report = [{"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}]
    gangs = [step for step in steps if step.kind == "gang"]
    others = _named(step for step in steps if step.kind != "gang")
    out = [_account(site, site.name), *_rights(site, site.name, report, others)]
    if site.gangs:
        verbs = ["create", "delete", "get", "list", "watch"]
        manage = [{"apiGroups": ["jobset.x-k8s.io"], "resources": ["jobsets"], "verbs": verbs}]
        look = [{"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["get"]}]
        out += _rights(site, site.name, manage, (), f"{site.name}.jobsets")
        out += [_account(site, site.gang_account)]
        out += _rights(site, site.gang_account, look, _named(gangs))
    return out


def _named(steps: Iterable[Step]) -> list[str]:
    """The accounts that steps name instead of the flow's."""
    named = [options.given(step).get("service_account") for step in steps]
    return list(dict.fromkeys(str(name) for name in named if name))


def _account(site: Site, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": site.metadata(name)}


def _rights(
    site: Site, account: str, rules: list[dict[str, Any]], others: Iterable[str], name: str = ""
) -> list[dict[str, Any]]:
    """A Role, and who has it: an account of the flow's own, and others."""
    name = name or account
    subjects = [
        {"kind": "ServiceAccount", "name": each, **({"namespace": site.namespace} if site.namespace else {})}
        for each in dict.fromkeys([account, *others])
    ]
    metadata = site.metadata(name)
    return [
        {"apiVersion": f"{_API}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{_API}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": _API, "kind": "Role", "name": name},
            "subjects": subjects,
        },
    ]
