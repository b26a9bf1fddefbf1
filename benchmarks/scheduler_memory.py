"""How much the scheduler grows with the number of tasks: peak memory of its process in a wide and a narrow run."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

from .harness import FLOWS, Bench, Row

WIDE, NARROW = 10_000, 10
WANTED = 2048  # bytes a task


def measure(bench: Bench) -> list[Row]:
    narrow, wide = _peak(bench, NARROW), _peak(bench, WIDE)
    each = (wide - narrow) / (WIDE - NARROW)
    return [
        Row(
            f"scheduler memory, foreach of {WIDE}",
            f"{each:.0f} B a task ({wide / 2**20:.1f} MiB)",
            f"foreach of {NARROW}: {narrow / 2**20:.1f} MiB",
            "",
            f"{WANTED} B",
            each < WANTED,
        )
    ]


def _peak(bench: Bench, width: int) -> int:
    """Bytes of resident memory that the scheduler had at most. It is the process started here; tasks are others."""
    command = [bench.flowc / "flowc", "run", FLOWS / "wide.py", "--width", str(width)]
    peak = 0
    with (bench.scratch / "output.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=bench.folder("flowc"), env=bench.environment(), stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
            except OSError:
                break
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            peak = max(peak, int(found[1]) * 1024 if found else 0)
            time.sleep(0.01)
        if process.wait():
            raise SystemExit(f"the run of width {width} failed: see {output.name}")
    print(f"  width {width}: {peak / 2**20:.1f} MiB", flush=True)
    return peak
