"""The Slurm target: from the Plan to sbatch scripts, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...compiler.diagnostics import Diagnostic
from ...compiler.plan import Plan
from ..base import Capabilities, EmitSettings
from .capabilities import CAPABILITIES

PLAN = "plan.json"
SUBMIT = "submit.sh"
STEPS = "steps/"


@dataclass(frozen=True)
class SlurmBackend:
    """Slurm, by one sbatch script a step. See `flowc.backends.base.Backend`."""

    @property
    def name(self) -> str:
        return CAPABILITIES.target

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def check(self, plan: Plan) -> list[Diagnostic]:
        """FC409 to FC411: values that sbatch would misread, what does not go together, scripts that are too large."""
        from .options import problems
        from .sizes import size_problems

        found = [
            Diagnostic(item.code, f"step {step.name!r}: {item.message}", step.span, item.help)
            for step in plan.steps
            for item in problems(plan, step)
        ]
        return [*found, *size_problems(plan)]

    def check_settings(self, plan: Plan, settings: EmitSettings) -> list[Diagnostic]:
        """FC413: code travels to a cluster that shares a folder, or flowc is installed there."""
        if settings.way in ("bundled", "installed"):
            return []
        message = f"code does not come to Slurm by --code {settings.code}"
        return [Diagnostic("FC413", message, None, "write --code bundled, or --code installed")]

    def emit(self, plan: Plan, settings: EmitSettings) -> dict[str, bytes]:
        """``submit.sh``, ``steps/``, the Plan and the code."""
        from ..bundle import code_files
        from .script import step_script, submit_script
        from .start import START_FILE, START_TEXT

        if self.check(plan):
            raise ValueError(f"{plan.name} has errors for Slurm")
        out = {f"{STEPS}{step.name}.sbatch": step_script(plan, step).encode() for step in plan.steps}
        out[SUBMIT] = submit_script(plan, settings).encode()
        out[START_FILE] = START_TEXT
        out[PLAN] = plan.dumps().encode()
        return out | code_files(self.name, plan.name, settings)

    def read(self, files: Mapping[str, bytes]) -> Plan:
        """The Plan in ``plan.json``, which every script must describe."""
        from .reading import read_files

        return read_files(files)


BACKEND = SlurmBackend()
