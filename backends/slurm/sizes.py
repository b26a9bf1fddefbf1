"""How much a job script and its environment hold. Jobs' own names are shortened by the runtime where they must be."""

from __future__ import annotations

from collections.abc import Iterator

from ...compiler.diagnostics import Diagnostic
from ...compiler.plan import Plan, Step
from ...runtime.slurm_limits import MOST_BEFORE
from .options import modules, setup

LARGEST_SCRIPT = 4 * 1024 * 1024
"""Bytes: ``max_script_size`` of SchedulerParameters (https://slurm.schedmd.com/slurm.conf.html), by default."""

LARGEST_VARIABLE = 128 * 1024
"""Bytes of ``NAME=value`` with the zero at its end: what Linux passes to a program (execve(2), MAX_ARG_STRLEN)."""

_OURS = 64 * 1024
"""Bytes for everything in a script that is flowc's; far more than it takes."""


def size_problems(plan: Plan) -> Iterator[Diagnostic]:
    """FC411: scripts and dependencies that Slurm would not take, variables that no program could be started with."""
    for step in plan.steps:
        for name, value in step.env.items():
            size = _bytes(name, "=", value) + 1
            if size > LARGEST_VARIABLE:
                message = (
                    f"step {step.name!r}: the variable {name} has {size} bytes, and Linux passes {LARGEST_VARIABLE}"
                )
                yield Diagnostic("FC411", message, step.span, "put its value into a file, or into an artifact")
        branches = len(step.inputs) if step.joins is not None else 0
        if branches > MOST_BEFORE:
            message = f"step {step.name!r} joins {branches} branches, and a job of Slurm's can wait for {MOST_BEFORE}"
            yield Diagnostic("FC411", message, step.span, "make a foreach of them, or join them in groups")
        size = script_size(step)
        if size > LARGEST_SCRIPT:
            message = f"step {step.name!r} would have a script of {size} bytes, and Slurm takes {LARGEST_SCRIPT}"
            tip = "keep @slurm(setup=...) and @environment short: a setup can run a script that lies beside the flow"
            yield Diagnostic("FC411", message, step.span, tip)


def script_size(step: Step) -> int:
    """At most how many bytes the script of a step has."""
    quoted = sum(_bytes(name, value) + 4 * value.count("'") for name, value in step.env.items())
    return _OURS + _bytes(setup(step), *modules(step)) + quoted


def _bytes(*texts: str) -> int:
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
