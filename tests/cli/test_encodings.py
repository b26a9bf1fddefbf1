"""What a terminal's encoding cannot hold is escaped; it ends nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_terminal import on_terminal
from flows_for_cli import FLOWC

pytestmark = pytest.mark.slow

FLOW = r"""
from flowc import FlowSpec, step


class WordsFlow(FlowSpec):
    @step
    def start(self):
        print("h\u00e9 \u2713")
        self.word = "h\u00e9"
        self.lone = "\udcff"
        self.next(self.end)

    @step
    def end(self):
        raise ValueError("na\u00efve \udcff")
"""


@pytest.fixture
def words(tmp_path: Path) -> Path:
    (tmp_path / "words.py").write_text(FLOW)
    return tmp_path


def ascii_only(folder: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a call whose streams hold ASCII alone, strictly."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    ran = subprocess.run([*FLOWC, *words], cwd=folder, env=env, capture_output=True, timeout=60)
    return ran.returncode, ran.stdout.decode("ascii"), ran.stderr.decode("ascii")


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_every_command(words: Path, isolation: str) -> None:
    code, out, err = ascii_only(words, "run", "words.py", "--isolation", isolation)
    assert code == 1
    assert r"[1] start | h\xe9 \u2713" in out.splitlines()
    assert "[1] start done in" in out
    assert "warning" not in err
    assert err.splitlines()[1] == r"end failed: ValueError: na\xefve \udcff"
    status = json.loads((words / ".flowc/WordsFlow/1/status.json").read_text())
    assert status["failure"]["type"] == "ValueError"
    code, out, err = ascii_only(words, "show", "1")
    assert (code, err) == (0, "")
    assert r"na\xefve \udcff" in out
    code, out, err = ascii_only(words, "dump", "1/start")
    assert (code, err) == (0, "")
    assert r"'h\xe9'" in out
    code, out, err = ascii_only(words, "dump", "1/start", "--name", "word")
    assert (code, out.splitlines()[1]) == (0, r"word = 'h\xe9'")
    code, out, err = ascii_only(words, "logs", "1/end", "--stdout")
    assert (code, out) == (0, "")


def test_the_live_display(words: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii:strict"}
    code, _, terminal = on_terminal([*FLOWC, "run", "words.py"], cwd=str(words), env=env)
    assert code == 1
    assert r"h\xe9 \u2713" in terminal.text
    assert "internal error" not in terminal.text
    assert "no longer shown" not in terminal.text


def test_a_stream_that_cannot_be_set_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from flowc.cli import main

    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["targets"]) == 0
    assert "local" in out.getvalue()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_stream_may_be_closed(tmp_path: Path, closed: str) -> None:
    (tmp_path / "flow.py").write_text(
        "from flowc import FlowSpec, step\n\n\nclass F(FlowSpec):\n"
        "    @step\n    def start(self):\n        print('here')\n        self.next(self.end)\n\n"
        "    @step\n    def end(self):\n        pass\n"
    )
    command = f'"{sys.executable}" -m flowc run flow.py --datastore store {closed}'
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "store/F/1/start/_/0/stdout.log").read_text() == "here\n"
