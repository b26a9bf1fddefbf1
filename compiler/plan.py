"""The Plan: what a flow is, once everything Python about it has been resolved.

It is the one thing that stands between a flow and every target. A backend reads it and nothing else: no syntax tree, no
decorator, no class. It turns into JSON and back without loss, holds no absolute path, and is equal for equal sources.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Literal, Union

VERSION = 1
"""Version of the JSON form. It goes up when an older reader would misread it."""

Json = Union[None, bool, int, float, str, list[Any], dict[str, Any]]


@dataclass(frozen=True)
class Span:
    """A place in the flow's sources. Lines and columns count from 1; ``file`` is relative to the flow's folder."""

    file: str
    line: int
    column: int = 1
    end_line: int | None = None
    end_column: int | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


# How a step is left -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Next:
    """To one step."""

    kind: ClassVar[str] = "next"
    to: str

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.to,)


@dataclass(frozen=True)
class Branches:
    """To several steps at once, each run once."""

    kind: ClassVar[str] = "branches"
    to: tuple[str, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        return self.to


@dataclass(frozen=True)
class Foreach:
    """To one step for each item of the artifact ``over``; the width is known only at run time."""

    kind: ClassVar[str] = "foreach"
    to: str
    over: str

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.to,)


@dataclass(frozen=True)
class Gang:
    """To one step on ``size`` machines at once.

    ``size`` is the literal number of ranks where it is known; ``parameter`` names the flow parameter that holds it;
    where both are None the opening step computes it at run time.
    """

    kind: ClassVar[str] = "gang"
    to: str
    size: int | None = None
    parameter: str | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.to,)


@dataclass(frozen=True)
class Switch:
    """To the step whose case equals the artifact ``on``, as text; cases keep the order of the source."""

    kind: ClassVar[str] = "switch"
    on: str
    cases: tuple[tuple[str, str], ...]

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step for _, step in self.cases))


@dataclass(frozen=True)
class End:
    """Nowhere: the flow is done."""

    kind: ClassVar[str] = "end"

    @property
    def targets(self) -> tuple[str, ...]:
        return ()


Leave = Union[Next, Branches, Foreach, Gang, Switch, End]
_LEAVES: dict[str, type[Any]] = {cls.kind: cls for cls in (Next, Branches, Foreach, Gang, Switch, End)}


# What a step needs and how it behaves -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resources:
    """What one task (of a gang: one rank) needs.

    Parameters
    ----------
    cpu : float
        Cores.
    memory, disk, shared_memory : int
        MiB; None leaves it to the target.
    gpu : int
        Devices.
    """

    cpu: float = 1
    memory: int | None = None
    gpu: int = 0
    disk: int | None = None
    shared_memory: int | None = None


@dataclass(frozen=True)
class Retry:
    """Up to ``times`` further attempts; retry ``n`` (from 1) comes after ``wait * backoff ** (n - 1)`` seconds."""

    times: int
    wait: float = 0.0
    backoff: float = 1.0


@dataclass(frozen=True)
class Catch:
    """A step that fails for good goes on all the same; ``var`` names the artifact that then holds the failure."""

    var: str | None = None
    print_exception: bool = True


@dataclass(frozen=True)
class Framework:
    """What is booted in every rank of a gang: ``torchrun``, ``ray``, ...; ``parallel`` boots nothing.

    ``calls`` are those of its methods that need programs of their own and that the step calls in any case.
    """

    name: str
    options: Mapping[str, Json] = field(default_factory=dict)
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Feature:
    """Any other decorator of the step, for the targets that honour it: ``secrets``, ``pypi``, ``card``, ..."""

    name: str
    options: Mapping[str, Json] = field(default_factory=dict)
    span: Span | None = None


@dataclass(frozen=True)
class Step:
    """One step of the flow.

    Parameters
    ----------
    name : str
        Its name; unique.
    kind : {"task", "gang"}
        A gang runs as many ranks at once.
    leave : Leave
        How it is left.
    inputs : tuple of tuple of str
        One group for each input of a task, in the order in which a join sees them; within a group the steps are
        alternatives, of which a switch lets exactly one come here. A join of a foreach or gang has one group, which
        stands for all its branches. Empty for the first step.
    joins : str or None
        The split step (branches, foreach or gang) that this step joins.
    scope : tuple of str
        The steps that opened the fan-outs around it, outermost first. An index has one number for each.
    loop : str or None
        The first step of the cycle that it lies in. Only such steps have rounds.
    repeats : tuple of str
        Those targets of ``leave`` that begin a new round.
    timeout : float or None
        Seconds that one attempt may take.
    options : mapping
        Settings for one target each, by target name (``kubernetes``, ``batch``, ``slurm``), as written in the flow.
    """

    name: str
    kind: Literal["task", "gang"]
    leave: Leave
    inputs: tuple[tuple[str, ...], ...] = ()
    joins: str | None = None
    scope: tuple[str, ...] = ()
    loop: str | None = None
    repeats: tuple[str, ...] = ()
    resources: Resources = Resources()
    image: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    retry: Retry | None = None
    timeout: float | None = None
    catch: Catch | None = None
    framework: Framework | None = None
    options: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    features: tuple[Feature, ...] = ()
    doc: str = ""
    span: Span | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        """Every step with an edge to this one."""
        return tuple(dict.fromkeys(name for group in self.inputs for name in group))

    @property
    def grace(self) -> float | None:
        """Seconds that its processes have to save a checkpoint when an attempt is asked to end, where it says that."""
        found = next((item.options.get("grace") for item in self.features if item.name == "checkpoint"), None)
        return found if isinstance(found, (int, float)) else None


@dataclass(frozen=True)
class Parameter:
    """An input of the flow.

    ``type`` is one of ``str int float bool json file``. ``default`` is its JSON value; where ``computed`` is true it is
    worked out when a run starts, by the flow's own code. ``file`` parameters hold a file's content (``is_text`` in
    ``options``); their default is the file's path relative to the flow.
    """

    name: str
    type: Literal["str", "int", "float", "bool", "json", "file"] = "str"
    default: Json = None
    required: bool = False
    computed: bool = False
    separator: str | None = None
    help: str = ""
    attribute: str = ""
    """The flow's attribute that gives the value; empty where it is the name."""
    options: Mapping[str, Json] = field(default_factory=dict)
    span: Span | None = None


