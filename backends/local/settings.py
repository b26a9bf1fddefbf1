"""How a local run is to go, and how it went."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ...runtime.report import Failure


class LocalSettings(NamedTuple):
    """Settings of one local run.

    Parameters
    ----------
    datastore : str
        URL or path of the datastore's root.
    max_workers : int
        How many tasks run at once, at least 1; a gang wider than that starts with all its ranks once nothing else runs.
    max_num_splits : int
        The widest foreach or gang that is let through.
    tags : tuple of str
        Tags of the run.
    run_id_file : str or None
        File into which the run's id is written as soon as there is one.
    isolation : {"fork", "spawn"}
        Fork each task from a process that has imported the flow, or start a fresh interpreter for it.
    origin_run_id : str or None
        The run that is resumed.
    resume_from : str or None
        The step that is run again with everything after it, though it may be done in the run that is resumed.
    user : str or None
        Who runs it.
    runner_attribute_file : str or None
        File into which flow and id of the run are written as JSON, for a program that started it.
    """

    datastore: str
    max_workers: int = 16
    max_num_splits: int = 100_000
    tags: tuple[str, ...] = ()
    run_id_file: str | None = None
    isolation: Literal["fork", "spawn"] = "fork"
    origin_run_id: str | None = None
    resume_from: str | None = None
    user: str | None = None
    runner_attribute_file: str | None = None


class RunResult(NamedTuple):
    """How a run ended.

    Parameters
    ----------
    state : {"done", "failed", "interrupted"}
        What became of it.
    seconds : float
        How long it took.
    failure : Failure or None
        What it failed on.
    """

    run_id: str
    state: str
    seconds: float
    failure: Failure | None = None

    @property
    def exit_code(self) -> int:
        """0 done, 1 failed, 130 interrupted."""
        return {"done": 0, "failed": 1}.get(self.state, 130)
