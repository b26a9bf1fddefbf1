"""A folder with a flow of a gang, the ways to run it, and what must be left of it afterwards."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
import weakref
from pathlib import Path
from typing import Any

import pytest
from flowc.compiler import compile_flow
from flowc.runtime import gang_report
from flowc.runtime.address import Address
from flowc.runtime.artifacts import ArtifactStore
from flowc.runtime.datastore import open_datastore
from flowc.runtime.gang import GangFailure
from flowc.runtime.gang.wire import GangName, body_key, derived
from flowc.runtime.record import Record, Records
from flowc.runtime.runs import create_run
from framework_rows import TROUBLE, Row
from secrets_watch import SecretsWatch

PYTHON = sys.executable
HEAVY = 240
"""Seconds that a run may take where a framework has to be loaded on a busy machine."""
_FRAMEWORKS = ("torch", "tensorflow", "jax", "ray", "deepspeed", "distributed", "dask", "mpi4py")
_MADE = re.compile(r"(certificate|failing|key|known|once|out|ready|saved|said|tried|up)([-.0-9].*)?")
"""What the flows of the tests make beside themselves."""
_NOT_OURS = {".keras"}
"""What Keras leaves in the home folder wherever it is imported."""


_NOMINAL = 0.027
"""CPU-seconds of the loop in `patient` on the machine for which the limits hold."""


def patient(seconds: float) -> float:
    """A limit that holds on an idle machine of usual speed, for one that is as busy and as slow as this one is."""
    began = time.process_time()
    sum(n * n for n in range(200_000))
    slowness = (time.process_time() - began) / _NOMINAL
    return seconds * max(1.0, slowness) * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def require(row: Row) -> None:
    """Skip the test where a module of the framework is not installed."""
    for module in row.needs:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"@{row.decorator} needs {module}, which is not installed")


def mpich() -> Path:
    """The folder of the programs of MPICH, which is not this environment's MPI; skips where it is not installed."""
    folder = Path(sys.prefix) / "mpich" / "bin"
    if not (folder / "mpicc").exists():
        pytest.skip("MPICH is not installed beside the frameworks")
    return folder


def path_with_mpich(path: str) -> str:
    """A PATH on which its programs come before this environment's."""
    return os.pathsep.join([str(mpich()), os.path.dirname(sys.executable), path])


def ways_to_write(secret: bytes) -> list[bytes]:
    """A secret as it is, and as texts."""
    return [secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"="), repr(secret).encode()]


class _SharedMemory:
    """A /dev/shm of its own, in which nobody else leaves anything; only root can have one.

    Attributes
    ----------
    words : list of str
        What a command line begins with that is to see it.
    """

    def __init__(self, folder: Path) -> None:
        begin = ["unshare", "--mount", "--kill-child", "--", "sh", "-c"]
        hold = "mount -t tmpfs shm /dev/shm && echo mounted && exec sleep 100000"
        self._holder = subprocess.Popen([*begin, hold], stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None and self._holder.stdout.readline() == "mounted\n"
        enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]
        # Who enters is in the root folder.
        self.words = [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(folder)]
        weakref.finalize(self, _end, self._holder)

    def left(self) -> list[str]:
        """The names of what lies there."""
        return sorted(path.name for path in Path(f"/proc/{self._holder.pid}/root/dev/shm").iterdir())


