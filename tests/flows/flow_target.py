"""Where a flow runs, and what is left of a run. Tests ask a `Target` to run a flow and look at the `RunView` it gives;
what they look at is the same on every target, since the datastore's layout is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Values = Mapping[str, Any]


@dataclass
class Finished:
    """A command line that has ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """Everything that was printed."""
        return self.stdout + self.stderr


@dataclass
class RunView:
    """A run as its datastore shows it."""

    flow: str
    run_id: str
    root: Path
    finished: Finished
    target: Target
    flow_file: Path
    params: Values = field(default_factory=dict)

    def __post_init__(self) -> None:
        from flowc.runtime.artifacts import ArtifactStore
        from flowc.runtime.datastore import open_datastore
        from flowc.runtime.record import Records

        self._datastore = open_datastore(str(self.root))
        self._records = Records(self._datastore, self.flow, self.run_id)
        self._artifacts = ArtifactStore(self._datastore, self.flow)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.root / self.flow / self.run_id

    @property
    def status(self) -> dict[str, Any]:
        """What status.json says."""
        found: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        return found

    @property
    def info(self) -> dict[str, Any]:
        """What run.json says."""
        found: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return found

    def started(self) -> set[str]:
        """Addresses of all tasks that have a folder."""
        from flowc.runtime.address import Address

        found = set()
        for step in self.folder.iterdir():
            if step.is_dir() and step.name != "slurm":  # where the jobs of a run on Slurm keep their accounts
                found.update(str(Address.parse(f"{step.name}/{task.name}")) for task in step.iterdir() if task.is_dir())
        return found

    def done(self) -> set[str]:
        """Addresses of all tasks with a record of success."""
        return {address for address in self.started() if self.record(address) is not None}

    def record(self, address: str) -> Any:
        """The record of the task's good attempt; None where there is none."""
        from flowc.runtime.address import Address

        return self._records.read(Address.parse(address))

    def attempts(self, address: str) -> list[int]:
        """Numbers of the task's attempts that left a folder."""
        from flowc.runtime.address import Address

        folder = self.folder / Address.parse(address).key
        return sorted(int(name.name) for name in folder.iterdir() if name.name.isdigit()) if folder.is_dir() else []

    def artifacts(self, address: str) -> dict[str, Any]:
        """All artifacts of the task."""
        return {name: self._artifacts.load(ref, name) for name, ref in self.record(address).artifacts.items()}

    def artifact(self, address: str, name: str) -> Any:
        """One artifact of the task."""
        return self._artifacts.load(self.record(address).artifacts[name], name)

    def log(self, address: str, stream: str, attempt: int | None = None) -> str:
        """What the task printed on ``stdout`` or ``stderr``, in its last attempt unless told."""
        from flowc.runtime.address import Address

        number = self.attempts(address)[-1] if attempt is None else attempt
        file = self.folder / Address.parse(address).key / str(number) / f"{stream}.log"
        return file.read_text() if file.exists() else ""

    def trace(self) -> list[dict[str, Any]]:
        """What the run's tasks wrote into the trace file, in the order of writing."""
        file = Path(self.params["lab"]) / "trace"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def until(look: Callable[[], Any], seconds: float = 30, what: str = "it never came so far", period: float = 0.1) -> Any:
    """The first good answer."""
    last = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < last, what
        time.sleep(period)
    return found


LOCAL_ONLY = ("--max-workers", "--isolation", "--max-num-splits")
"""Options of `flowc run` that mean nothing where the scheduler places the tasks."""


def of_the_flow(options: Sequence[str]) -> list[str]:
    """Those of the options of a run that say what the flow is; where it is compiled, no others can be given."""
    kept = []
    words = iter(options)
    for word in words:
        if word in LOCAL_ONLY:
            next(words)
        else:
            assert word in ("--config", "--config-value"), options
            kept += [word, next(words), next(words)]
    return kept


