"""Fixtures and settings that all rooms share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

# The tools that generate, run and judge flows, and the labs, are modules of the tests, not of the product.
for _folder in ("flows", "labs/argo", "labs/hosts", "labs/slurm"):
    sys.path.insert(0, str(Path(__file__).parent / _folder))

pytest_plugins = ["slurm_fixture"]

LABS_REQUIRED = os.environ.get("FLOWC_LABS") == "required"
"""Whether what a test needs must be there: hosts, compilers, frameworks. A skipped test is then a failed one."""

NOT_HERE = "not here: "
"""How the reason begins where a test is for another kind of machine, and no lab could change that."""


def pytest_configure(config: pytest.Config) -> None:
    """Settle how many examples hypothesis draws, and that an interrupt interrupts what the tests start."""
    # Tests write a module anew within a second, which Python could not tell from what it has compiled before.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    # What a shell starts in the background, or nohup, is told to ignore one, and would pass that on.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        from hypothesis import HealthCheck, settings
    except ImportError:
        return
    settings.register_profile(
        "flowc",
        max_examples=int(os.environ.get("FLOWC_EXAMPLES", "60")),
        derandomize="FLOWC_EXAMPLES" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )
    settings.load_profile("flowc")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to ``make test`` what needs a cluster, and the shapes of flows that are variations of others."""
    from flow_shapes import QUICK

    for item in items:
        shape = getattr(getattr(item, "callspec", None), "params", {}).get("shape", QUICK[0])
        if shape not in QUICK or "slurm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Turn skips into failures where FLOWC_LABS=required."""
    report = yield
    if LABS_REQUIRED and report.skipped and not hasattr(report, "wasxfail") and call.excinfo is not None:
        reason = str(call.excinfo.value)
        if not reason.startswith(NOT_HERE):
            report.outcome = "failed"
            report.longrepr = f"FLOWC_LABS=required lets nothing be skipped, and this test was: {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """The developer's own FLOWC_ variables must not change what the tests see."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("FLOWC_")}
    for name in kept:
        if name != "FLOWC_EXAMPLES":
            del os.environ[name]
    yield
    os.environ.update(kept)


@pytest.fixture
def target(tmp_path: Path) -> Any:
    """The target that flows run on: the local backend, unless a test is parametrized with another one."""
    from flow_target import Local

    return Local(tmp_path)


@pytest.fixture
def write_flow(tmp_path: Path) -> Callable[..., Path]:
    """Write a flow's source to a file of its own and give its path; ``DSL`` in it is the module to import from."""

    def write(text: str, name: str = "flow.py", dsl: str = "flowc") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("from DSL import", f"from {dsl} import"))
        return file

    return write
