"""Flows on the cluster of a machine whose kernel gives no hosts: its nodes are ports of this one, and have no names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flow_slurm import Slurm
from slurm_fixture import require_slurm
from slurm_lab import SlurmLab

sys.path.insert(0, str(Path(__file__).parents[1] / "semantics"))

import test_retries as retries
import test_shapes as shapes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def on_ports() -> Iterator[SlurmLab]:
    require_slurm()
    with SlurmLab(mode="ports", cpus=4) as lab:
        yield lab


@pytest.fixture
def target(on_ports: SlurmLab, tmp_path: Path) -> Slurm:
    folder = on_ports.shared / tmp_path.name
    folder.mkdir()
    return Slurm(folder, on_ports)


@pytest.fixture
def write_flow(target: Slurm) -> Callable[..., Path]:
    def write(text: str, name: str = "flow.py") -> Path:
        file = target.folder / name
        file.write_text(text.replace("from DSL import", "from flowc import"))
        return file

    return write


@pytest.mark.parametrize("shape", ["gang_in_foreach", "loop_of_foreach"])
def test_a_shape_runs_there_too(shape: str, target: Slurm, write_flow: Callable[..., Path]) -> None:
    shapes.test_a_shape_runs_as_its_reference_says(shape, "flowc", target, write_flow)


def test_a_gang_that_loses_a_rank_is_tried_again(target: Slurm, write_flow: Callable[..., Path]) -> None:
    retries.test_a_gang_is_retried_as_a_whole("gang", "os.kill(os.getpid(), 9)", target, write_flow)
