"""Decorators as written, checked against their specifications: names, types and ranges of their options."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from ..dsl.declarations import Specification
from ..dsl.parameters import Config, ConfigExpr, resolve
from .diagnostics import Diagnostic, did_you_mean, listed
from .flow_source import DecoratorUse, FlowSource
from .plan import Json


@dataclass(eq=False)
class Settings:
    """One decorator with what is sound of its options. ``given`` holds what was written, ``values`` the defaults as
    well.
    """

    use: DecoratorUse
    given: dict[str, Any]
    values: dict[str, Any]

    @property
    def label(self) -> str:
        return self.use.label


def read_settings(use: DecoratorUse, configs: Mapping[str, Any], found: list[Diagnostic]) -> Settings:
    """Check one decorator; what is wrong with it is added to ``found`` and left out of the result."""
    spec = use.declared.spec
    at = f"@{use.label}"
    known = spec.defaults()
    if use.declared.positional:
        example = f"{at}({next(iter(known))}=...)" if known else f"{at} without parentheses"
        found.append(Diagnostic("FC212", f"{at} takes its options by name", use.span, f"write {example}"))
    given: dict[str, Any] = {}
    for name, written in use.declared.given.items():
        place = use.place(name)
        if name not in known:
            has = f"it has {listed(list(known))}" if known else "it has no options"
            tip = did_you_mean(name, known) or has
            found.append(Diagnostic("FC201", f"{at} has no option {name!r}", place, tip))
            continue
        try:
            value = resolve(written, configs)
        except Exception as error:  # whatever the author's own expression raises
            problem = str(error) or type(error).__name__
            found.append(
                Diagnostic("FC313", f"{name}={written!r} cannot be worked out: {problem}", place, _CONFIG_HELP)
            )
            continue
        if isinstance(written, (Config, ConfigExpr)) and value is None and configs == {}:
            continue
        problem_found = _problem(spec, name, value)
        if problem_found is None:
            given[name] = value
        else:
            code, message, tip = problem_found
            found.append(Diagnostic(code, f"{at}: {message}", place, tip))
    whole = _WHOLE.get(use.label)
    if whole is not None and len(given) == len(use.declared.given):
        problem_found = whole({**known, **given})
        if problem_found is not None:
            code, message, tip = problem_found
            found.append(Diagnostic(code, message, use.span, tip))
    defaults = {name: value for name, value in known.items() if value is not MISSING}
    return Settings(use, given, {**defaults, **given})


_CONFIG_HELP = "the expression sees the flow's configs by name; see what `flowc plan` shows under configs"

Problem = tuple[str, str, str]
"""Code, message and help."""


def annotation(spec: type[Specification], option: str) -> str:
    """The type of an option as the specification writes it."""
    return next(str(f.type) for f in fields(spec) if f.name == option)  # type: ignore[arg-type]


def _problem(spec: type[Specification], name: str, value: Any) -> Problem | None:
    kind = annotation(spec, name)
    if spec.label == "environment" and name == "vars":
        return _environment(value)
    if not fits(kind, value):
        return "FC202", f"{name} must be {in_words(kind)}, not {_shown(value)}", f"write {name}={_example(kind)}"
    if value is None:
        return None
    rule = _RULES.get((spec.label, name)) or _COMMON.get(name)
    if kind == "Quantity":
        rule = _QUANTITIES.get(name, _memory)
    problem = rule(name, value) if rule else None
    return problem or (None if _is_json(value) or spec.label in _CALLABLES else _not_plain(name, value))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _not_plain(name: str, value: Any) -> Problem:
    return (
        "FC217",
        f"{name} holds a value that is not plain data: {_shown(value)}",
        "use text, numbers, True, False, None, and lists and dictionaries of them",
    )


_CALLABLES = {"exit_hook", "trigger", "trigger_on_finish"}


# Types --------------------------------------------------------------------------------------------------------------


def _is_text_map(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


_TYPES: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "str": (lambda v: isinstance(v, str), "text", '"..."'),
    "int": (lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number", "1"),
    "float": (lambda v: isinstance(v, (int, float)) and not isinstance(v, bool), "a number", "1"),
    "bool": (lambda v: isinstance(v, bool), "True or False", "True"),
    "None": (lambda v: v is None, "None", "None"),
    "Any": (lambda v: True, "anything", "..."),
    "Quantity": (
        lambda v: v is None or (isinstance(v, (int, float, str)) and not isinstance(v, bool)),
        "a number, or text with a unit",
        "4096",
    ),
    "Mapping[str, str]": (_is_text_map, "a dictionary from text to text", '{"name": "value"}'),
    "Mapping[str, Any]": (_is_map, "a dictionary with text as keys", '{"name": ...}'),
    "Sequence[str]": (lambda v: _is_list(v) and all(isinstance(i, str) for i in v), "a list of text", '["..."]'),
    "Sequence[Any]": (_is_list, "a list", "[...]"),
    "Sequence[Mapping[str, Any]]": (
        lambda v: _is_list(v) and all(map(_is_map, v)),
        "a list of dictionaries",
        '[{"key": "value"}]',
    ),
}


def _alternatives(kind: str) -> list[str]:
    """``Optional[str]`` and ``Union[str, Mapping[str, str], None]`` as their parts."""
    if kind.startswith("Optional["):
        return [*_alternatives(kind[9:-1]), "None"]
    if not kind.startswith("Union["):
        return [kind]
    parts, depth, start = [], 0, 0
    inner = kind[6:-1]
    for at, char in enumerate(inner + ","):
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            parts.append(inner[start:at].strip())
            start = at + 1
    return parts


def fits(kind: str, value: Any) -> bool:
    """Whether a value is of a type written as in the specifications."""
    return any(_TYPES[part][0](value) for part in _alternatives(kind))


def in_words(kind: str) -> str:
    """A type for people."""
    return listed([_TYPES[part][1] for part in _alternatives(kind) if part != "None"], "or")


def _example(kind: str) -> str:
    return _TYPES[_alternatives(kind)[0]][2]


def _is_json(value: Any) -> bool:
    if value is None or isinstance(value, (bool, int, str)):
        return True
    if isinstance(value, float):
        return value == value and value not in (float("inf"), float("-inf"))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and all(map(_is_json, value))


def plain_json(value: Any) -> Json:
    """A sound option's value as JSON; a function is named."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(getattr(value, "__qualname__", type(value).__qualname__))


