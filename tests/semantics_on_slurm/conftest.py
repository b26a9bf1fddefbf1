"""One cluster for all of the matrix, and many runs in it at once: most of a run's time on Slurm is waiting."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from flow_slurm import Slurm
from slurm_fixture import require_slurm
from slurm_lab import SlurmLab

sys.path.insert(0, str(Path(__file__).parents[1] / "semantics"))

from matrix_cases import Case

AT_ONCE = int(os.environ.get("FLOWC_RUNS_AT_ONCE", "8"))


def run_case(case: Case, lab: SlurmLab) -> None:
    """One case of the matrix, in a folder of its own."""
    folder = lab.shared / case.name
    folder.mkdir()

    def write_flow(text: str, name: str = "flow.py", dsl: str = "flowc") -> Path:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("from DSL import", f"from {dsl} import"))
        return file

    case.ask(Slurm(folder, lab), folder, write_flow)


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Callable[[Case], None]]:
    """Starts every case that is selected; gives a function that waits for one of them, and raises what it raised."""
    require_slurm()
    selected = [item.callspec.params["case"] for item in request.session.items if "outcomes" in item.fixturenames]
    with SlurmLab(cpus=6, kill_wait=5) as lab, ThreadPoolExecutor(AT_ONCE) as pool:
        started: dict[str, Future[None]] = {case.name: pool.submit(run_case, case, lab) for case in selected}
        try:
            yield lambda case: started[case.name].result()
        finally:
            pool.shutdown(cancel_futures=True)
