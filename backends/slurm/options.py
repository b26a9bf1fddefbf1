"""What a step asks of Slurm: the options of sbatch that follow from its decorators, each value checked.

sbatch reads ``#SBATCH`` lines word by word: a blank or a comma ends a value, an unquoted ``#`` ends the line
(https://slurm.schedmd.com/sbatch.html). No value is quoted here; one that would need it is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...compiler.plan import Gang, Plan, Step
from . import hostlist
from .limits import UNLIMITED, BadTime, clock, limit_of, read_limit, saving_problem, warning

NAME = r"[A-Za-z0-9_.+-]*[A-Za-z0-9_.+]"
_NAMES = rf"{NAME}(,{NAME})*"
_GRES = r"[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+){0,2}"
_VALUE = r"[A-Za-z0-9_.,:=+/@%*&|()\[\]{}<>~^!?-]+"
_MODULE = r"[A-Za-z0-9_][A-Za-z0-9_.+/@=:-]*"
_IMAGE = r"[A-Za-z0-9_./][A-Za-z0-9_./:@#+~-]*"


@dataclass(frozen=True)
class Option:
    """One option of ``@slurm``: which option of sbatch it becomes (empty: a part of the script), and what it takes."""

    flag: str
    takes: str
    example: str
    pattern: str = ""


OPTIONS: Mapping[str, Option] = {
    "partition": Option("partition", "the partition, or several separated by commas", '"gpu"', _NAMES),
    "account": Option("account", "the account that is charged", '"physics"', NAME),
    "qos": Option("qos", "the quality of service", '"long"', _NAMES),
    "time": Option("time", 'the job\'s limit: minutes, `"HH:MM:SS"`, `"D-HH:MM:SS"` or `"UNLIMITED"`', '"02:00:00"'),
    "constraint": Option(
        "constraint", "features that the nodes must have", '"a100&nvlink"', r"[A-Za-z0-9_.:*&|,()\[\]!+-]+"
    ),
    "gres": Option("gres", "generic resources of each node", '"gpu:a100:2"', rf"{_GRES}(,{_GRES})*"),
    "exclusive": Option("exclusive", "`True`: no other job on the nodes", "True"),
    "reservation": Option("reservation", "the reservation to run in", '"course"', _NAMES),
    "nodelist": Option("nodelist", "hosts that must be among the nodes", '"n1,n[4-7]"'),
    "exclude": Option("exclude", "hosts that must not be", '"n[2-3]"'),
    "modules": Option("", "modules to load, after `module purge`", '["cuda/12.4"]', _MODULE),
    "container": Option("", "the image to run in; see below", '"pytorch.sif"', _IMAGE),
    "setup": Option("", "lines of bash to run before the step, as they are", '"ulimit -n 65536"'),
    "extra": Option("", "further options of sbatch by name", '{"mail-type": "FAIL"}'),
}
"""Every option of ``@slurm``."""

_ELSEWHERE = {
    "cpus-per-task": "@resources(cpu=...)",
    "mem": "@resources(memory=...)",
    "gpus-per-node": "@resources(gpu=...)",
    "gpus": "@resources(gpu=...)",
    "tmp": "@resources(disk=...)",
    "nodes": "self.next(..., num_parallel=...)",
    "requeue": "@retry",
    "no-requeue": "@retry",
    **{item.flag: f"@slurm({name}=...)" for name, item in OPTIONS.items() if item.flag},
}
"""Options of sbatch that have a place of their own."""

_MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu")

_SAID_HERE_ALONE = {"mem": ("0",), "exclusive": ("user", "mcs")}
"""Values of those that cannot be said there: all of a node's memory, nodes that are shared with some others."""

_OWN = frozenset(
    """array dependency error export export-file get-user-env help hold ignore-pbs input job-name kill-on-invalid-dep
    ntasks ntasks-per-node open-mode output parsable quiet signal test-only uid gid usage verbose version wait wrap
    clusters""".split()  # noqa: SIM905
)
"""Options of sbatch that flowc sets itself, or that would take the job away from it."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a step's settings, and what to do; ``code`` is the diagnostic's."""

    code: str
    message: str
    help: str


@dataclass(frozen=True)
class Container:
    """An image, and the program that runs it: ``apptainer``, or srun itself with the plugin ``pyxis``."""

    program: str
    image: str


