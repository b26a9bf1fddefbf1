"""The examples of frameworks whose body runs on the first node alone."""

from __future__ import annotations

import math
import shutil

import flowc
import pytest
from flowc.runtime.frameworks.programs import search_path
from test_examples import Command, command, data, flow, require  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def require_mpi() -> None:
    if shutil.which("mpirun", path=search_path()) is None:
        pytest.skip("there is no MPI here")


def test_mpi4py(command: Command) -> None:  # noqa: F811
    require("mpi4py", "numpy")
    require_mpi()
    done = command("run", flow("mpi4py"), "--slices", "100000")
    assert math.isclose(data("Mpi4pyFlow/1").pi, math.pi, rel_tol=1e-6)
    assert "rank 1 of 2 has 1.57" in done.stdout


def test_mpi_c(command: Command) -> None:  # noqa: F811
    require_mpi()
    if shutil.which("gcc") is None:
        pytest.skip("there is no C compiler here")
    done = command("run", flow("mpi_c"), "--laps", "5")
    assert "5 laps: 20" in done.stdout
    assert all(f"rank {rank} of 4" in done.stdout for rank in range(4))


def test_dask(command: Command) -> None:  # noqa: F811
    require("distributed")
    command("run", flow("dask"), "--limit", "10000")
    result = data("DaskFlow/1")
    assert (result.number, result.steps) == (6171, 261)
    assert result.workers == ["rank0", "rank1"]


def test_ray(command: Command) -> None:  # noqa: F811
    require("ray", "numpy")
    command("run", flow("ray"), "--darts", "50000")
    result = data("RayFlow/1")
    assert result.cluster == 2
    assert abs(result.pi - math.pi) < 0.02


# DeepSpeed compiles an operator when it is first used: a minute where nothing else runs, several beside other tests.
@pytest.mark.timeout(700)
def test_deepspeed(command: Command) -> None:  # noqa: F811
    require("torch", "deepspeed")
    command("run", flow("deepspeed"), seconds=600)
    result = data("DeepSpeedFlow/1")
    assert result.last < result.first / 10


def test_message_passing_under_torchrun_and_mpirun(command: Command) -> None:  # noqa: F811
    require("torch")
    require_mpi()
    command("run", flow("message_passing"))
    # torchrun's processes write to the log of their own node, mpirun brings the output of all to the first one.
    logs = [(rank, str(flowc.Task(f"MessagePassingFlow/1/with_torchrun/{rank}").stdout)) for rank in range(2)]
    under_mpirun = str(flowc.Task("MessagePassingFlow/1/with_mpirun/0").stdout)
    for rank, said in [*logs, (0, under_mpirun), (1, under_mpirun)]:
        assert f"rank {rank} has 1 after point to point" in said
        assert f"rank {rank} has 3 after all_reduce" in said
        assert f"rank {rank} has learnt a slope of 3.99" in said
