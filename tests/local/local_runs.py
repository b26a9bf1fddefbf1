"""Running a flow that a test wrote, in the test's own process or behind a driver that can be killed."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowc.backends.local import Event, LocalSettings, RunResult, run_local
from flowc.compiler import compile_flow
from flowc.runtime.address import Address
from flowc.runtime.artifacts import ArtifactStore
from flowc.runtime.datastore import open_datastore
from flowc.runtime.parameters import parameter_values
from flowc.runtime.record import Record, Records
from flowc.runtime.runs import list_runs

_NAMES = itertools.count()

HEADER = """
import os, signal, subprocess, sys, time
from flowc import FlowSpec, Parameter, catch, current, environment, parallel, retry, step, timeout
"""


class Ran:
    """What is left of a run, and what was told of it."""

    def __init__(self, result: RunResult, events: list[Event], root: Path, flow: str) -> None:
        self.result = result
        self.events = events
        self.folder = root / flow / result.run_id
        datastore = open_datastore(str(root))
        self._records = Records(datastore, flow, result.run_id)
        self._artifacts = ArtifactStore(datastore, flow)

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if type(event) is kind]

    def record(self, address: str, attempt: int | None = None) -> Record | None:
        """A task's record."""
        return self._records.read(Address.parse(address), attempt)

    def artifact(self, address: str, name: str) -> Any:
        """A task's artifact."""
        record = self.record(address)
        assert record is not None
        return self._artifacts.load(record.artifacts[name], name)

    def log(self, address: str, attempt: int = 0, stream: str = "stdout") -> str:
        """What an attempt wrote."""
        return (self.folder / Address.parse(address).key / str(attempt) / f"{stream}.log").read_text()


class Flow:
    """A flow in a file of its own, with a datastore beside it."""

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.root = folder / "store"
        self.file = folder / f"local_flow_{next(_NAMES)}_{os.getpid()}.py"
        self.file.write_text(HEADER + textwrap.dedent(source))
        compilation = compile_flow(str(self.file))
        assert compilation.plan is not None, compilation.diagnostics
        self._compilation = compilation
        self.name = compilation.plan.name

    def run(self, listener: Callable[[Event], None] | None = None, **options: Any) -> Ran:
        """Run it here. Flow parameters are given as ``parameters``, settings by name."""
        compilation = self._compilation
        given = options.pop("parameters", {})
        values = parameter_values(compilation.flow, compilation.plan.to_json(), given, str(self.folder))
        events: list[Event] = []

        def listen(event: Event) -> None:
            events.append(event)
            if listener is not None:
                listener(event)

        settings = LocalSettings(str(self.root), **options)
        result = run_local(compilation.plan, compilation.flow, compilation.loaded, values, settings, listen)
        return Ran(result, events, self.root, self.name)

    def run_apart(self, **options: Any) -> Ran:
        """Run it to a good end in a process of its own; no events are told."""
        process = self.start(**options)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
        newest = list_runs(open_datastore(str(self.root)), self.name)[-1]
        return Ran(RunResult(newest, "done", 0.0), [], self.root, self.name)

    def start(self, **options: Any) -> subprocess.Popen[str]:
        """Start it in a process of its own, which prints its result's state last."""
        return subprocess.Popen(
            [sys.executable, __file__, str(self.file), str(self.root), repr(options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def wait_for(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Wait until something holds, and return it; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
    return value


def is_alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def numbers_in(folder: Path) -> list[int]:
    """The process ids that tasks left as names of files in a folder."""
    return [int(file.name) for file in folder.iterdir() if file.name.isdigit()] if folder.is_dir() else []


def _drive() -> None:
    file, root, options = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    compilation = compile_flow(file)
    assert compilation.plan is not None and compilation.flow is not None and compilation.loaded is not None
    values = parameter_values(compilation.flow, compilation.plan.to_json(), {}, os.path.dirname(file))
    settings = LocalSettings(root, **eval(options))
    result = run_local(compilation.plan, compilation.flow, compilation.loaded, values, settings)
    print(result.state, result.failure)
    sys.exit(result.exit_code)


if __name__ == "__main__":
    _drive()
