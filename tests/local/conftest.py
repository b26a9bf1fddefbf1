"""Fixtures of the local backend's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from local_runs import Flow


@pytest.fixture
def flow(tmp_path: Path) -> Callable[[str], Flow]:
    """Write a flow, compile it, and get something that runs it."""

    def make(source: str) -> Flow:
        return Flow(tmp_path, source)

    return make
