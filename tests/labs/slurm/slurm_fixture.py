"""The cluster that tests share: a plugin of pytest, loaded by tests/conftest.py.

A test that names the fixture ``slurm`` gets the cluster of 4 nodes. It is started once, when the first test needs it,
and tidied after every test. With pytest-xdist all tests with ``slurm`` in their path, name or parameters go to one
worker, so that there is one cluster and they do not disturb each other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_processes import LabError
from slurm_lab import SlurmLab, slurm_obstacle


def require_slurm() -> None:
    """Skip the test, saying why, where there can be no cluster."""
    why = slurm_obstacle()
    if why is not None:
        pytest.skip(f"no Slurm cluster here: {why}")


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmLab]:
    """The cluster that tests share, of 4 nodes with 4 CPUs and 2 GPUs each."""
    require_slurm()
    with SlurmLab(cpus=4) as lab:
        yield lab


@pytest.fixture(autouse=True)
def _slurm_is_tidied(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test finds no job of another test's, all nodes with power and the controller up."""
    if "slurm" in request.fixturenames and not is_for_slurm(request.node.nodeid):
        pytest.fail("this test uses the Slurm cluster: say slurm in its file's name or its own")
    yield
    lab = getattr(request.node, "funcargs", {}).get("slurm")
    if isinstance(lab, SlurmLab):
        try:
            lab.tidy()
        except LabError:
            lab.stop()  # the next test gets a new one
            lab.start()
            raise


@pytest.fixture
def shared_path(slurm: SlurmLab) -> Path:
    """As ``tmp_path``, but seen by all nodes of the cluster."""
    return Path(tempfile.mkdtemp(dir=slurm.shared))


def is_for_slurm(nodeid: str) -> bool:
    """Whether a test may use the cluster, as its id says."""
    return "slurm" in nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the tests of the cluster to one worker, all others to whoever is free.

    pytest-xdist's own ``loadgroup`` does that for tests of one ``xdist_group``, but not under pytest 9.2.
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class OneWorkerForSlurm(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "slurm" if is_for_slurm(nodeid) else nodeid

    return OneWorkerForSlurm(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Show what Slurm's daemons said, where a test of the cluster fails."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("slurm")
    if report.failed and isinstance(lab, SlurmLab):
        report.sections.append(("Slurm", lab.logs()))
    return report
