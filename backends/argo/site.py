"""What the manifests of one flow have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...compiler.plan import Plan
from ...runtime import contract
from ..base import EmitSettings
from . import names, options
from .code import Code, code_of, volume
from .dag import Drawing
from .store import Store, read_store

IMAGE = "python:3.12"
"""The image of steps that name none, where none is given. It has Python and nothing else."""


@dataclass(frozen=True)
class Site:
    """One flow and where it is to run.

    Attributes
    ----------
    name : str
        The WorkflowTemplate's name, and that of most other objects.
    namespace : str
        Empty where whoever applies the manifests says it.
    code : Code
        How pods come by the code.
    """

    plan: Plan
    settings: EmitSettings
    drawing: Drawing
    name: str
    namespace: str
    image: str
    store: Store
    code: Code
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def gangs(self) -> bool:
        """Whether any step is a gang."""
        return any(step.kind == "gang" for step in self.plan.steps)

    @property
    def gang_account(self) -> str:
        """The account of ranks. No flow's name has a dot in it."""
        return f"{self.name}.gang"

    @property
    def jobset_account(self) -> str:
        """The account of what makes JobSets and deletes them; nothing of the author's runs with it."""
        return f"{self.name}.jobsets"

    @property
    def flow_file(self) -> str:
        """The flow's file as pods see it."""
        return f"{self.code.folder}/flow/{self.settings.main}"

    def metadata(self, name: str) -> dict[str, Any]:
        """``metadata`` of an object of the flow."""
        out: dict[str, Any] = {"name": name}
        if self.namespace:
            out["namespace"] = self.namespace
        out["labels"] = {"app.kubernetes.io/managed-by": "flowc", **self.labels}
        return out

    def volumes(self) -> list[dict[str, Any]]:
        """The volumes that all pods have."""
        out = [volume(self.code.maps)] if self.code.maps else []
        if self.store.claim:
            out.append({"name": "data", "persistentVolumeClaim": {"claimName": self.store.claim}})
        return out


def namespaces(plan: Plan, settings: EmitSettings) -> list[str]:
    """Every namespace that the settings and the steps name."""
    named = [options.given(step).get("namespace") for step in plan.steps]
    return list(dict.fromkeys(str(name) for name in [settings.namespace, *named] if name))


def site_of(plan: Plan, settings: EmitSettings) -> Site:
    """Work out what the manifests need. Only for what `checks` found no error in."""
    name = names.flow_object(plan.name)
    labels = {"flowc/flow": name}
    if plan.project:
        labels["flowc/project"] = names.dns_label(plan.project)
    return Site(
        plan,
        settings,
        Drawing(plan),
        name,
        next(iter(namespaces(plan, settings)), ""),
        settings.image or IMAGE,
        read_store(settings.datastore),
        code_of(plan, settings),
        labels,
    )


def description(site: Site) -> bytes:
    """``bundle.json``: what the manifests were made from, besides the Plan and the code."""
    settings = site.settings
    data: dict[str, Any] = {
        "version": 1,
        "target": "argo",
        "flow": site.plan.name,
        "file": settings.main,
        "code": settings.code,
        "url": site.code.env.get(contract.CODE_URL),
        "image": settings.image,
        "namespace": settings.namespace,
        "datastore": settings.datastore,
    }
    return (json.dumps({key: value for key, value in data.items() if value is not None}, indent=2) + "\n").encode()
