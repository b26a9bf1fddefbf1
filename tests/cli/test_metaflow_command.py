"""`flowc metaflow on`: a flow that imports metaflow, run by Python itself."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import flowc
import pytest

FLOW = """
from metaflow import FlowSpec, step
from metaflow.exception import MetaflowException


class OldFlow(FlowSpec):
    @step
    def start(self):
        self.x = 1
        self.next(self.end)

    @step
    def end(self):
        print("x is", self.x)


if __name__ == "__main__":
    OldFlow()
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own without Metaflow, which sees the flowc and the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    here = next(path for path in map(Path, sys.path) if (path / "click").is_dir())
    [site] = folder.glob("lib/python*/site-packages")
    package = Path(flowc.__file__).parents[1]
    (site / "those_of_the_tests.pth").write_text(f"{here}\n{package}\n")
    return folder / "bin" / "python"


def call(python: Path, folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **env}
    return subprocess.run([python, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_python_runs_a_flow_that_imports_metaflow(python: Path, tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    before = call(python, tmp_path, "flow.py", "run")
    assert before.returncode == 1 and "No module named 'metaflow'" in before.stderr

    on = call(python, tmp_path, "-m", "flowc", "metaflow", "on")
    assert on.returncode == 0 and "installed: on" in on.stdout, on.stderr
    ran = call(python, tmp_path, "flow.py", "run")
    assert ran.returncode == 0 and "x is 1" in ran.stdout, ran.stderr
    assert call(python, tmp_path, "flow.py", "run", FLOWC_METAFLOW="keep").returncode == 1

    off = call(python, tmp_path, "-m", "flowc", "metaflow", "off")
    assert off.returncode == 0 and "installed: off" in off.stdout, off.stderr
    after = call(python, tmp_path, "flow.py", "run")
    assert after.returncode == 1 and "No module named 'metaflow'" in after.stderr
    assert call(python, tmp_path, "-m", "flowc", "metaflow", "off").returncode == 0


def test_an_installed_metaflow_goes_first(python: Path, tmp_path: Path) -> None:
    (tmp_path / "metaflow.py").write_text("WHO = 'metaflow'\n")
    call(python, tmp_path, "-m", "flowc", "metaflow", "on")
    try:
        there = call(python, tmp_path, "-c", "import metaflow; print(metaflow.WHO)")
        assert there.stdout == "metaflow\n", there.stderr
        part = call(python, tmp_path, "-c", "import metaflow; import metaflow.cards")
        assert part.returncode == 1 and "No module named 'metaflow.cards'" in part.stderr
    finally:
        call(python, tmp_path, "-m", "flowc", "metaflow", "off")
