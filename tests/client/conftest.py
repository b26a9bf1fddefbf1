from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FLOW = """
import sys

from flowc import FlowSpec, IncludeFile, Parameter, catch, step


class Point:
    def __init__(self, x):
        self.x = x


class ClientFlow(FlowSpec):
    alpha = Parameter("alpha", default=0.5)
    rate_of = Parameter("rate-of", default=1)
    note = IncludeFile("note", default="note.txt")
    bad = Parameter("bad", default=False)

    @step
    def start(self):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        self.items = ["a", "b", "c"]
        self.point = Point(7)
        self.next(self.work, foreach="items")

    @catch(var="failure")
    @step
    def work(self):
        self.letter = self.input
        if self.input == "b":
            raise ValueError("b is bad")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.letters = [each.letter for each in inputs]
        self.next(self.gang, num_parallel=2)

    @step
    def gang(self):
        self.rank = self.index
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.letters = inputs[0].letters
        self.rounds = 0
        self.next(self.loop)

    @step
    def loop(self):
        self.rounds += 1
        self.answer = "again" if self.rounds < 3 else "enough"
        self.next({"again": self.loop, "enough": self.end}, condition="answer")

    @step
    def end(self):
        if self.bad:
            raise RuntimeError("told to fail")
        self.large = b"x" * 5000
"""


def flow(folder: Path, *words: str) -> int:
    command = [sys.executable, "-m", "flowc", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=60).returncode


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, not to be changed: ClientFlow/1 is done, ClientFlow/2 failed in its last step."""
    folder = tmp_path_factory.mktemp("client")
    text = FLOW.replace("    @step\n    def gang", "    @parallel\n    @step\n    def gang")
    (folder / "client_flow.py").write_text(text.replace("catch, step", "catch, parallel, step"))
    (folder / "note.txt").write_text("ünïcode")
    assert flow(folder, "run", "client_flow.py", "--tag", "good", "--alpha", "3") == 0
    assert flow(folder, "run", "client_flow.py", "--bad", "true") == 1
    return folder


@pytest.fixture
def runs(ran: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `ran` as the current one."""
    monkeypatch.chdir(ran)
    monkeypatch.delenv("FLOWC_DATASTORE", raising=False)
    return ran
