"""What a target is to the rest of flowc: a table of what it can do, and a way from the Plan to its files and back."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from ..compiler.diagnostics import Diagnostic, Severity, did_you_mean, listed
from ..compiler.plan import Feature, Gang, Plan, Step

TARGETS: tuple[str, ...] = ("local", "argo", "batch", "slurm")
"""Every target by name."""

_PLACEMENT = frozenset(["schedule", "trigger", "trigger_on_finish", "resources"])
"""Decorators that say how tasks are started or placed; what a task computes does not depend on them."""


@dataclass(frozen=True)
class Capabilities:
    """What a target can do. Where a flow asks for more, that is an error at the flow's line.

    Parameters
    ----------
    target : str
        Its name, one of `TARGETS`.
    title : str
        Its name for people.
    frameworks : frozenset of str
        The gangs it can form.
    min_timeout : float
        The shortest timeout of a step that it can keep, in seconds.
    max_gang : int or None
        The most ranks of a gang; None where only the size of the cluster limits them.
    max_retries : int or None
        The most attempts after the first; None for any number.
    loops : bool
        Whether a switch may lead back to an earlier step.
    resources : frozenset of str
        Those of ``cpu memory gpu disk shared_memory`` that it sees to.
    features : frozenset of str
        The other decorators that it honours.
    option_group : str
        The decorator that holds its own settings; empty where it has none.
    options : frozenset of str
        The options of that decorator that it honours.
    reserved_env : tuple of str
        Beginnings of environment variables that a step cannot set.
    """

    target: str
    title: str
    frameworks: frozenset[str]
    min_timeout: float = 0
    max_gang: int | None = None
    max_retries: int | None = None
    loops: bool = True
    resources: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()
    option_group: str = ""
    options: frozenset[str] = frozenset()
    reserved_env: tuple[str, ...] = ()


@dataclass(frozen=True)
class EmitSettings:
    """What files depend on besides the Plan; nothing of it is looked up on the machine that compiles.

    Parameters
    ----------
    files : mapping
        The content of every file that travels with the flow, by its relative name.
    main : str
        Which of them is the flow's.
    code : str
        ``bundled``: flowc's runtime travels along; ``installed``: it is installed where the tasks run; ``image``: it
        and the flow's files are part of the image; or the ``s3://`` URL of a folder in which the tasks find both.
    image : str or None
        The container image of steps that name none.
    datastore : str or None
        URL of the datastore for runs that name none.
    namespace : str or None
        Where on a cluster the objects belong.
    """

    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    main: str = "flow.py"
    code: str = "bundled"
    image: str | None = None
    datastore: str | None = None
    namespace: str | None = None

    @property
    def way(self) -> str:
        """How the code travels: ``bundled``, ``installed``, ``image`` or ``s3``."""
        return "s3" if self.code.startswith("s3://") else self.code


class Unfaithful(Exception):
    """Files do not describe a Plan, or another one than they say. ``problems`` has a line for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def plan_among(files: Mapping[str, bytes]) -> Plan:
    """The Plan among files, ``plan.json``.

    Raises
    ------
    Unfaithful
        If it is missing, or holds none.
    """
    try:
        return Plan.loads(files["plan.json"].decode())
    except KeyError:
        raise Unfaithful(["plan.json is missing"]) from None
    except ValueError as error:
        raise Unfaithful([f"plan.json holds no Plan: {error}"]) from None


