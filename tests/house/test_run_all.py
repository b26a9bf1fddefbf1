"""What gets a second try where all tests are run, and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN_ALL = Path(__file__).resolve().parents[1] / "run_all.py"
INI = "[pytest]\naddopts = -p no:cacheprovider\n"
FIRST_TIME_ONLY = """
import pytest
from pathlib import Path

def fail_once(name):
    mark = Path(__file__).parent / name
    if not mark.exists():
        mark.touch()
        assert False, "not yet"
"""


def run(folder: Path, tests: str, workers: str = "0") -> tuple[int, str]:
    """Run such tests as ``make test`` would: the exit code, and what was said."""
    (folder / "pytest.ini").write_text(INI)
    (folder / "test_some.py").write_text(FIRST_TIME_ONLY + tests)
    code = f"import sys; sys.path.insert(0, {str(RUN_ALL.parent)!r})\nfrom pathlib import Path\nimport run_all\n"
    code += f"sys.exit(run_all.main(['-n', {workers!r}], Path({str(folder)!r})))"
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # this is no worker
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_test_that_passes_alone_is_told_of(tmp_path: Path) -> None:
    code, said = run(tmp_path, "def test_a():\n    fail_once('a')\n\ndef test_b():\n    pass\n", "2")
    assert code == 0 and "1 failed, 1 passed" in said, said
    assert "Passed, but these only alone, after they had failed beside others: test_some.py::test_a" in said


@pytest.mark.parametrize(
    "tests",
    [
        "def test_a():\n    assert False\n",
        "def test_a():\n    fail_once('a')\n\ndef test_b():\n    assert False\n",
        "@pytest.mark.parametrize('n', '1234567')\ndef test_a(n):\n    fail_once(n)\n",
        "def test_a():\n    fail_once('a')\n\nnot_python =\n",
    ],
    ids=["always", "one of two", "many", "not collected"],
)
def test_what_fails_alone_or_is_many_fails(tests: str, tmp_path: Path) -> None:
    code, said = run(tmp_path, tests)
    assert code != 0 and "Passed, but" not in said, said
    assert ("Once more, alone" in said) == ("assert False\n" in tests), said
