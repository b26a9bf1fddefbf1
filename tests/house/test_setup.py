"""The set-up says what is missing on a machine that lacks it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[2] / ".ci" / "setup"


def setup_with(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the set-up in an empty folder with a Python that is a shell script; $2 is the code it is asked to run."""
    fake = folder / "fake-python"
    fake.write_text(f"#!/bin/sh\n{python}\n")
    fake.chmod(0o755)
    return subprocess.run(
        [SETUP], cwd=folder, env={"PATH": "/usr/bin:/bin", "PYTHON": str(fake)}, capture_output=True, text=True
    )


def test_a_python_without_venv_is_told_from_one_that_is_too_old(tmp_path: Path) -> None:
    without = 'case "$2" in *ensurepip*) exit 1;; *print*) echo 3.12;; esac'
    done = setup_with(without, tmp_path)
    assert done.returncode == 1
    assert "apt-get install python3-venv   (or python3.12-venv)" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("python", ["exit 1", "exit 127"])
def test_a_python_that_is_too_old_or_does_not_run_is_named(tmp_path: Path, python: str) -> None:
    done = setup_with(python, tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path}/fake-python does not run, or is older than Python 3.10" in done.stderr


def test_the_set_up_tree_is_the_one_that_is_imported() -> None:
    import flowc

    assert flowc.__file__ is not None
    assert Path(flowc.__file__).resolve() == SETUP.parents[1] / "__init__.py"
