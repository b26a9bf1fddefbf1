"""The lab of several hosts is a module of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "labs" / "hosts"))

FRAMEWORK_TESTS = Path(__file__).parent
OTHER_FRAMEWORK_TESTS = FRAMEWORK_TESTS.parent / "examples" / "test_control_examples.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole stacks of other projects (gloo, Ray, DeepSpeed's compiler) are started here, several at once on two cores.
    Such a test may fail once; what fails twice is ours. The report counts every rerun."""
    for item in items:
        ours = FRAMEWORK_TESTS in item.path.parents or item.path == OTHER_FRAMEWORK_TESTS
        if ours and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.flaky(reruns=1))
