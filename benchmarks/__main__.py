"""Run the benchmarks, print a table, write benchmarks/RESULTS.md; exit 1 if a target is missed.

``python -m benchmarks [NAME ...]`` runs all of them or those named; the page keeps what it has of the others.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from . import report
from .harness import Bench, Row

ALL = (
    "against_metaflow",
    "per_task",
    "scheduler_memory",
    "large_artifact",
    "compile_time",
    "long_flow",
    "argo",
    "slurm",
    "gangs",
)


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(ALL))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    results: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(prefix="flowc-bench-") as folder:
        bench = Bench(Path(folder))
        for name in names or ALL:
            print(f"\n{name}", flush=True)
            results[name] = importlib.import_module(f".{name}", __package__).measure(bench)
    rows = [row for each in results.values() for row in each]
    print("\n" + report.table(rows))
    report.update(results)
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