@dataclass(frozen=True)
class Plan:
    """A whole flow. ``steps`` are in topological order (of the order in the source where that leaves a choice).

    Parameters
    ----------
    name : str
        The flow's class name.
    first, last : str
        The steps it begins and ends with.
    digest : str
        SHA-256 over the names and bytes of the files that travel with the flow and its resolved configs.
    configs : mapping
        The resolved value of every ``Config``.
    schedule : Feature or None
        ``@schedule`` as written; cron text under ``cron``.
    """

    name: str
    first: str
    last: str
    steps: tuple[Step, ...]
    parameters: tuple[Parameter, ...] = ()
    configs: Mapping[str, Json] = field(default_factory=dict)
    schedule: Feature | None = None
    project: str | None = None
    features: tuple[Feature, ...] = ()
    digest: str = ""
    doc: str = ""
    span: Span | None = None

    def __getitem__(self, name: str) -> Step:
        """The step of that name; KeyError where there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    # JSON -----------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The Plan as plain JSON values; fields at their default are left out."""
        return {"version": VERSION, **_encode(self)}

    def dumps(self) -> str:
        """The JSON text of the Plan, the same bytes for equal Plans."""
        return json.dumps(self.to_json(), indent=2, sort_keys=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read a Plan back.

        Raises
        ------
        ValueError
            If the data was written by another version of the form, or lacks a field.
        """
        if data.get("version") != VERSION:
            raise ValueError(f"this Plan has version {data.get('version')!r}; this flowc reads version {VERSION}")
        try:
            return _decode_plan(data)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a Plan: {error!r}") from error

    @classmethod
    def loads(cls, text: str) -> Plan:
        """Read a Plan from its JSON text; errors as in `from_json`."""
        return cls.from_json(json.loads(text))


def code_digest(files: Mapping[str, bytes], configs: Mapping[str, Json]) -> str:
    """SHA-256 over the names and bytes of a flow's files and over its configs, as hexadecimal digits."""
    out = hashlib.sha256()
    for name, data in sorted(files.items()):
        out.update(f"{name}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
        out.update(data)
    if configs:
        out.update(json.dumps(configs, sort_keys=True).encode())
    return out.hexdigest()


def _encode(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        out: dict[str, Any] = {"kind": value.kind} if type(value) in _LEAVES.values() else {}
        for f in fields(value):
            item = getattr(value, f.name)
            # Only the field's own default may be left out: an empty text or mapping is a value where that is None.
            default = f.default if f.default_factory is MISSING else f.default_factory()
            if item is not default and item != default:
                out[f.name] = _encode(item)
        return out
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_encode(item) for item in value]
    return value


def _span(data: Mapping[str, Any] | None) -> Span | None:
    return Span(**data) if data else None


def _feature(data: Mapping[str, Any]) -> Feature:
    return Feature(data["name"], data.get("options", {}), _span(data.get("span")))


def _framework(name: str, options: Mapping[str, Json] | None = None, calls: Sequence[str] = ()) -> Framework:
    return Framework(name, options or {}, tuple(calls))


def _leave(data: Mapping[str, Any]) -> Leave:
    values = {key: value for key, value in data.items() if key != "kind"}
    if data["kind"] == Branches.kind:
        values["to"] = tuple(values["to"])
    if data["kind"] == Switch.kind:
        values["cases"] = tuple((case, step) for case, step in values["cases"])
    leave: Leave = _LEAVES[data["kind"]](**values)
    return leave


def _step(data: Mapping[str, Any]) -> Step:
    known: dict[str, Any] = dict(data)
    known["leave"] = _leave(data["leave"])
    known["inputs"] = tuple(tuple(group) for group in data.get("inputs", ()))
    for name in ("scope", "repeats"):
        known[name] = tuple(data.get(name, ()))
    known["features"] = tuple(map(_feature, data.get("features", ())))
    parts: dict[str, Callable[..., Any]]
    parts = {"resources": Resources, "retry": Retry, "catch": Catch, "framework": _framework}
    for name, part in parts.items():
        if name in data:
            known[name] = part(**data[name])
    known["span"] = _span(data.get("span"))
    return Step(**known)


def _decode_plan(data: Mapping[str, Any]) -> Plan:
    known: dict[str, Any] = {key: value for key, value in data.items() if key != "version"}
    known["steps"] = tuple(map(_step, data["steps"]))
    known["parameters"] = tuple(
        Parameter(**{**item, "span": _span(item.get("span"))}) for item in data.get("parameters", ())
    )
    known["schedule"] = _feature(data["schedule"]) if data.get("schedule") else None
    known["features"] = tuple(map(_feature, data.get("features", ())))
    known["span"] = _span(data.get("span"))
    return Plan(**known)
