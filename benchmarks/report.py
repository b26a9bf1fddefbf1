"""The table of results, and the page it is kept on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from .harness import METAFLOW, Row

PAGE = Path(__file__).resolve().parent / "RESULTS.md"
_HEAD = f"""# Results

Written by `make bench`, a section for each benchmark. Times are medians of whole processes, taken in turns (A B A B
...) on one machine in one run; the peer is Metaflow {METAFLOW} in an environment of its own.
"""
HEADS = ("what", "flowc", "compared with", "ratio", "target", "")


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table whose columns are aligned."""
    lines = [HEADS, *((r.what, r.flowc, r.reference, r.ratio, r.target, "met" if r.ok else "MISSED") for r in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def update(results: Mapping[str, Sequence[Row]]) -> None:
    """Put the results of some benchmarks on the page; what it has of the others stays.

    Parameters
    ----------
    results : mapping
        From a benchmark's name to its rows.
    """
    page = PAGE.read_text("utf-8") if PAGE.exists() else ""
    sections = {name: text.strip() for name, _, text in (part.partition("\n") for part in page.split("\n## ")[1:])}
    taken = f"Taken on {date.today().isoformat()}: {machine()}."
    sections |= {name: f"{taken}\n\n{table(rows)}" for name, rows in results.items()}
    PAGE.write_text(_HEAD + "".join(f"\n## {name}\n\n{sections[name]}\n" for name in sorted(sections)), "utf-8")


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
