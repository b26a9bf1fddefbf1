"""The texts of a flow's job scripts and of ``submit.sh``. What goes into a template has been checked before."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from ...compiler.diagnostics import listed
from ...compiler.plan import Gang, Parameter, Plan, Step
from ..base import EmitSettings
from .options import container, cores, flags, modules, setup, size_of, wants_gpu
from .start import START_FILE

if TYPE_CHECKING:
    from jinja2 import Environment

PYTHON = '"${FLOWC_PYTHON:-python3}"'
"""The host's Python; whoever submits may name another one than python3."""

START = '"$FLOWC_CODE/start-flowc.py"'
"""Starts flowc's runtime from where the run's code lies; see `start.py`."""

KEPT_BACK = frozenset(
    """BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_ENV BASH_LINENO BASH_SOURCE BASH_VERSINFO CDPATH DIRSTACK
    ENV EUID FUNCNAME GLOBIGNORE GROUPS IFS LINENO PATH POSIXLY_CORRECT PPID PYTHONHOME PYTHONPATH SHELLOPTS UID
    _""".split()  # noqa: SIM905
)
"""Variables of ``@environment`` that would change how the script itself runs; the runtime sets them, with all others,
before the step begins."""


@cache
def _templates() -> Environment:
    # Only who emits scripts pays for importing jinja2.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(__file__.rpartition("script.py")[0] + "templates", encoding="utf-8"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 (this is no HTML; every value is checked or quoted before)
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def step_script(plan: Plan, step: Step) -> str:
    """The job script of one step."""
    own = setup(step)
    directives = flags(plan, step)
    return _templates().get_template("step.sbatch.j2").render(
        step=step.name,
        flow=plan.name,
        what=what(plan, step),
        doc=first_line(step.doc),
        directives=[flag(name, value) for name, value in directives.items()],
        start=f"{PYTHON} {START}",
        bare=is_bare(step),
        warned="signal" in directives,
        modules=modules(step),
        setup=own,
        setup_lines=len(own.split("\n")),
        exports=exports(step),
        binds=container(step) is not None,
        run=run_line(step),
    )  # fmt: skip


def submit_script(plan: Plan, settings: EmitSettings) -> str:
    """``submit.sh``."""
    return _templates().get_template("submit.sh.j2").render(
        flow=plan.name,
        doc=first_line(plan.doc),
        parameters=[(item.name, _about(item)) for item in plan.parameters],
        start=START_FILE,
        datastore=shlex.quote(settings.datastore) if settings.datastore else "",
    )  # fmt: skip


def flag(name: str, value: str | None) -> str:
    """An option of sbatch or srun with its value."""
    return f"--{name}" if value is None else f"--{name}={value}"


def exports(step: Step) -> list[tuple[str, str]]:
    """What the script exports of ``@environment``, quoted for bash."""
    return [(name, shlex.quote(value)) for name, value in sorted(step.env.items()) if name not in KEPT_BACK]


def is_bare(step: Step) -> bool:
    """Whether an attempt is nothing but the step's own process, so that no script is needed to start it."""
    return step.kind != "gang" and not (modules(step) or setup(step) or exports(step) or container(step))


def run_line(step: Step) -> list[str]:
    """The command that runs an attempt, in the lines in which it is written."""
    task = f'{START} step {step.name} --index "$FLOWC_INDEX"'
    image = container(step)
    # srun does not take the cores over from the job (Slurm 22.05 to 23.02).
    number = cores(step)
    options = {} if number is None else {"cpus-per-task": number}
    if step.kind == "gang":
        # One rank that fails takes the others down, and they are as many as the nodes.
        options |= {"kill-on-bad-exit": "1", "ntasks-per-node": "1"}
    if image is not None and image.program == "pyxis":
        names = ",".join(sorted({"PYTHONPATH", *(name for name, _ in exports(step))}))
        ranks = {} if step.kind == "gang" else {"nodes": "1", "ntasks": "1"}
        inside = f'--container-env={names} --container-mounts="$store:$store"'
        return [_srun(options | ranks), f"--container-image={shlex.quote(image.image)}", inside, f"python3 {task}"]
    around = [_srun(options)] if step.kind == "gang" else []
    if image is not None:
        gpu = " --nv" if wants_gpu(step) else ""
        return [*around, f'apptainer exec{gpu} --bind "$store" {shlex.quote(image.image)}', f"python3 {task}"]
    return [*around, f"{PYTHON} {task}"]


def _srun(options: dict[str, str]) -> str:
    return f"srun {' '.join(flag(name, value) for name, value in sorted(options.items()))}"


def what(plan: Plan, step: Step) -> str:
    """What a step is to Slurm, in words."""
    if step.kind == "gang":
        framework = step.framework.name if step.framework else "parallel"
        under = "" if framework == "parallel" else f" under {framework}"
        size, leave = size_of(plan, step), plan[step.scope[-1]].leave
        if size is not None:
            text = f"a gang of {size} node{'s' if size != 1 else ''}{under}"
        elif isinstance(leave, Gang) and leave.parameter:
            text = f"a gang{under} on as many nodes as the parameter {leave.parameter} says"
        else:
            text = f"a gang{under} on as many nodes as step {step.scope[-1]} works out"
        return text + _for_each(plan, step.scope[:-1])
    return "one task" + _for_each(plan, step.scope)


def _for_each(plan: Plan, scope: Iterable[str]) -> str:
    openers = list(scope)
    if not openers:
        return ""
    words = [f"rank of step {plan[name].leave.targets[0]}" if isinstance(plan[name].leave, Gang) else
             f"item of step {name}" for name in openers]  # fmt: skip
    return f" for each {listed(words)}"


def first_line(doc: str) -> str:
    """The first line of a docstring as a comment can hold it."""
    line = doc.strip().splitlines()[0] if doc.strip() else ""
    plain = "".join(char if char.isprintable() else " " for char in line)
    return plain if len(plain) <= 100 else f"{plain[:97]}..."


def _about(parameter: Parameter) -> str:
    kind = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "json": "JSON"}
    notes = [kind.get(parameter.type, parameter.type)]
    if parameter.required and parameter.default is None and not parameter.computed:
        notes.append("required")
    help = first_line(parameter.help)
    return f"({', '.join(notes)}){' ' if help else ''}{help}"
