"""From submit to end on a real Slurm: flows, and the same jobs written by hand (slurm_by_hand.py), on one cluster.

The cluster is the one of the tests, four nodes of this machine. Without an epilog Slurm's two schedulers look for jobs
to start once a second each, and how far apart they look is settled when the controller starts: where a job fits between
the two, a chain takes half the time, whoever wrote it. So flows run on several clusters in turn, and the means are
compared. With an epilog, as many clusters have it, Slurm looks at once when a node reports its end: jobs follow each
other without pause, and what the jobs themselves take shows.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .harness import FLOWS, HOUSE, Bench, Cost, Row, pairs
from .slurm_by_hand import write_chain, write_foreach

EPILOG = {"Epilog": "/bin/true"}
CHAIN_STARTS, WIDE_STARTS = 8, 6
"""Clusters that a chain runs on, twice on each, and that a foreach runs on, once on each."""
CHAIN = 10
WIDTH = 200
WANTED = 1.15
_PATIENCE = 300.0
_CHAIN_FLOW = ("chain_of_10.py", (), write_chain, CHAIN)
_WIDE_FLOW = ("wide.py", ("--width", str(WIDTH)), write_foreach, WIDTH)


def measure(bench: Bench) -> list[Row]:
    for folder in ("hosts", "slurm"):
        sys.path.insert(0, str(HOUSE / "tests" / "labs" / folder))
    from slurm_lab import SlurmLab, slurm_obstacle

    why = slurm_obstacle()
    if why is not None:
        raise SystemExit(f"no Slurm cluster here: {why}")
    rows = [
        _over_clusters(bench, SlurmLab, f"chain of {CHAIN}", CHAIN_STARTS, 2, *_CHAIN_FLOW),
        _over_clusters(bench, SlurmLab, f"foreach of {WIDTH}", WIDE_STARTS, 1, *_WIDE_FLOW),
    ]
    with SlurmLab(extra=EPILOG) as lab:
        cluster = _Cluster(bench, lab)
        rows.append(cluster.row(f"chain of {CHAIN}, with an epilog", 5, *_CHAIN_FLOW))
        rows.append(cluster.row(f"foreach of {WIDTH}, with an epilog", 3, *_WIDE_FLOW))
    return rows


def _over_clusters(
    bench: Bench,
    start: Callable[[], Any],
    what: str,
    starts: int,
    each: int,
    flow: str,
    options: tuple[str, ...],
    write: Callable[[Path, str, int], Path],
    size: int,
) -> Row:
    print(f"  {what} on {starts} clusters: flowc, by hand", flush=True)
    ours, hand = [], []
    for number in range(starts):
        with start() as lab:
            cluster = _Cluster(bench, lab)
            for again in range(each):
                # Who comes second finds a warmer cluster.
                for by_hand in (True, False) if (number + again) % 2 else (False, True):
                    if by_hand:
                        hand.append(cluster.by_hand(write, size).wall)
                    else:
                        ours.append(cluster.flow(flow, options).wall)
                print(f"  {number + 1}: {ours[-1]:.3f} s, {hand[-1]:.3f} s", flush=True)
    return _row(f"{what}, mean of {starts} clusters", statistics.mean(ours), statistics.mean(hand))


def _row(what: str, ours: float, hand: float) -> Row:
    ratio = ours / hand
    return Row(
        f"Slurm: {what}", f"{ours:.2f} s", f"sbatch by hand {hand:.2f} s", f"{ratio:.2f}x",
        f"{WANTED:g}x", ratio <= WANTED,
    )  # fmt: skip


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
        ours, hand = pairs(rounds, lambda: self.flow(flow, options), lambda: self.by_hand(write, size))
        return _row(what, ours.wall, hand.wall)

    def flow(self, flow: str, options: tuple[str, ...]) -> Cost:
        """Submit a flow and wait for the end of its run."""
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

    def by_hand(self, write: Callable[[Path, str, int], Path], size: int) -> Cost:
        """Submit the jobs and wait for the last one's file."""
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