# Ranges -------------------------------------------------------------------------------------------------------------

Rule = Callable[[str, Any], "Problem | None"]


def _range(name: str, value: Any, allowed: str) -> Problem:
    return "FC203", f"{name}={value!r} is out of range", f"{name} must be {allowed}"


def _at_least(least: float, words: str) -> Rule:
    return lambda name, value: None if value >= least else _range(name, value, words)


def _above_zero(name: str, value: Any) -> Problem | None:
    return None if value > 0 else _range(name, value, "more than 0")


def _seconds(name: str, value: Any) -> Problem | None:
    return None if 0 < value < float("inf") else _range(name, value, "a number of seconds above 0")


def _between(low: int, high: int) -> Rule:
    return lambda name, value: None if low <= value <= high else _range(name, value, f"{low} to {high}")


def _one_of(*words: str) -> Rule:
    def rule(name: str, value: Any) -> Problem | None:
        if value in words:
            return None
        tip = did_you_mean(str(value), words) or f"take {listed([repr(word) for word in words], 'or')}"
        return "FC203", f"{name}={value!r} is none of the known ones", tip

    return rule


def _filled(name: str, value: Any) -> Problem | None:
    return None if str(value).strip() else ("FC203", f"{name} is empty", f"give {name} a value, or leave it out")


