"""Reading emitted files back: the scripts, taken apart as sbatch and bash do, must say what the Plan says.

Nothing here is shared with what writes the scripts but the rules of the values and which of them are kept back, so
that a mistake there is seen here.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ...compiler.plan import Gang, Plan, Step, code_digest
from ..base import Unfaithful, plan_among
from ..bundle import FLOW, code_problems
from .capabilities import CAPABILITIES
from .limits import UNLIMITED, BadTime, derived_limit, read_limit
from .script import KEPT_BACK
from .start import START_FILE, START_TEXT

_SUPERVISE = re.compile(
    r'if \[ "\$\{1-\}" != attempt \]; then\n'
    r"(    #[^\n]*\n    trap '' USR1\n)?"
    r'    exec "\$\{FLOWC_PYTHON:-python3\}" "\$FLOWC_CODE/start-flowc\.py" supervise (\S+) -- bash "\$0" attempt\nfi\n'
)
_BARE = re.compile(
    r"(trap '' USR1\n)?"
    r'exec "\$\{FLOWC_PYTHON:-python3\}" "\$FLOWC_CODE/start-flowc\.py" supervise (\S+)\n'
)
_EXPORT = re.compile(r"""export ([A-Za-z_][A-Za-z0-9_]*)=((?:'[^']*'|"'"|[A-Za-z0-9_@%+=:,./-])*)\n""")
_SETUP = re.compile(r"# The flow's own setup, ([0-9]+) lines:\n")
_MODULES = """\
# Shells that are no login shells may not know the command.
# shellcheck source=/dev/null
type module >/dev/null 2>&1 || . /etc/profile || true
"""
_STORE = "store=${FLOWC_DATASTORE#file://}\n"
_AS_IT_IS = "# shellcheck disable=SC2016 # nothing in it is to be expanded\n"
_TASK = ["$FLOWC_CODE/start-flowc.py", "step"]
_UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}


@dataclass
class Script:
    """A job script, taken apart."""

    directives: dict[str, str | None] = field(default_factory=dict)
    supervised: str = ""
    traps: bool = False
    modules: list[str] = field(default_factory=list)
    setup: str = ""
    exports: dict[str, str] = field(default_factory=dict)
    run: list[str] = field(default_factory=list)
    forks: bool = False
    """Whether the supervisor runs the step itself: there is nothing else in the script."""
    strange: str = ""
    """The first text that is no part of a job script of flowc's."""


def read_files(files: Mapping[str, bytes]) -> Plan:
    """The Plan that the files of a flow describe.

    Raises
    ------
    Unfaithful
        If they do not, with every reason.
    """
    plan = plan_among(files)
    problems = list(_problems(plan, files))
    if problems:
        raise Unfaithful(problems)
    return plan


def _problems(plan: Plan, files: Mapping[str, bytes]) -> Iterator[str]:
    names = {f"steps/{step.name}.sbatch": step for step in plan.steps}
    for name, step in names.items():
        if name not in files:
            yield f"{name} is missing"
            continue
        try:
            text = files[name].decode()
        except UnicodeDecodeError as error:
            yield f"{name}: {error}"
            continue
        for problem in script_problems(plan, step, text):
            yield f"{name}: {problem}"
    for name in sorted(set(files) - set(names)):
        if name.startswith("steps/"):
            yield f"{name}: the flow has no such step"
    if b'"$here/code/start-flowc.py" submit ' not in files.get("submit.sh", b""):
        yield "submit.sh does not submit the flow" if "submit.sh" in files else "submit.sh is missing"
    if files.get(START_FILE) != START_TEXT:
        yield f"{START_FILE} is not flowc's"
    yield from code_problems(CAPABILITIES.target, plan.name, files)
    own = {name[len(FLOW) :]: data for name, data in files.items() if name.startswith(FLOW)}
    if code_digest(own, plan.configs) != plan.digest:
        yield f"{FLOW} does not hold the code that plan.json was compiled from"


# One script ----------------------------------------------------------------------------------------------------------


