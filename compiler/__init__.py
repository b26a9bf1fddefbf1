"""The compiler: a flow's file in, its Plan and everything that is wrong with it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..dsl.flow import FlowSpec
from ..dsl.loading import LoadedFile
from .diagnostics import CompileError, Diagnostic, Severity, Sources
from .plan import Plan

if TYPE_CHECKING:
    from .packaging import Package

__all__ = ["Compilation", "CompileError", "Diagnostic", "Plan", "Severity", "Sources", "compile_flow"]


@dataclass(eq=False)
class Compilation:
    """What came of compiling a flow.

    Attributes
    ----------
    file : str
        The flow's file as it was named, without ``:Flow``.
    loaded : LoadedFile or None
        The imported file; None where it could not be imported.
    flow : type or None
        The flow class; None where it is not there or not clear.
    plan : Plan or None
        None exactly where there are errors.
    diagnostics : tuple of Diagnostic
        Everything found, by place.
    sources : Sources
        The lines that the diagnostics point at.
    package : Package or None
        The files that travel with the flow; None where there is no flow.
    """

    file: str
    loaded: LoadedFile | None
    flow: type[FlowSpec] | None
    plan: Plan | None
    diagnostics: tuple[Diagnostic, ...]
    sources: Sources
    package: Package | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a Plan."""
        return self.plan is not None

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(item for item in self.diagnostics if item.is_error)

    def require(self) -> Plan:
        """The Plan.

        Raises
        ------
        CompileError
            If the flow has errors.
        """
        if self.plan is None:
            raise CompileError(self.diagnostics, self.sources)
        return self.plan


def compile_flow(
    spec: str,
    *,
    with_specs: Sequence[str] = (),
    config_files: Mapping[str, str] | None = None,
    config_values: Mapping[str, str] | None = None,
    package: Sequence[str] = (),
    stand_in: bool = True,
) -> Compilation:
    """Compile a flow. Nothing that is wrong with it raises; it is in the diagnostics, all at once.

    Parameters
    ----------
    spec : str
        ``FILE`` or ``FILE:Flow``.
    with_specs : sequence of str
        Decorators for every step that does not have them: ``retry:times=2``.
    config_files, config_values : mapping, optional
        Files and JSON texts of configs, by config name.
    package : sequence of str
        Globs of further files that travel with the flow, relative to its folder; ``!GLOB`` leaves some out.
    stand_in : bool
        Let the flow's files import modules that are not installed here; not for runs.
    """
    from . import frontend

    found: list[Diagnostic] = []
    sources, loaded, name = frontend.load(spec, stand_in, found)
    cls = frontend.pick(loaded, name, sources, found) if loaded else None
    plan, files = None, None
    if loaded is not None and cls is not None:
        from .compilation import compile_class

        plan, files = compile_class(
            cls, loaded, sources, with_specs, config_files or {}, config_values or {}, package, found
        )
    from .diagnostics import ordered

    file, _ = frontend.split_reference(spec)
    return Compilation(file, loaded, cls, plan, ordered(found), sources, files)
