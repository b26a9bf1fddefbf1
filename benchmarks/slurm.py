"""From submit to end on a real Slurm: flows, and the same jobs written by hand (slurm_by_hand.py), on one cluster.

The cluster is the one of the tests, four nodes of this machine. Slurm looks for jobs to start once a second, and at
once when a node reports the end of an epilog: with one, as most clusters have it, jobs follow each other without pause,
and what the jobs themselves take shows; without one, much of the time is Slurm's clock.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .harness import FLOWS, HOUSE, Bench, Cost, Row, pairs
from .slurm_by_hand import write_chain, write_foreach

CLUSTERS = {"": {}, ", with an epilog": {"Epilog": "/bin/true"}}
CHAIN = 10
WIDTH = 200
WANTED = 1.15
_PATIENCE = 300.0


def measure(bench: Bench) -> list[Row]:
    for folder in ("hosts", "slurm"):
        sys.path.insert(0, str(HOUSE / "tests" / "labs" / folder))
    from slurm_lab import SlurmLab, slurm_obstacle

    why = slurm_obstacle()
    if why is not None:
        raise SystemExit(f"no Slurm cluster here: {why}")
    rows = []
    for name, extra in CLUSTERS.items():
        with SlurmLab(extra=extra) as lab:
            cluster = _Cluster(bench, lab)
            rows += [
                cluster.row(f"chain of {CHAIN}{name}", 5, "chain_of_10.py", (), write_chain, CHAIN),
                cluster.row(f"foreach of {WIDTH}{name}", 3, "wide.py", ("--width", str(WIDTH)), write_foreach, WIDTH),
            ]
    return rows


class _Cluster:
    def __init__(self, bench: Bench, lab: Any) -> None:
        self.bench = bench
        self.lab = lab
        self.python = str(bench.flowc / "python")
        cluster = {name: lab.env[name] for name in ("PATH", "SLURM_CONF")}
        self.environment = {**bench.environment(), **cluster, "FLOWC_PYTHON": self.python}

    def row(
        self,
        what: str,
        rounds: int,
        flow: str,
        options: tuple[str, ...],
        write: Callable[[Path, str, int], Path],
        size: int,
    ) -> Row:
        print(f"  {what}: flowc, by hand", flush=True)
        ours, hand = pairs(rounds, lambda: self._flow(flow, options), lambda: self._by_hand(write, size))
        ratio = ours.wall / hand.wall
        return Row(
            f"Slurm: {what}", f"{ours.wall:.2f} s", f"sbatch by hand {hand.wall:.2f} s", f"{ratio:.2f}x",
            f"{WANTED:g}x", ratio <= WANTED,
        )  # fmt: skip

    def _flow(self, flow: str, options: tuple[str, ...]) -> Cost:
        # As by hand, the scripts are there before. One store for each flow: its code is staged with the first run.
        store, manifests = self.lab.shared / flow, self.lab.shared / "manifests" / flow
        if not manifests.exists():
            words = ["compile", str(FLOWS / flow), "--target", "slurm", "-o", str(manifests)]
            self.lab.run([str(self.bench.flowc / "flowc"), *words], self.environment, check=True)
        words = [str(manifests / "slurm" / "submit.sh"), "--datastore", str(store), *options]
        begin = time.perf_counter()
        done = self.lab.run(words, self.environment, check=True, cwd=self.lab.shared)
        (run,) = store.glob(f"*/{done.stdout.strip()}")
        return self._until(run / "slurm" / "ended.json", begin)

    def _by_hand(self, write: Callable[[Path, str, int], Path], size: int) -> Cost:
        folder = Path(tempfile.mkdtemp(dir=self.lab.shared))
        last = write(folder, self.python, size)
        begin = time.perf_counter()
        self.lab.run(["bash", "submit.sh"], self.environment, check=True, cwd=folder)
        return self._until(last, begin)

    def _until(self, file: Path, begin: float) -> Cost:
        while not file.exists():
            if time.perf_counter() - begin > _PATIENCE:
                raise SystemExit(f"{file} does not come\n{self.lab.logs()}")
            time.sleep(0.02)
        took = time.perf_counter() - begin
        if file.name == "ended.json" and json.loads(file.read_text())["state"] != "done":
            raise SystemExit(file.read_text())
        self.lab.wait_idle()
        return Cost(took, 0.0)
