"""Which accounts there are and what they may do, compared with what a flow of this Plan needs: no less and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...compiler.plan import Plan
from . import options
from .reading_containers import container_of, pod_of

Rights = dict[tuple[str, str], set[str]]
"""Verbs by API group and resource."""

_PODS: Mapping[tuple[str, str], frozenset[str]] = {
    ("argoproj.io", "workflowtaskresults"): frozenset(["create", "patch"]),
}
"""Of every pod that Argo makes: it reports its result."""

_JOBSETS: Mapping[tuple[str, str], frozenset[str]] = {
    ("jobset.x-k8s.io", "jobsets"): frozenset(["create", "delete", "get", "list", "watch"]),
}
"""Of the pod that makes a JobSet and waits for it, and of the one that deletes them at the end, beside `_PODS`."""

_RANKS: Mapping[tuple[str, str], frozenset[str]] = {
    ("argoproj.io", "workflows"): frozenset(["get"]),
}
"""Of the ranks of a gang: they see whether their Workflow has ended."""


def rights_problems(plan: Plan, spec: Mapping[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    """What accounts may do beyond what they need, and what they need and may not do."""
    gangs = [step for step in plan.steps if step.kind == "gang"]
    made = sorted(item["metadata"]["name"] for item in documents if item.get("kind") == "ServiceAccount")
    own = spec.get("serviceAccountName")
    others = [name for name in made if name != own]
    if own not in made:
        yield f"the Workflow has the account {own}, and the manifests make {', '.join(made) or 'none'}"
    if len(others) != (2 if gangs else 0):
        accounts = "two, for ranks and for JobSets" if gangs else "none"
        yield f"there are the accounts {', '.join(others) or 'none'} beside that of the Workflow, not {accounts}"
        return
    meant: dict[str, Rights] = {}
    _add(meant, str(own), _PODS)
    if gangs:
        holding = {item["name"]: item.get("serviceAccountName") for item in spec["templates"] if "resource" in item}
        makes = next(iter(holding.values()))
        if makes not in others or len(set(holding.values())) != 1:
            told = ", ".join(f"{account} of {name}" for name, account in holding.items())
            yield f"what makes and deletes JobSets has the accounts {told}, not one that nothing else has"
            return
        others.remove(makes)
        for rights in (_PODS, _JOBSETS):
            _add(meant, makes, rights)
        _add(meant, others[0], _RANKS)
    for step in plan.steps:
        named = options.given(step).get("service_account")
        if named:
            _add(meant, str(named), _RANKS if step.kind == "gang" else _PODS)
    yield from _of_ranks(plan, spec, others)
    there: dict[str, Rights] = {}
    yield from _read(documents, there)
    for account in sorted({*meant, *there}):
        for group, resource in sorted({*meant.get(account, {}), *there.get(account, {})}):
            may = there.get(account, {}).get((group, resource), set())
            needs = meant.get(account, {}).get((group, resource), set())
            if may != needs:
                yield f"account {account} may {_verbs(may)} {resource}.{group}, and needs to {_verbs(needs)}"


def _verbs(verbs: set[str]) -> str:
    return ", ".join(sorted(verbs)) or "do nothing with"


def _add(rights: dict[str, Rights], account: str, more: Mapping[tuple[str, str], frozenset[str]]) -> None:
    of_account = rights.setdefault(account, {})
    for what, verbs in more.items():
        of_account.setdefault(what, set()).update(verbs)


def _of_ranks(plan: Plan, spec: Mapping[str, Any], others: list[str]) -> Iterator[str]:
    named = {step.name: options.given(step).get("service_account") for step in plan.steps}
    for item in spec["templates"]:
        container = container_of(item)
        if container is None or "resource" not in item:
            continue
        account = named.get(container["args"][1]) or others[0]
        if pod_of(item).get("serviceAccountName") != account:
            yield f"template {item['name']}: its ranks have the account {pod_of(item).get('serviceAccountName')}"


def _read(documents: list[dict[str, Any]], there: dict[str, Rights]) -> Iterator[str]:
    """Collect what each account may do; what cannot be read, or says more than that, is a problem."""
    roles = {item["metadata"]["name"]: item for item in documents if item.get("kind") == "Role"}
    bound = set()
    for item in documents:
        name = item["metadata"]["name"] if "metadata" in item else ""
        kind = item.get("kind")
        if str(item.get("apiVersion", "")).startswith("rbac.") and kind not in ("Role", "RoleBinding"):
            yield f"{kind} {name} gives rights beyond the flow's namespace"
        if kind != "RoleBinding":
            continue
        refers = item["roleRef"]
        if refers["kind"] != "Role" or refers["name"] not in roles:
            yield f"RoleBinding {name} gives the rights of {refers['kind']} {refers['name']}, which is not here"
            continue
        bound.add(refers["name"])
        for subject in item["subjects"]:
            if subject["kind"] != "ServiceAccount" or subject.get("namespace") != item["metadata"].get("namespace"):
                yield f"RoleBinding {name} gives rights to {subject['kind']} {subject['name']} from elsewhere"
            for rule in roles[refers["name"]]["rules"]:
                if set(rule) != {"apiGroups", "resources", "verbs"}:
                    yield f"Role {refers['name']} has a rule of {', '.join(sorted(rule))}"
                for group in rule.get("apiGroups", ()):
                    for resource in rule.get("resources", ()):
                        _add(there, subject["name"], {(group, resource): frozenset(rule["verbs"])})
    for name in sorted(set(roles) - bound):
        yield f"Role {name} is bound to nobody"