class Target:
    """A place where flows run. A subclass says how to start and resume one and waits for its end."""

    name = ""
    shortest = 1
    """Seconds within which an attempt has begun its body, a gang included; a timeout in a test is no shorter."""
    late = 0.25
    """Seconds by which something may happen later than it is due."""
    tagged = True
    """Whether a run takes the tags and the user of whoever starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "store"

    def run(
        self,
        flow_file: Path,
        params: Values | None = None,
        with_: Iterable[str] = (),
        expect: str = "done",
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> RunView:
        """Run a flow to its end, which must be as expected: ``done`` or ``failed``."""
        raise NotImplementedError

    def resume(self, run: RunView, expect: str = "done", options: Sequence[str] = ()) -> RunView:
        """Resume a run as a new one, and wait for its end."""
        raise NotImplementedError

    def accounts(self, run_id: str) -> str:
        """What the run's jobs wrote outside their tasks, where there are jobs."""
        return ""

    def values(self, flow_file: Path, params: Values | None) -> dict[str, Any]:
        """The parameters of a run; a flow that takes a ``lab`` gets this target's."""
        lab = self.folder / "lab"
        lab.mkdir(exist_ok=True)
        own = {"lab": str(lab)} if "lab = Parameter" in flow_file.read_text() else {}
        return {**own, **(params or {})}


def given(values: Values, with_: Iterable[str]) -> list[str]:
    """Parameters and ``--with`` specifications as words of the command line."""
    words = [word for spec in with_ for word in ("--with", spec)]
    return words + [word for name, value in values.items() for word in (f"--{name}", str(value))]


class Local(Target):
    """The local backend, through the real command line."""

    name = "local"
    isolation: str | None = None

    def run(
        self,
        flow_file: Path,
        params: Values | None = None,
        with_: Iterable[str] = (),
        expect: str = "done",
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> RunView:
        values = self.values(flow_file, params)
        arguments = ["run", str(flow_file), *self._options(options)]
        arguments += given(values, with_)
        return self._view(arguments, flow_file, values, expect, env)

    def resume(self, run: RunView, expect: str = "done", options: Sequence[str] = ()) -> RunView:
        # The origin run says which file it ran.
        arguments = ["resume", f"{run.flow}/{run.run_id}", *self._options(options)]
        return self._view(arguments, run.flow_file, run.params, expect, None)

    def command(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 60, cwd: Path | None = None
    ) -> Finished:
        """Run ``flowc`` and wait for it."""
        return ended(*flowc(*arguments), env=env, timeout=timeout, cwd=cwd or self.folder)

    def _options(self, options: Sequence[str]) -> list[str]:
        isolation = ["--isolation", self.isolation] if self.isolation else []
        return ["--datastore", str(self.root), "--run-id-file", str(self.folder / "run-id"), *isolation, *options]

    def _view(
        self, arguments: list[str], flow_file: Path, params: Values, expect: str, env: Mapping[str, str] | None
    ) -> RunView:
        finished = self.command(*arguments, env=env)
        wanted = {"done": 0, "failed": 1}[expect]
        assert finished.returncode == wanted, (
            f"exit code {finished.returncode}, not {wanted}\n{finished.stdout}\n{finished.stderr}"
        )
        words = (self.folder / "run-id").read_text().strip()
        flow, run_id = words.split("/") if "/" in words else (flow_name(self.root, words), words)
        view = RunView(flow, run_id, self.root, finished, self, flow_file, params)
        assert view.status["state"] == expect
        return view


class LocalSpawn(Local):
    """The local backend with a fresh interpreter for every task."""

    name = "local-spawn"
    isolation = "spawn"


TARGETS: dict[str, type[Target]] = {cls.name: cls for cls in (Local, LocalSpawn)}


def flow_name(root: Path, run_id: str) -> str:
    """The flow that has the newest run of that id."""
    runs = sorted(root.glob(f"*/{run_id}/run.json"), key=lambda file: file.stat().st_mtime_ns)
    return runs[-1].parent.parent.name


def flowc(*arguments: str) -> list[str]:
    """The command that is ``flowc`` with these arguments."""
    return [sys.executable, "-m", "flowc", *arguments]


def ended(
    *command: str, env: Mapping[str, str] | None = None, timeout: float = 60, cwd: Path | None = None
) -> Finished:
    """Run a command and wait for it; it must not take longer than ``timeout`` seconds."""
    process = subprocess.run(
        command,
        env={**clean_environment(), **(env or {})},
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Finished(process.returncode, process.stdout, process.stderr)


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change how flowc behaves."""
    # Looked up name by name: pytest sets a variable of its own at each test, while threads of the matrix are in here.
    return {name: os.environ[name] for name in os.environ if not name.startswith(("FLOWC_", "PYTEST_"))}