@runtime_checkable
class Backend(Protocol):
    """One target. Emitting is a pure function: no network, no clock, no random value, no user, no absolute path."""

    @property
    def name(self) -> str:
        """Its name, one of `TARGETS`."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def check(self, plan: Plan) -> list[Diagnostic]:
        """What is wrong with a flow for this target beyond its table of capabilities."""

    def check_settings(self, plan: Plan, settings: EmitSettings) -> list[Diagnostic]:
        """What is wrong with a flow compiled with these settings, if `check` found no error."""

    def emit(self, plan: Plan, settings: EmitSettings) -> dict[str, bytes]:
        """The files of a flow by relative name; the same bytes for the same Plan and settings, always.

        Only for a Plan in which `check` and `check_capabilities` found no error.
        """

    def read(self, files: Mapping[str, bytes]) -> Plan:
        """The Plan that files describe. Everything in them that speaks of it is compared with it.

        Raises
        ------
        Unfaithful
            If they contradict the Plan that they hold, or each other.
        """


class UnknownTarget(ValueError):
    """There is no target of that name."""


class CannotEmit(Exception):
    """The target writes no files."""


@dataclass(frozen=True)
class CheckOnly:
    """A target that flows can be checked against, but for which flowc writes no files."""

    capabilities: Capabilities

    @property
    def name(self) -> str:
        return self.capabilities.target

    def check(self, plan: Plan) -> list[Diagnostic]:
        """Nothing beyond the table."""
        return []

    def check_settings(self, plan: Plan, settings: EmitSettings) -> list[Diagnostic]:
        """Nothing."""
        return []

    def emit(self, plan: Plan, settings: EmitSettings) -> dict[str, bytes]:
        """Raises `CannotEmit`."""
        raise CannotEmit(self._answer)

    def read(self, files: Mapping[str, bytes]) -> Plan:
        """Raises `CannotEmit`."""
        raise CannotEmit(self._answer)

    @property
    def _answer(self) -> str:
        if self.name == "local":
            return "the target local has no files: `flowc run` runs the flow here"
        return (
            f"flowc does not write files for {self.capabilities.title} yet; "
            f"`flowc check --target {self.name}` tells whether a flow fits it"
        )


def get_backend(name: str) -> Backend:
    """The target of that name.

    Raises
    ------
    UnknownTarget
        If there is none; the message suggests one.
    """
    if name not in TARGETS:
        tip = did_you_mean(name, TARGETS, form="{}") or f"take one of {listed(TARGETS, 'or')}"
        raise UnknownTarget(f"there is no target {name!r}; {tip}")
    try:
        module = importlib.import_module(f".{name}.backend", __package__)
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.{name}.backend":
            raise
        return CheckOnly(get_capabilities(name))
    backend: Backend = module.BACKEND
    return backend


def get_capabilities(name: str) -> Capabilities:
    """The table of a target, by a name out of `TARGETS`."""
    table: Capabilities = importlib.import_module(f".{name}.capabilities", __package__).CAPABILITIES
    return table


def check_target(plan: Plan, name: str) -> list[Diagnostic]:
    """Everything that a target, by a name out of `TARGETS`, has to say of a flow."""
    backend = get_backend(name)
    return [*check_capabilities(plan, backend.capabilities), *backend.check(plan)]


def check_capabilities(plan: Plan, capabilities: Capabilities) -> list[Diagnostic]:
    """What of a flow the target cannot do (errors), and what it takes without doing anything (warnings and notes)."""
    found: list[Diagnostic] = []
    for step in plan.steps:
        found.extend(_step_problems(step, capabilities))
    found.extend(_loops(plan, capabilities))
    found.extend(_without_effect(plan, capabilities))
    return found


def _step_problems(step: Step, table: Capabilities) -> Iterator[Diagnostic]:
    if step.framework is not None and step.framework.name not in table.frameworks:
        able = [f"@{name}" for name in sorted(table.frameworks)]
        tip = f"{table.title} forms gangs of {listed(able)}" if able else f"{table.title} forms no gangs"
        yield Diagnostic(
            "FC401", f"{table.title} cannot form the @{step.framework.name} gang of step {step.name!r}", step.span, tip
        )
    if step.timeout is not None and step.timeout < table.min_timeout:
        message = f"step {step.name!r} has a timeout of {step.timeout:g} s, which {table.title} cannot keep"
        yield Diagnostic("FC402", message, step.span, f"give it at least {table.min_timeout:g} s")
    leave = step.leave
    if (
        isinstance(leave, Gang)
        and leave.size is not None
        and table.max_gang is not None
        and leave.size > table.max_gang
    ):
        message = f"step {step.name!r} opens a gang of {leave.size}, and {table.title} takes at most {table.max_gang}"
        yield Diagnostic("FC403", message, step.span, f"take num_parallel={table.max_gang} or less")
    if step.retry is not None and table.max_retries is not None and step.retry.times > table.max_retries:
        message = (
            f"step {step.name!r} has {step.retry.times} retries, and {table.title} takes at most {table.max_retries}"
        )
        yield Diagnostic("FC404", message, step.span, f"write @retry(times={table.max_retries})")
    for name in step.env:
        if name.startswith(table.reserved_env):
            message = f"step {step.name!r} sets {name}, which belongs to {table.title}"
            yield Diagnostic("FC408", message, step.span, "take another name in @environment")


def _loops(plan: Plan, table: Capabilities) -> Iterator[Diagnostic]:
    for step in plan.steps:
        if step.repeats and not table.loops:
            message = f"step {step.name!r} goes back to {listed(step.repeats)}, and {table.title} has no loops"
            yield Diagnostic("FC405", message, step.span, "write the repetition as a Python loop inside one step")


def _without_effect(plan: Plan, table: Capabilities) -> Iterator[Diagnostic]:
    """Once for each decorator, where it stands first."""
    idle: dict[str, list[tuple[Feature, str]]] = {}
    flow_features = [*plan.features, *([plan.schedule] if plan.schedule else [])]
    for feature, where in [
        *((feature, "") for feature in flow_features),
        *((feature, step.name) for step in plan.steps for feature in step.features),
    ]:
        if feature.name not in table.features:
            idle.setdefault(feature.name, []).append((feature, where))
    for name, uses in idle.items():
        yield _idle(f"@{name}", name in _PLACEMENT, uses[0][0], [step for _, step in uses if step], table)
    yield from _idle_resources(plan.steps, table)
    if not table.option_group:
        # Who meant the step for a cluster must not think that it ran on one.
        for group in sorted({group for step in plan.steps for group in step.options}):
            steps = [step for step in plan.steps if group in step.options]
            message = f"@{group} has no effect on {table.title}{_in(steps)}"
            yield Diagnostic("FC406", message, steps[0].span, severity=Severity.NOTE)
    else:
        unknown: dict[str, list[Step]] = {}
        for step in plan.steps:
            for option in step.options.get(table.option_group, {}):
                if option not in table.options:
                    unknown.setdefault(option, []).append(step)
        for option, steps in unknown.items():
            message = f"@{table.option_group}({option}=...) has no effect on {table.title}"
            yield Diagnostic("FC407", f"{message}{_in(steps)}", steps[0].span, severity=Severity.WARNING)


def _idle(what: str, placement: bool, feature: Feature, steps: list[str], table: Capabilities) -> Diagnostic:
    where = f" (step {listed(list(dict.fromkeys(steps)))})" if steps else ""
    severity = Severity.NOTE if placement else Severity.WARNING
    return Diagnostic("FC406", f"{what} has no effect on {table.title}{where}", feature.span, severity=severity)


def _idle_resources(steps: Iterable[Step], table: Capabilities) -> Iterator[Diagnostic]:
    """What ``@resources`` asks for beyond its defaults and the target does not see to."""
    idle: dict[str, list[Step]] = {}
    for step in steps:
        asked = step.resources
        for name, default in (("cpu", 1), ("gpu", 0), ("memory", None), ("disk", None), ("shared_memory", None)):
            if getattr(asked, name) != default and name not in table.resources:
                idle.setdefault(name, []).append(step)
    if idle:
        first = min((steps[0] for steps in idle.values()), key=lambda step: step.span.line if step.span else 0)
        message = f"@resources({', '.join(idle)}) has no effect on {table.title}"
        touched = [step for steps in idle.values() for step in steps]
        yield Diagnostic("FC406", f"{message}{_in(touched)}", first.span, severity=Severity.NOTE)


def _in(steps: list[Step]) -> str:
    return f" (step {listed(list(dict.fromkeys(step.name for step in steps)))})"
