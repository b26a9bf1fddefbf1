"""What it costs to store and to load an artifact of 1 GB, compared with hashing and writing the same bytes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from .harness import Bench, Row

WANTED = 1.3
WANTED_LOAD = 0.01  # seconds; "at no cost" within what a clock and a file system can show


def measure(bench: Bench) -> list[Row]:
    folder = bench.folder("large")
    script = Path(__file__).with_name("large_artifact_task.py")
    done = subprocess.run(
        [bench.flowc / "python", script, folder], env=bench.environment(), check=True, capture_output=True, text=True
    )
    print("  " + done.stdout.strip(), flush=True)
    took = json.loads(done.stdout)
    ratio = took["store"] / took["bytes"]
    return [
        Row(
            "store 1 GB of float64",
            f"{took['store']:.2f} s",
            f"SHA-256 and write, no fsync: {took['bytes']:.2f} s",
            f"{ratio:.2f}x",
            f"{WANTED:g}x",
            ratio <= WANTED,
        ),
        Row(
            "load 1 GB of float64, untouched",
            f"{took['load'] * 1000:.2f} ms",
            f"reading it all: {took['read']:.2f} s",
            "",
            f"{WANTED_LOAD * 1000:g} ms",
            took["load"] <= WANTED_LOAD,
        ),
    ]
