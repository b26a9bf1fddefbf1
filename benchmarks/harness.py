"""What all benchmarks share: the two installations, timing whole processes, and pairs of measurements.

A and B alternate (A B A B ...), so that what else the machine does meets both; medians are compared, or the two of
each pair. CPU time is that of the process and of everything it has waited for.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1]
FLOWS = Path(__file__).resolve().parent / "flows"
VENVS = HOUSE / ".venvs"
METAFLOW = "2.19.39"


@dataclass(frozen=True)
class Cost:
    """What a process took, in seconds."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Row:
    """One result: flowc's number, what it is compared with, and whether the target is met."""

    what: str
    flowc: str
    reference: str
    ratio: str
    target: str
    ok: bool


class Bench:
    """Where the benchmarks run: a scratch folder, and an installation each of flowc and Metaflow."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._folders = 0

    @cached_property
    def flowc(self) -> Path:
        """The folder of programs of a regular installation of this tree, made anew for each run."""
        bin_ = _venv("flowc", ["numpy>=1.26"])
        shutil.rmtree(HOUSE / "build", ignore_errors=True)  # or files that are gone from the tree would be installed
        _pip(bin_, ["--upgrade", str(HOUSE)])
        _pip(bin_, ["--force-reinstall", "--no-deps", str(HOUSE)])
        shutil.rmtree(HOUSE / "build", ignore_errors=True)
        return bin_

    @cached_property
    def metaflow(self) -> Path:
        """The folder of programs of an installation of Metaflow, with what it needs to write for Argo."""
        return _venv("metaflow", [f"metaflow=={METAFLOW}", "kubernetes>=30,<37"])

    def folder(self, name: str) -> Path:
        """A new folder to run in.

        All of them stay until the end: for minutes after many files have been deleted, ext4 looks through the deleted
        ones whenever it creates a file, which would be measured along with what comes next.
        """
        self._folders += 1
        folder = self.scratch / f"{name}-{self._folders}"
        folder.mkdir(parents=True)
        return folder

    def time(self, command: Sequence[str | Path], folder: Path, settings: Mapping[str, str] | None = None) -> Cost:
        """Run a command to its end, with further variables, and say what it took; a failure ends the benchmarks with
        its output."""
        log = self.scratch / "output.log"
        environment = {**self.environment(), **(settings or {})}
        # As if the program's environment were activated: Metaflow starts the ranks of a gang as plain python.
        environment["PATH"] = f"{Path(command[0]).parent}{os.pathsep}{environment['PATH']}"
        with log.open("wb") as output:
            begin = time.perf_counter()
            process = subprocess.Popen(
                list(map(str, command)), cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-20:])
            raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{tail}")
        return Cost(wall, usage.ru_utime + usage.ru_stime)

    def environment(self) -> dict[str, str]:
        """The environment of what is measured: no settings from outside, bytecode caches as users have them."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FLOWC_", "METAFLOW_", "PYTHON")) and name != "VIRTUAL_ENV"
        }
        return {**kept, "HOME": str(self.scratch), "USER": "bench", "USERNAME": "bench"}


def pairs(rounds: int, a: Callable[[], Cost], b: Callable[[], Cost]) -> tuple[Cost, Cost]:
    """The medians of two measurements that alternate, after one of each that does not count."""
    ours, theirs, _ = pairs_and_more(rounds, a, b)
    return ours, theirs


def pairs_and_more(rounds: int, a: Callable[[], Cost], b: Callable[[], Cost]) -> tuple[Cost, Cost, float]:
    """The same, and the seconds by which the first takes longer: the median of the differences within the pairs.

    Where both take long and differ little, a machine that is slower for a minute moves the medians by more than that.
    """
    taken_a, taken_b = [], []
    for number in range(rounds + 1):
        cost_a, cost_b = a(), b()
        print(f"  {number or 'warm-up'}: {cost_a.wall:.3f} s, {cost_b.wall:.3f} s", flush=True)
        if number:
            taken_a.append(cost_a)
            taken_b.append(cost_b)
    more = statistics.median(one.wall - other.wall for one, other in zip(taken_a, taken_b, strict=True))
    return _median(taken_a), _median(taken_b), more


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(statistics.median(c.wall for c in costs), statistics.median(c.cpu for c in costs))


def _venv(name: str, packages: Sequence[str]) -> Path:
    bin_ = VENVS / name / "bin"
    if not (bin_ / "python").exists():
        print(f"  making {(VENVS / name).relative_to(HOUSE)} with {', '.join(packages)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", VENVS / name], check=True)
    _pip(bin_, packages)
    return bin_


def _pip(bin_: Path, arguments: Sequence[str]) -> None:
    command = [bin_ / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)
