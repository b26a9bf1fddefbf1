"""A gang that its time limit ends, and that goes on from its checkpoint: minutes of waiting, spent beside others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flow_slurm import Slurm
from flow_target import RunView, until
from slurm_runs import GANG, HEAD, ended_in_a_hurry, job_of, submitted


def a_gang_saves_itself(target: Slurm, write_flow: Callable[..., Path]) -> None:
    # Slurm may warn a minute earlier than it is asked to, so a limit of one minute could be over before it begins.
    file = write_flow(HEAD + GANG.replace("LIMIT", "00:02:00"))
    run = submitted(target, file, "--folder", str(target.folder), "--seconds", "125")
    until((target.folder / "at-1").exists, 120, "the gang never came that far")
    job = job_of(target, run, "train._")
    assert ended_in_a_hurry(target, run, job)["state"] == "done"
    view = RunView("GangFlow", run, target.root, None, target, file)  # type: ignore[arg-type]
    last = view.attempts("train/0")[-1]
    assert last >= 1
    assert view.artifact("join", "began_at") >= 1
    assert "was asked to end" in "".join(f.read_text() for f in (view.folder / "slurm" / "logs").glob("*train*"))