def _matches(pattern: str, words: str) -> Rule:
    return lambda name, value: None if re.fullmatch(pattern, value) else _range(name, value, words)


_NOT_NEGATIVE = _at_least(0, "0 or more")


def _measured(convert: Callable[[Any], float], check: Rule) -> Rule:
    def rule(name: str, value: Any) -> Problem | None:
        from .quantities import BadQuantity

        try:
            amount = convert(value)
        except BadQuantity as error:
            return "FC204", f"{name}: {error}", f"write {name} as a plain number, or as text with a unit"
        problem = check(name, amount)
        return (problem[0], f"{name}={value!r} is out of range", problem[2]) if problem else None

    return rule


def _convert(kind: str) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        from . import quantities

        result: float = getattr(quantities, kind)(value)
        return result

    return convert


_memory = _measured(_convert("mebibytes"), _above_zero)
_QUANTITIES: dict[str, Rule] = {
    "cpu": _measured(_convert("cores"), _above_zero),
    "gpu": _measured(_convert("count"), _NOT_NEGATIVE),
    "shared_memory": _measured(_convert("mebibytes"), _NOT_NEGATIVE),
}

_SLURM_TIME = r"(\d+-)?\d+(:\d{1,2}){0,2}|UNLIMITED|INFINITE"


def _slurm_time(name: str, value: Any) -> Problem | None:
    if isinstance(value, int):
        return _above_zero(name, value)
    if re.fullmatch(_SLURM_TIME, value):
        return None
    return "FC203", f"{name}={value!r} is not a time limit of Slurm", 'write minutes, "HH:MM:SS" or "D-HH:MM:SS"'


def _artifact_name(name: str, value: Any) -> Problem | None:
    if value.isidentifier() and not value.startswith("_"):
        return None
    return "FC203", f"{name}={value!r} is not the name of an artifact", 'write a name such as var="failure"'


_COMMON: dict[str, Rule] = {
    "all_nodes_started_timeout": _above_zero,
    "worker_polling_freq": _above_zero,
    "master_port": _between(1, 65535),
    "main_port": _between(1, 65535),
    "port": _between(1, 65535),
    "image": _filled,
}

_RULES: dict[tuple[str, str], Rule] = {
    ("retry", "times"): _NOT_NEGATIVE,
    ("retry", "minutes_between_retries"): _NOT_NEGATIVE,
    ("retry", "backoff"): _at_least(1, "1 or more"),
    ("timeout", "seconds"): _NOT_NEGATIVE,
    ("timeout", "minutes"): _NOT_NEGATIVE,
    ("timeout", "hours"): _NOT_NEGATIVE,
    ("catch", "var"): _artifact_name,
    ("checkpoint", "load_policy"): _one_of("fresh", "eager", "none"),
    ("checkpoint", "grace"): _seconds,
    ("kubernetes", "image_pull_policy"): _one_of("Always", "IfNotPresent", "Never"),
    ("kubernetes", "qos"): _one_of("Guaranteed", "Burstable"),
    ("kubernetes", "hostname_resolution_timeout"): _above_zero,
    ("batch", "max_swap"): _NOT_NEGATIVE,
    ("batch", "swappiness"): _between(0, 100),
    ("batch", "efa"): _NOT_NEGATIVE,
    ("batch", "inferentia"): _NOT_NEGATIVE,
    ("batch", "trainium"): _NOT_NEGATIVE,
    ("batch", "ephemeral_storage"): _between(21, 200),
    ("slurm", "time"): _slurm_time,
    ("torchrun", "nproc_per_node"): _above_zero,
    ("mpi", "slots"): _above_zero,
    ("mpi", "launcher"): _one_of("mpirun", "srun"),
    ("dask", "nthreads"): _above_zero,
    ("project", "name"): _matches(r"[a-z0-9_]+", "made of a-z, 0-9 and _"),
    ("schedule", "timezone"): _matches(r"[A-Za-z_]+(/[A-Za-z0-9_+-]+)*", 'a name such as "Europe/Berlin"'),
}


