"""The table of results, and the page it is kept on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from .harness import METAFLOW, Row

PAGE = Path(__file__).resolve().parent / "RESULTS.md"
HEADS = ("what", "flowc", "compared with", "ratio", "target", "")


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table whose columns are aligned."""
    lines = [HEADS, *((r.what, r.flowc, r.reference, r.ratio, r.target, "met" if r.ok else "MISSED") for r in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def write(rows: Sequence[Row]) -> None:
    """Write the page of results."""
    PAGE.write_text(
        "# Results\n\n"
        "Written by `make bench`. Times are medians of whole processes, taken in turns (A B A B ...) on one machine in "
        f"one run; the peer is Metaflow {METAFLOW} in an environment of its own.\n\n"
        f"Machine: {machine()}.\n\n{table(rows)}\n",
        "utf-8",
    )


def machine() -> str:
    """What the numbers were taken on, in words."""
    model = next((v for k, v in _pairs("/proc/cpuinfo") if k == "model name"), platform.machine())
    memory = next((int(v.split()[0]) for k, v in _pairs("/proc/meminfo") if k == "MemTotal"), 0)
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores ({model}), {memory / 2**20:.0f} GiB of memory, Python {platform.python_version()}, Linux"


def _pairs(file: str) -> list[tuple[str, str]]:
    try:
        lines = Path(file).read_text("utf-8").splitlines()
    except OSError:
        return []
    return [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]
