"""The frameworks' gangs over the nodes of a real Slurm: what the same rows do on one machine and on bare hosts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from flow_shapes import FULL
from flow_slurm import Slurm
from flow_target import until
from slurm_runs import ended, job_of, one_gang, submitted, write

sys.path.insert(0, str(Path(__file__).parents[1] / "frameworks"))

from framework_rows import TROUBLE
from frameworks_lab import HEAVY, require
from test_matrix import ROWS
from test_preemption import WAIT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * HEAVY)]


SIZES = {"torchrun": 2, "mpi": 4, "ray": 2, "jax": 2}
MORE = {"parallel": 4, "tensorflow": 2, "deepspeed": 2, "dask": 2} if FULL else {}


@pytest.mark.parametrize(("name", "nodes"), {**SIZES, **MORE}.items())
def test_a_gang_of_a_framework_on_slurm(name: str, nodes: int, on_slurm: Slurm) -> None:
    row = ROWS[name]
    require(row)
    for file, text in {"flow.py": row.flow(), "trouble.py": TROUBLE, **row.files}.items():
        (on_slurm.folder / file).write_text(text)
    on_slurm.patience = HEAVY
    run = on_slurm.run(on_slurm.folder / "flow.py", params={"ranks": nodes})
    assert run.artifact("join", "values") == row.values(nodes)
    job = json.loads((run.folder / "slurm" / "jobs" / "work._.json").read_text())["job"]
    assert f"NumNodes={nodes} " in on_slurm.cluster.run(["scontrol", "-o", "show", "job", job]).stdout


TRAIN = """
current.torch.run(os.path.join(os.environ["SOURCES"], "wait.py"), nproc_per_node=1)
"""


def test_the_warning_before_the_time_limit_gives_the_processes_time_to_save(on_slurm: Slurm) -> None:
    """Only the gang's control rank is told by a signal: any other, and there is none that srun hands on to the ranks
    alone, would kill what torchrun has started."""
    require(ROWS["torchrun"])
    (on_slurm.folder / "wait.py").write_text(WAIT)
    run = submitted(
        on_slurm,
        write(on_slurm, one_gang("TrainFlow", "@checkpoint\n@torchrun", TRAIN)),
        env={"SOURCES": str(on_slurm.folder)},
    )
    until(lambda: len(list(on_slurm.folder.glob("ready-*"))) == 2, HEAVY, "the processes never ran")
    # As Slurm does it: --signal=B:USR1@60.
    on_slurm.cluster.run(["scancel", "--batch", "--signal=USR1", job_of(on_slurm, run, "work._")], check=True)
    failure = ended(on_slurm, "TrainFlow", run)["failure"]
    assert sorted(path.name for path in on_slurm.folder.glob("saved-*")) == ["saved-0", "saved-1"], failure
    assert failure["type"] == "Preempted", failure