def parse_script(text: str) -> Script:
    """Take a script apart. What sbatch reads ends at the first line that is neither blank nor a comment."""
    out = Script()
    lines = text.split("\n")
    if lines[0] != "#!/bin/bash":
        out.strange = lines[0] or "an empty line"
    at = next((number for number, line in enumerate(lines) if line and not line.startswith("#")), len(lines) - 1)
    for line in lines[:at]:
        if line.startswith("#SBATCH"):
            # As sbatch: words at blanks, an unquoted # begins a comment.
            for word in shlex.split(line[len("#SBATCH") :], comments=True):
                name, equals, value = word.partition("=")
                out.directives[name.removeprefix("--")] = value if equals else None
    rest = "\n".join(lines[at:])
    if not rest.startswith("set -euo pipefail\n"):
        out.strange = out.strange or lines[at]
    body = _without_comments(rest.partition("\n")[2])
    bare = _BARE.fullmatch(body)
    if bare is not None:
        out.traps, out.supervised, out.forks = bare[1] is not None, bare[2], True
        return out
    match = _SUPERVISE.match(body)
    if match is None:
        out.strange = out.strange or body.partition("\n")[0]
        return out
    out.traps, out.supervised = match[1] is not None, match[2]
    _read_attempt(body[match.end() :], out)
    return out


def _read_attempt(text: str, out: Script) -> None:
    text = text.lstrip("\n")
    if text.startswith("set +u #"):
        text = text.partition("\n")[2]
    text = text.removeprefix(_MODULES)
    if text.startswith("module purge\nmodule load "):
        line, _, text = text.partition("\n")[2].partition("\n")
        out.modules = line.split()[2:]
    match = _SETUP.match(text)
    if match is not None:
        lines = text[match.end() :].split("\n")
        count = int(match[1])
        out.setup, text = "\n".join(lines[:count]), "\n".join(lines[count:])
    while (found := _EXPORT.match(text.removeprefix(_AS_IT_IS))) is not None:
        text = text.removeprefix(_AS_IT_IS)
        out.exports[found[1]] = "".join(shlex.split(found[2]))
        text = text[found.end() :]
    text = text.removeprefix(_STORE).removeprefix("\n")
    if not text.startswith("exec ") or not text.endswith("\n"):
        out.strange = out.strange or text.partition("\n")[0] or "the script ends too early"
        return
    # What bash does with a backslash at the end of a line.
    joined = text[:-1].replace(" \\\n", " ")
    if "\n" in joined:
        out.strange = out.strange or joined.partition("\n")[2].partition("\n")[0]
    out.run = shlex.split(joined)[1:]


def _without_comments(text: str) -> str:
    lines = text.split("\n")
    while lines and (not lines[0] or lines[0].startswith("#")):
        lines.pop(0)
    return "\n".join(lines)


def script_problems(plan: Plan, step: Step, text: str) -> Iterator[str]:
    """What of a script does not fit its step."""
    try:
        script = parse_script(text)
    except ValueError as error:
        yield f"it cannot be read: {error}"
        return
    if script.strange:
        yield f"this is not flowc's: {script.strange!r}"
        return
    given = step.options.get("slurm", {})
    if script.supervised != step.name:
        yield f"it supervises step {script.supervised!r}"
    if script.traps != ("signal" in script.directives):
        yield "the early warning and what keeps it from the shell do not go together"
    if script.modules != list(given.get("modules") or []):  # type: ignore[arg-type]
        yield f"it loads the modules {script.modules}"
    if script.setup.strip() != str(given.get("setup") or "").strip():
        yield "its setup is not the flow's"
    for name, value in script.exports.items():
        if step.env.get(name) != value:
            yield f"it exports {name}, which @environment does not set so"
    yield from _directive_problems(plan, step, script.directives)
    if not script.forks:
        yield from _run_problems(step, script.run)
    elif step.kind == "gang" or given.get("container") or set(step.env) - KEPT_BACK:
        yield "its attempts are not set up as the flow says"


def _directive_problems(plan: Plan, step: Step, found: dict[str, str | None]) -> Iterator[str]:
    """Compare what the directives mean with what the step asks for; what is left over is not the flow's."""
    left = dict(found)

    def says(name: str, value: str | None, wanted: str | None) -> Iterator[str]:
        if value != wanted:
            yield f"--{name} is {value!r}, and the flow says {wanted!r}"

    for name, amount in (
        ("cpus-per-task", math.ceil(step.resources.cpu) if step.resources.cpu > 1 else None),
        ("ntasks-per-node" if step.kind == "gang" else "ntasks", 1),
        ("nodes", _nodes(plan, step)),
    ):
        yield from says(name, left.pop(name, None), None if amount is None else str(amount))
    further = step.options.get("slurm", {}).get("extra")
    for name, size in (("mem", step.resources.memory), ("tmp", step.resources.disk)):
        if size is None and isinstance(further, dict) and name in further:
            continue  # as the author wrote it
        value = left.pop(name, None)
        if (_mebibytes(value) if value is not None else None) != size:
            yield f"--{name} is {value!r}, and the flow says {size} MiB"
    gpus = _gpus(left.pop("gpus-per-node", None), found.get("gres"))
    if gpus != step.resources.gpu and (step.resources.gpu or "gpus-per-node" in found):
        yield f"the nodes have {gpus} GPUs, and the flow says {step.resources.gpu}"
    yield from says("open-mode", left.pop("open-mode", None), "append")
    again = "requeue" if step.retry else "no-requeue"
    if again not in left:
        yield f"--{again} is missing"
    left.pop(again, None)
    yield from _time_problems(step, left.pop("time", None), left.pop("signal", None))
    yield from _pass_through(step, left)


