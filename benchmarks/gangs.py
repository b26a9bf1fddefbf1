"""What a gang costs: forming it, and what flowc adds to a framework that is started by hand."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from .harness import FLOWS, Bench, Row, pairs_and_more

FORM = {4: 0.5, 64: 3.0}
"""Seconds in which a gang of so many ranks has formed and ended."""
REPORT = 3.0
"""Seconds after which the report of the first rank that fails is there."""
MORE = 0.5
"""Seconds that a flow with a torchrun step may take longer than the same torchrun, and with Ray than ray start."""


def measure(bench: Bench) -> list[Row]:
    return [*_forming(bench), *_reports(bench), *_torchrun(bench), *_ray(bench)]


def _reports(bench: Bench) -> list[Row]:
    """From the moment at which a rank fails to the end of ``flowc run``, whose last words are the report."""
    rows = []
    for what, words, said in (
        ("gang of 4", ["failing_gang.py"], "train/2 failed: ValueError: this rank gives up"),
        ("torchrun of 2", ["torchrun_gang.py", "--script", "failing_script.py"], "ValueError: this rank gives up"),
    ):
        print(f"  a rank fails, {what}", flush=True)
        took = sorted(_report(bench, words, said) for _ in range(3))
        print(f"  {', '.join(f'{seconds:.3f} s' for seconds in took)}", flush=True)
        rows.append(
            Row(
                f"a rank fails, {what}", f"told after {took[1]:.2f} s", f"at most {took[-1]:.2f} s", "",
                f"{REPORT:g} s", took[-1] <= REPORT,
            )
        )  # fmt: skip
    return rows


def _report(bench: Bench, words: list[str], said: str) -> float:
    folder = bench.folder("failing")
    failed_at = folder / "failed-at"
    done = subprocess.run(
        [sys.executable, "-m", "flowc", "run", str(FLOWS / words[0]), *words[1:]],
        cwd=folder,
        env={**bench.environment(), "BENCH_FAILED_AT": str(failed_at)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    ended = time.time()
    if done.returncode != 1 or said not in done.stdout:
        raise SystemExit(f"{words[0]} ended with {done.returncode}:\n{done.stdout}")
    return ended - float(failed_at.read_text())


def _forming(bench: Bench) -> list[Row]:
    rows = []
    for size, wanted in FORM.items():
        print(f"  a gang of {size}, as many bare processes", flush=True)
        command = [bench.flowc / "python", Path(__file__).with_name("gang_formation.py"), str(size)]
        done = subprocess.run(
            list(map(str, command)), env=bench.environment(), check=True, stdout=subprocess.PIPE, text=True
        )
        took, bare = map(float, done.stdout.split())
        rows.append(
            Row(
                f"gang of {size} forms and ends",
                f"{took:.2f} s",
                f"the processes alone {bare:.2f} s",
                f"{took - bare:.2f} s more",
                f"{wanted:g} s",
                took <= wanted,
            )
        )
    return rows


def _torchrun(bench: Bench) -> list[Row]:
    if importlib.util.find_spec("torch") is None:
        raise SystemExit("torch is not installed; `make test` installs the frameworks")
    print("  torchrun under flowc, torchrun by hand", flush=True)
    flow, script, hand = FLOWS / "torchrun_gang.py", FLOWS / "all_reduce.py", Path(__file__).with_name("by_hand.py")
    # In this environment, which has torch: the two differ in nothing but who starts torchrun.
    ours, bare, more = pairs_and_more(
        5,
        lambda: bench.time([sys.executable, "-m", "flowc", "run", flow], bench.folder("flowc")),
        lambda: bench.time([sys.executable, hand, script], bench.folder("by_hand")),
    )
    return [
        Row(
            "run: torchrun on a gang of 2",
            f"{ours.wall:.2f} s",
            f"torchrun by hand {bare.wall:.2f} s",
            f"{more:+.2f} s in a pair",
            f"{MORE:g} s more",
            more <= MORE,
        )
    ]


def _ray(bench: Bench) -> list[Row]:
    if importlib.util.find_spec("ray") is None:
        raise SystemExit("ray is not installed; `make test` installs the frameworks")
    print("  Ray on a gang, ray start by hand", flush=True)
    flow, hand = FLOWS / "ray_gang.py", Path(__file__).with_name("ray_by_hand.py")
    ours, bare, more = pairs_and_more(
        3,
        lambda: bench.time([sys.executable, "-m", "flowc", "run", flow], bench.folder("flowc")),
        lambda: bench.time([sys.executable, hand], bench.folder("by_hand")),
    )
    return [
        Row(
            "run: Ray on a gang of 2",
            f"{ours.wall:.2f} s",
            f"ray start by hand {bare.wall:.2f} s",
            f"{more:+.2f} s in a pair",
            f"{MORE:g} s more",
            more <= MORE,
        )
    ]
