"""The Argo target: from the Plan to a WorkflowTemplate with its ConfigMaps and rights, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...compiler.diagnostics import Diagnostic
from ...compiler.plan import Plan
from ..base import Capabilities, EmitSettings
from .capabilities import CAPABILITIES

if TYPE_CHECKING:
    from .site import Site


@dataclass(frozen=True)
class ArgoBackend:
    """Argo Workflows with JobSet. See `flowc.backends.base.Backend`."""

    @property
    def name(self) -> str:
        return CAPABILITIES.target

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def check(self, plan: Plan) -> list[Diagnostic]:
        """Values that Kubernetes or Argo would refuse or misread, and what does not go together."""
        from .checks import plan_problems

        return plan_problems(plan)

    def check_settings(self, plan: Plan, settings: EmitSettings) -> list[Diagnostic]:
        """The datastore, the namespace, and the sizes of all objects."""
        from .checks import settings_problems, size_problems

        found = settings_problems(plan, settings)
        if not any(item.is_error for item in found):
            found += size_problems(*_built(plan, settings))
        return found

    def emit(self, plan: Plan, settings: EmitSettings) -> dict[str, bytes]:
        """The manifests, ``kustomization.yaml`` over them, and ``bundle.json``."""
        from .files import manifests

        return manifests(*_built(plan, settings))

    def read(self, files: Mapping[str, bytes]) -> Plan:
        """The Plan among the code, which the templates must describe; nothing in them may be a mistake for Argo."""
        from .reading import read_files

        return read_files(files)


_last: list[tuple[Plan, EmitSettings, Site, dict[str, Any]]] = []


def _built(plan: Plan, settings: EmitSettings) -> tuple[Site, dict[str, Any]]:
    """The site of a flow and its WorkflowTemplate; the last ones are kept, for a check is followed by the emission."""
    from .site import site_of
    from .workflow import workflow_template

    if not _last or _last[0][0] is not plan or _last[0][1] is not settings:
        site = site_of(plan, settings)
        _last[:] = [(plan, settings, site, workflow_template(site))]
    return _last[0][2], _last[0][3]


BACKEND = ArgoBackend()