def _pass_through(step: Step, left: dict[str, str | None]) -> Iterator[str]:
    """What goes to sbatch as the author wrote it."""
    given = step.options.get("slurm", {})
    wanted: dict[str, str | None] = {}
    for name, value in given.items():
        if name == "exclusive" and value:
            wanted[name] = None
        elif name in ("partition", "account", "qos", "constraint", "gres", "reservation", "nodelist", "exclude"):
            wanted[name] = str(value)
        elif name == "extra" and isinstance(value, dict):
            for key, item in value.items():
                if item is not None and item is not False:
                    text = ",".join(map(str, item)) if isinstance(item, list) else str(item)
                    wanted[key] = None if item is True else text
    for name in sorted({*wanted, *left}):
        if name not in left:
            yield f"--{name} is missing"
        elif name not in wanted:
            yield f"--{name} is not the flow's"
        elif left[name] != wanted[name]:
            yield f"--{name} is {left[name]!r}, and the flow says {wanted[name]!r}"


def _nodes(plan: Plan, step: Step) -> int | None:
    if step.kind != "gang":
        return 1
    leave = plan[step.scope[-1]].leave
    return leave.size if isinstance(leave, Gang) else None


def _mebibytes(text: str) -> float:
    return float(text[:-1]) * _UNITS[text[-1]] if text[-1:] in _UNITS and text[:-1].isdigit() else math.nan


def _gpus(count: str | None, gres: str | None) -> int:
    if count is not None:
        return int(count) if count.isdigit() else -1
    parts = [item.split(":") for item in (gres or "").split(",") if item.split(":")[0] == "gpu"]
    return sum(int(part[-1]) if part[-1].isdigit() else 1 for part in parts)


def _time_problems(step: Step, limit: str | None, signal: str | None) -> Iterator[str]:
    given = step.options.get("slurm", {})
    try:
        wanted = read_limit(given["time"]) if "time" in given else derived_limit(step)
        found = None if limit is None else read_limit(limit)
    except BadTime as error:
        yield str(error)
        return
    if found != wanted:
        yield f"--time is {limit!r}, and the flow says {wanted} s"
    if found == UNLIMITED:
        if signal is not None:
            yield "it is to be warned of a limit that it does not have"
        return
    if not (step.retry or step.catch or "checkpoint" in {item.name for item in step.features}):
        if signal is not None:
            yield "it is to be warned of its limit, and can do nothing then"
        return
    match = re.fullmatch(r"B:USR1@([0-9]+)", signal or "")
    if match is None or not 0 < int(match[1]) < (found or 60 + (step.grace or 0)):
        yield f"--signal is {signal!r}, which is no warning before its limit"
    elif step.grace is not None and int(match[1]) <= step.grace:
        yield f"--signal is {signal!r}, too late for the {step.grace:.15g} s that the step has to save"


def _run_problems(step: Step, run: list[str]) -> Iterator[str]:
    """What is wrong with the command of an attempt."""
    task = [*_TASK, step.name, "--index", "$FLOWC_INDEX"]
    if run[-len(task) :] != task:
        yield f"it does not run the step: {' '.join(run)!r}"
        return
    image = str(step.options.get("slurm", {}).get("container") or "")
    launcher = run[: -len(task) - 1]
    options = set(launcher)
    if step.kind == "gang":
        cores = [f"--cpus-per-task={math.ceil(step.resources.cpu)}"] if step.resources.cpu > 1 else []
        for option in ("srun", "--kill-on-bad-exit=1", "--ntasks-per-node=1", *cores):
            if option not in options:
                yield f"its gang is started without {option}"
    elif not image and launcher:
        yield f"its task is started by {' '.join(launcher)!r}"
    if image:
        name = image.removeprefix("apptainer:").removeprefix("pyxis:")
        if name not in options and f"--container-image={name}" not in options:
            yield f"it does not run in the container {name}"
    elif any(word.startswith(("--container", "apptainer")) for word in launcher):
        yield "it runs in a container, and the flow says none"
