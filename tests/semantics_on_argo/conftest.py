"""The lab as the target, and the folder of the tests that ask every target."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from flow_argo import Argo
from hosts_lab import require_lab

sys.path.insert(0, str(Path(__file__).parents[1] / "semantics"))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pods of all tests keep compiled modules."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def target(tmp_path: Path, compiled: Path) -> Argo:
    """The target of every test here."""
    require_lab()
    return Argo(tmp_path, compiled)