def flags(plan: Plan, step: Step) -> dict[str, str | None]:
    """The options of sbatch for a step, sorted by name; None stands for one without a value.

    The values are those of a step in which `problems` finds nothing.
    """
    given, asked = step.options.get("slurm", {}), step.resources
    out: dict[str, str | None] = {"open-mode": "append"}
    if cores(step) is not None:
        out["cpus-per-task"] = cores(step)
    if asked.memory is not None:
        out["mem"] = f"{asked.memory}M"
    if asked.gpu and not _has_gpu(given.get("gres")):
        out["gpus-per-node"] = str(asked.gpu)
    if asked.disk is not None:
        out["tmp"] = f"{asked.disk}M"
    if step.kind == "gang":
        out["ntasks-per-node"] = "1"
        size = size_of(plan, step)
        if size is not None:
            out["nodes"] = str(size)
    else:
        out["nodes"] = out["ntasks"] = "1"
    out["requeue" if step.retry is not None else "no-requeue"] = None
    limit = limit_of(step)
    if limit is not None:
        out["time"] = clock(limit)
    if limit != UNLIMITED and _gains_by_a_warning(step):
        # Where the step states no limit, the partition does.
        out["signal"] = f"B:USR1@{warning(limit, step.grace)}"
    for name, value in given.items():
        flag = OPTIONS[name].flag
        if flag and name not in ("time", "exclusive"):
            out[flag] = str(value)
    if given.get("exclusive"):
        out["exclusive"] = None
    out.update(_extra(given.get("extra")))
    return dict(sorted(out.items()))


def cores(step: Step) -> str | None:
    """Processors of each task; None where the step asks for no more than one, which is what everybody gets.

    To say so would take others away: a job that has its nodes to itself has all of their processors, and one with GPUs
    as many as the site gives with each.
    """
    number = math.ceil(step.resources.cpu)
    return str(number) if number > 1 else None


def _gains_by_a_warning(step: Step) -> bool:
    """Whether a step has a use for a warning that its job's time limit is near; to the others it would cost time."""
    return step.retry is not None or step.catch is not None or any(item.name == "checkpoint" for item in step.features)


def size_of(plan: Plan, step: Step) -> int | None:
    """How many ranks a gang has, where the flow says it; None where only the run knows."""
    leave = plan[step.scope[-1]].leave
    return leave.size if isinstance(leave, Gang) else None


def modules(step: Step) -> tuple[str, ...]:
    """The modules that a step loads."""
    return tuple(map(str, _list(step.options.get("slurm", {}).get("modules"))))


def setup(step: Step) -> str:
    """The author's own lines of bash, without blank lines around them."""
    return str(step.options.get("slurm", {}).get("setup") or "").strip("\n").rstrip()


def container(step: Step) -> Container | None:
    """The image that a step runs in; ``pyxis:`` or ``apptainer:`` before it says by what.

    Otherwise files ``.sif`` and URLs with a scheme are apptainer's, all others pyxis's.
    """
    text = step.options.get("slurm", {}).get("container")
    if not text:
        return None
    program, colon, image = str(text).partition(":")
    if colon and program in ("pyxis", "apptainer"):
        return Container(program, image)
    by_apptainer = "://" in str(text) or str(text).endswith(".sif")
    return Container("apptainer" if by_apptainer else "pyxis", str(text))


def wants_gpu(step: Step) -> bool:
    """Whether the step's nodes have GPUs for it."""
    return bool(step.resources.gpu) or _has_gpu(step.options.get("slurm", {}).get("gres"))


def problems(plan: Plan, step: Step) -> Iterator[Problem]:
    """What sbatch or the shell would misread in a step's settings, and what of them does not go together."""
    given = step.options.get("slurm", {})
    for name, value in given.items():
        if name in OPTIONS:
            for message in _value_problems(name, value):
                yield Problem("FC409", f"@slurm({name}=...): {message}", _tip(name))
    yield from _extra_problems(given.get("extra"), step)
    if step.resources.gpu and _has_gpu(given.get("gres")) and not _same_gpus(step, str(given["gres"])):
        message = f"@resources(gpu={step.resources.gpu}) and @slurm(gres={given['gres']!r}) ask for different GPUs"
        yield Problem("FC410", message, "say it in one place, or say the same in both")
    yield from _too_many_hosts(plan, step)
    unsaved = saving_problem(step)
    if unsaved is not None:
        yield Problem("FC410", *unsaved)
    for name, value in step.env.items():
        if not _is_text(value):
            message = f"the environment variable {name} holds a character that no file can hold"
            yield Problem("FC409", message, "take the lone surrogate out of it")


def _too_many_hosts(plan: Plan, step: Step) -> Iterator[Problem]:
    """sbatch refuses a job that is to have more hosts than nodes."""
    hosts = str(step.options.get("slurm", {}).get("nodelist") or "")
    nodes = size_of(plan, step) if step.kind == "gang" else 1
    if not hosts or nodes is None or hostlist.problem(hosts) or not hostlist.names_more_than(nodes, hosts):
        return
    has = "the one node of a step that is no gang" if step.kind != "gang" else f"the {nodes} nodes of the gang"
    tip = f"name {'one' if nodes == 1 else f'at most {nodes}'}; exclude=... keeps a step off others, "
    tip += "constraint=... on those of one kind"
    yield Problem("FC410", f"@slurm(nodelist={hosts!r}) names more hosts than {has}", tip)


