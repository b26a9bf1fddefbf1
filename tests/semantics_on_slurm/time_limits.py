"""Gangs that their time limits end, and that go on from their checkpoints: minutes of waiting, spent beside others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flow_slurm import Slurm
from flow_target import RunView, until
from slurm_runs import ASKED, HEAD, assert_saved_when_asked, ended_in_a_hurry, job_of, submitted

# Slurm may warn half a minute earlier than it is asked to, and looks twice a minute: here after 78 to 108 s, and where
# only the partition has a limit after 60 to 90 s. What is left to do then takes less than that.
LIMITS = {"job": ('@slurm(time="00:02:00")', 125), "partition": ('@slurm(partition="other")', 105)}
"""What the gang says of its limit, which are two minutes, and how many seconds it works."""


def a_gang_saves_itself(target: Slurm, write_flow: Callable[..., Path], limit: str) -> None:
    decorator, seconds = LIMITS[limit]
    if limit == "partition":  # in which nothing else runs
        target.cluster.run(["scontrol", "update", "partitionname=other", "maxtime=2"], check=True)
    file = write_flow(HEAD + ASKED.replace("LIMIT", decorator))
    # Longer than Slurm's KillWait there.
    options = ("--folder", str(target.folder), "--seconds", str(seconds), "--takes", "6")
    run = submitted(target, file, *options)
    until((target.folder / "at-1").exists, 120, "the gang never came that far")
    job = job_of(target, run, "train._")
    shown = target.cluster.run(["scontrol", "--oneliner", "show", "job", job]).stdout
    assert " TimeLimit=00:02:00 " in shown and ("--time=" in script_of(target)) == (limit == "job"), shown
    assert ended_in_a_hurry(target, run, job, "AskedFlow")["state"] == "done"
    view = RunView("AskedFlow", run, target.root, None, target, file)  # type: ignore[arg-type]
    assert_saved_when_asked(view, target.folder)
    assert "was asked to end" in "".join(f.read_text() for f in (view.folder / "slurm" / "logs").glob("*train*"))


def script_of(target: Slurm) -> str:
    """The job script of the gang."""
    return next(target.root.rglob("steps/train.sbatch")).read_text()
