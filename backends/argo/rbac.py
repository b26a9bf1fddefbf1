"""The rights of a flow's pods: to report to Argo, and nothing else.

Where it has gangs, the pods by which Argo makes JobSets and deletes them have an account of their own, and so have the
ranks, which see by it whether their Workflow has ended.
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
        out += [_account(site, site.jobset_account), *_rights(site, site.jobset_account, [*manage, *report], ())]
        out += [_account(site, site.gang_account), *_rights(site, site.gang_account, look, _named(gangs))]
    return out


def _named(steps: Iterable[Step]) -> list[str]:
    """The accounts that steps name instead of the flow's."""
    named = [options.given(step).get("service_account") for step in steps]
    return list(dict.fromkeys(str(name) for name in named if name))


def _account(site: Site, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": site.metadata(name)}


def _rights(site: Site, account: str, rules: list[dict[str, Any]], others: Iterable[str]) -> list[dict[str, Any]]:
    """A Role, and who has it: an account of the flow's own, and others."""
    subjects = [
        {"kind": "ServiceAccount", "name": each, **({"namespace": site.namespace} if site.namespace else {})}
        for each in dict.fromkeys([account, *others])
    ]
    metadata = site.metadata(account)
    return [
        {"apiVersion": f"{_API}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{_API}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": _API, "kind": "Role", "name": account},
            "subjects": subjects,
        },
    ]
