"""The frameworks' gangs over the nodes of a real Slurm: what the same rows do on one machine and on bare hosts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from flow_shapes import FULL
from flow_slurm import Slurm

sys.path.insert(0, str(Path(__file__).parents[1] / "frameworks"))

from framework_rows import TROUBLE
from frameworks_lab import HEAVY, require
from test_matrix import ROWS

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
