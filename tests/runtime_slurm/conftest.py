"""Runs on the cluster that all tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flow_slurm import Slurm


@pytest.fixture
def on_slurm(slurm: Any, shared_path: Path) -> Slurm:
    """The real target: the command line, the controller, and nodes that see only the shared folder."""
    return Slurm(shared_path, slurm)