def _tip(name: str) -> str:
    option = OPTIONS[name]
    return f"it takes {option.takes.replace('`', '')}, as in {name}={option.example}"


def _value_problems(name: str, value: Any) -> Iterator[str]:
    option = OPTIONS[name]
    if name in ("nodelist", "exclude"):
        wrong = hostlist.problem(str(value))
        if wrong:
            yield f"{value!r} is no list of hosts: {wrong}"
    elif name == "time":
        try:
            read_limit(value)
        except BadTime as error:
            yield str(error)
    elif name == "setup":
        bad = next((char for char in str(value) if char in "\0\r" or not _is_text(char)), None)
        if bad is not None:
            yield f"the lines hold the character {bad!r}, at which bash would stumble"
    elif name == "container":
        image = str(value).partition(":")[2] if str(value).startswith(("pyxis:", "apptainer:")) else str(value)
        if not re.fullmatch(_IMAGE, image):
            yield f"{value!r} is no image{_because(image)}"
    elif name == "modules":
        for item in _list(value):
            if not re.fullmatch(_MODULE, str(item)):
                yield f"{item!r} is no module{_because(str(item))}"
    elif option.pattern and not re.fullmatch(option.pattern, str(value)):
        yield f"{value!r} cannot be given to sbatch{_because(str(value))}"


def _because(text: str) -> str:
    """Which character is in the way, where it is one that no value can have."""
    if not text:
        return ": it is empty"
    bad = next((char for char in text if not re.fullmatch(_VALUE, char)), None)
    return f": {bad!r} has no place in it" if bad else ""


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _list(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


# Further options -----------------------------------------------------------------------------------------------------


def _extra(extra: Any) -> Iterator[tuple[str, str | None]]:
    for name, value in dict(extra or {}).items():
        if value is True:
            yield name, None
        elif value is not None and value is not False:
            yield name, ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _extra_problems(extra: Any, step: Step) -> Iterator[Problem]:
    for name, value in dict(extra or {}).items():
        at = f"@slurm(extra={{{name!r}: ...}})"
        plain = name.lstrip("-").replace("_", "-")
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) < 2:
            tip = f"write {plain!r}" if re.fullmatch(r"[a-z][a-z0-9-]+", plain) else "take its long name without --"
            yield Problem("FC409", f"{at}: {name!r} is not the long name of an option of sbatch", tip)
        elif name in _ELSEWHERE and str(value) not in _SAID_HERE_ALONE.get(name, ()):
            yield Problem("FC410", f"{at}: flowc has a place of its own for --{name}", f"write {_ELSEWHERE[name]}")
        elif name in _OWN:
            yield Problem("FC410", f"{at}: flowc itself sees to --{name}", "leave it out")
        elif (other := _excluded(name, extra, step)) is not None:
            yield Problem("FC410", f"{at}: {other} does not go together with it", "keep one of the two")
        else:
            yield from _extra_value(at, value)


def _excluded(name: str, extra: Mapping[str, Any], step: Step) -> str | None:
    """What else the step says and Slurm takes only one of (https://slurm.schedmd.com/sbatch.html)."""
    if name in _MEMORY:
        if step.resources.memory is not None:
            return "@resources(memory=...)"
        return next((f"--{other}" for other in _MEMORY[: _MEMORY.index(name)] if other in extra), None)
    if name == "cpus-per-gpu" and cores(step) is not None:
        return "@resources(cpu=...), which is --cpus-per-task,"
    if name == "exclusive" and step.options.get("slurm", {}).get("exclusive"):
        return "@slurm(exclusive=True)"
    return None


def _extra_value(at: str, value: Any) -> Iterator[Problem]:
    if value is None or isinstance(value, bool):
        return
    help = "write text without blanks, quotes, #, $ and \\, a number, True, or a list of these"
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        text = str(part)
        if isinstance(part, (bool, dict, list)) or part is None:
            yield Problem("FC409", f"{at}: {part!r} is no value for an option of sbatch", help)
        elif not re.fullmatch(_VALUE, text) or (isinstance(value, list) and "," in text):
            yield Problem("FC409", f"{at}: {text!r} cannot be given to sbatch{_because(text)}", help)
    if not parts:
        yield Problem("FC409", f"{at}: the list is empty", help)


def _gpus(gres: str) -> list[str]:
    return [item for item in gres.split(",") if item.split(":")[0] == "gpu"]


def _has_gpu(gres: Any) -> bool:
    return isinstance(gres, str) and bool(_gpus(gres))


def _same_gpus(step: Step, gres: str) -> bool:
    counts = [item.split(":")[-1] for item in _gpus(gres)]
    return sum(int(count) if count.isdigit() else 1 for count in counts) == step.resources.gpu