def _environment(value: Any) -> Problem | None:
    example = 'write vars={"NAME": "value"}'
    if not isinstance(value, Mapping):
        return "FC214", f"vars must be a dictionary, not {_shown(value)}", example
    for name, item in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            return "FC214", f"{name!r} is not the name of an environment variable", example
        if not isinstance(item, str):
            return "FC214", f"the variable {name} must be text, not {_shown(item)}", f'write "{name}": {str(item)!r}'
        if name.startswith("FLOWC_"):
            return "FC214", f"the variable {name} belongs to flowc", "take a name that does not begin with FLOWC_"
        if "\0" in item:
            return "FC214", f"the variable {name} holds a NUL character", "no environment can hold one; take it out"
    return None


# What the options of a decorator must say together ------------------------------------------------------------------


def _timeout_whole(values: Mapping[str, Any]) -> Problem | None:
    if values["seconds"] or values["minutes"] or values["hours"]:
        return None
    return "FC216", "@timeout says no time", "write seconds=, minutes= or hours="


def _project_whole(values: Mapping[str, Any]) -> Problem | None:
    return None if values["name"] else ("FC216", "@project says no name", 'write @project(name="...")')


def _schedule_whole(values: Mapping[str, Any]) -> Problem | None:
    said = [name for name in ("cron", "hourly", "daily", "weekly") if values[name]]
    if len(said) != 1:
        wrong = f"@schedule says {listed(said)} at once" if said else "@schedule says no time"
        return "FC213", wrong, 'write one of cron="0 6 * * *", hourly=True, daily=True, weekly=True'
    problem = _cron_problem(values["cron"]) if values["cron"] else None
    if problem is None:
        return None
    return "FC213", f"{values['cron']!r} is no cron text: {problem}", "write minute hour day month weekday: 0 6 * * 1-5"


_CRON = (
    ("minute", 0, 59, ""),
    ("hour", 0, 23, ""),
    ("day", 1, 31, ""),
    ("month", 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    ("weekday", 0, 7, "sun mon tue wed thu fri sat"),
    ("year", 1970, 2199, ""),
)


def _cron_problem(text: str) -> str | None:
    parts = text.split()
    if len(parts) not in (5, 6):
        return f"it has {len(parts)} fields, not 5"
    for part, (name, low, high, words) in zip(parts, _CRON):
        for item in part.split(","):
            if not _cron_item(item, low, high, words.split()):
                return f"{item!r} is no {name} ({low} to {high})"
    return None


def _cron_item(item: str, low: int, high: int, words: list[str]) -> bool:
    span, slash, every = item.partition("/")
    if slash and not (every.isdigit() and int(every) > 0):
        return False
    if span in ("*", "?"):
        return True
    ends = []
    for end in span.split("-", 1):
        if end.lower() in words:
            ends.append(words.index(end.lower()) + low)
        elif end.isascii() and end.isdigit() and low <= int(end) <= high:
            ends.append(int(end))
        else:
            return False
    return ends == sorted(ends)


_WHOLE: dict[str, Callable[[Mapping[str, Any]], Problem | None]] = {
    "timeout": _timeout_whole,
    "project": _project_whole,
    "schedule": _schedule_whole,
}


def all_settings(flow: FlowSource, found: list[Diagnostic]) -> tuple[dict[str, list[Settings]], list[Settings]]:
    """The settings of every step by name, and those of the flow."""
    steps = {
        name: [read_settings(use, flow.configs, found) for use in _on(step.decorators, "step")]
        for name, step in flow.steps.items()
    }
    return steps, [read_settings(use, flow.configs, found) for use in _on(flow.decorators, "flow")]


def _on(uses: list[DecoratorUse], where: str) -> Iterator[DecoratorUse]:
    return (use for use in uses if use.declared.spec.on == where)