def _end(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.communicate()


class GangLab:
    """A flow, its datastore, and a home and a folder for temporary files that are its own."""

    def __init__(self, folder: Path, text: str, files: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.home = folder / "home"
        # Sockets lie in it, whose paths must be short.
        self.scratch = Path("/tmp") / f"g{uuid.uuid4().hex[:8]}"
        self.mark = uuid.uuid4().hex
        self.memory: _SharedMemory | None = None
        for each in (self.home, self.scratch):
            each.mkdir()
        weakref.finalize(self, shutil.rmtree, self.scratch, True)  # of a test that failed
        self.flow = folder / "flow.py"
        self.flow.write_text(text)
        files = {"trouble.py": TROUBLE, **(files or {})}
        for name, content in files.items():
            (folder / name).write_text(content)
        self.beside = {"flow.py", "store", "home", "bare", "__pycache__", *files}
        self.name = "MatrixFlow"

    def environment(self, **more: str) -> dict[str, str]:
        """Of everything that is run."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWC_")}
        own = {"HOME": str(self.home), "TMPDIR": str(self.scratch), "FLOWC_DATASTORE": str(self.store)}
        # Compilers keep what they made, and are slow without it.
        caches = {"XDG_CACHE_HOME": os.path.join(os.path.expanduser("~"), ".cache")}
        return {**kept, **own, **caches, "GANG_LAB": self.mark, **more}

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """``flowc run`` in the background."""
        if self.memory is None and os.geteuid() == 0:
            self.memory = _SharedMemory(self.folder)
        return subprocess.Popen(
            [*(self.memory.words if self.memory else ()), PYTHON, "-m", "flowc", "run", str(self.flow), *arguments],
            cwd=self.folder,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, timeout: float = HEAVY, **more: str) -> str:
        """``flowc run`` to its end; what it printed."""
        process = self.start(*arguments, **more)
        try:
            said = process.communicate(timeout=timeout)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        self.ended = time.time()
        assert process.returncode == code, said
        return said

    def create_run(self, **parameters: Any) -> None:
        """A run whose first step is done, for tests that start the ranks of its gang themselves."""
        plan = compile_flow(str(self.flow)).plan
        assert plan is not None
        values = {"what": "", "ranks": 2, **parameters}
        create_run(open_datastore(str(self.store)), plan.to_json(), values, file=str(self.flow))
        subprocess.run([PYTHON, "-m", "flowc.runtime", "step", "start"], env=self.of_run(), check=True, timeout=HEAVY)

    def of_run(self, **more: str) -> dict[str, str]:
        """The environment of a task of that run."""
        own = {"FLOWC_FLOW_NAME": self.name, "FLOWC_RUN_ID": "1", "FLOWC_FLOW_FILE": str(self.flow)}
        return self.environment(**own, **more)

    def of_rank(self, rank: int, size: int, **more: str) -> dict[str, str]:
        """The environment of one rank of its gang."""
        return self.of_run(FLOWC_GANG_SIZE=str(size), FLOWC_GANG_RANK=str(rank), **more)

    def rank_0_alone(self, **more: str) -> subprocess.CompletedProcess[str]:
        """The control rank of a gang of 2 whose other rank never starts, to its end."""
        words = [PYTHON, "-m", "flowc.runtime", "step", "work", "--index", "0"]
        return subprocess.run(words, env=self.of_rank(0, 2, **more), capture_output=True, text=True, timeout=60)

    def bare(self) -> str:
        """A value of PYTHONPATH with which Python finds no framework, as in a bare image."""
        folder = self.folder / "bare"
        folder.mkdir(exist_ok=True)
        hide = f"import importlib.util as u\nfind, bare = u.find_spec, {_FRAMEWORKS!r}\n"
        hide += "u.find_spec = lambda name, *rest: None if name.split('.')[0] in bare else find(name, *rest)"
        (folder / "sitecustomize.py").write_text(hide)
        return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])

    # What a run left -------------------------------------------------------------------------------------------------

    @property
    def records(self) -> Records:
        """Of the first run."""
        return Records(open_datastore(str(self.store)), self.name, "1")

    def record(self, address: str, attempt: int | None = None) -> Record | None:
        """A task's record."""
        return self.records.read(Address.parse(address), attempt)

    def artifact(self, address: str, name: str) -> Any:
        """What a task has left."""
        record = self.record(address)
        assert record is not None, f"{address} is not done"
        return ArtifactStore(open_datastore(str(self.store)), self.name).load(record.artifacts[name], name)

    def failure(self) -> dict[str, Any]:
        """What the run failed on."""
        status = json.loads((self.store / self.name / "1" / "status.json").read_text())
        assert status["state"] == "failed", status
        failure: dict[str, Any] = status["failure"]
        return failure

    def log(self, address: str, attempt: int = 0, stream: str = "stdout") -> str:
        """What a task wrote."""
        folder = self.store / self.name / "1" / Address.parse(address).key / str(attempt)
        return (folder / f"{stream}.log").read_text()

    def report(self, size: int = 2, attempt: int = 0) -> tuple[GangFailure, float]:
        """What all ranks of the gang say about its end, and so many seconds after the failure the last one said it."""
        failures, times = set(), []
        for rank in range(size):
            address = Address.parse(f"work/{rank}")
            failures.add(gang_report.read(self.records, address, attempt))
            path = self.store / self.name / "1" / address.key / str(attempt) / "gang.json"
            times.append(path.stat().st_mtime if path.exists() else float("inf"))
        (failure,) = failures
        assert failure is not None
        return failure, max(times) - self.mark_of_failure(attempt).stat().st_mtime

    def mark_of_failure(self, attempt: int = 0) -> Path:
        """The file that is left when something goes wrong in an attempt."""
        return self.folder / f"failing-{attempt}"

    def since_failing(self) -> float:
        """Seconds from the failure to the end of the run."""
        return self.ended - self.mark_of_failure().stat().st_mtime

    # What must not be left -------------------------------------------------------------------------------------------

    def processes(self) -> list[str]:
        """Command lines of everything that was started here and still runs."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environ = (entry / "environ").read_bytes()
                    words = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if self.mark.encode() in environ:
                    found.append(words.replace(b"\0", b" ").decode("utf-8", "replace"))
        return found

    def watch(self) -> SecretsWatch:
        """Looks at what others could see, from here to the end of a block."""
        return SecretsWatch(lambda: [self.scratch, self.home])

    def secret_of(self, purpose: str, attempt: int = 0) -> bytes:
        """What the gang of the step ``work`` has for one purpose in an attempt."""
        (token,) = self.store.rglob("gang.token")
        return derived(body_key(token.read_bytes(), GangName(f"{self.name}/1", "work", attempt)), purpose)

    def secrets(self, watch: SecretsWatch) -> list[bytes]:
        """All that was secret in a run with one gang: what a watch found, and what is made of the gang's token."""
        made = [self.secret_of(purpose, attempt) for purpose in ("ray", "standby") for attempt in range(4)]
        return [*self.tokens(), *(way for secret in made for way in ways_to_write(secret)), *watch.secrets()]

    def tokens(self) -> list[bytes]:
        """The secrets of all gangs, in every way in which they could be written down."""
        secrets = [path.read_bytes() for path in self.store.rglob("gang.token")]
        assert secrets
        return [way for secret in secrets for way in ways_to_write(secret)]

    def assert_clean(self, *said: str, watch: SecretsWatch | None = None) -> None:
        """No process, no file outside the datastore, and no secret anywhere but where it belongs.

        With a watch that means all secrets of the frameworks, and what the watch has seen, too.
        """
        deadline = time.monotonic() + 3
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self.processes() == []
        assert {path.name for path in self.home.iterdir()} <= _NOT_OURS
        beside = {path.name for path in self.folder.iterdir()} - self.beside
        assert not [name for name in beside if not _MADE.fullmatch(name)], beside
        left = sorted(path.name for path in self.scratch.rglob("*"))
        assert not left, left
        in_memory = self.memory.left() if self.memory else []
        assert not in_memory, in_memory
        self.scratch.rmdir()
        tokens = self.tokens() if watch is None else self.secrets(watch)
        if watch is not None:
            watch.assert_unseen(tokens)
        for path in self.store.rglob("*"):
            if path.name == "gang.token":
                assert path.stat().st_mode & 0o777 == 0o600
            elif path.is_file():
                content = path.read_bytes()
                assert not any(token in content for token in tokens), path
        assert not any(token in text.encode() for text in said for token in tokens)
