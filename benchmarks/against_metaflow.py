"""Whole runs of one and the same file under flowc and under Metaflow."""

from __future__ import annotations

from .harness import FLOWS, Bench, Row, pairs

# what, file, rounds, how many times faster flowc has to be
CASES = (
    ("3 steps", "three_steps.py", 7, 5),
    ("foreach of 50", "foreach_50.py", 3, 25),
    ("gang of 4", "gang_of_4.py", 5, 5),
)


def measure(bench: Bench) -> list[Row]:
    rows = []
    for what, file, rounds, wanted in CASES:
        print(f"  {what}: flowc, Metaflow", flush=True)
        here, there = bench.folder("flowc"), bench.folder("metaflow")
        ours, theirs = pairs(
            rounds,
            lambda: bench.time([bench.flowc / "flowc", "run", FLOWS / file], here),  # noqa: B023
            lambda: bench.time([bench.metaflow / "python", FLOWS / file, "run"], there),  # noqa: B023
        )
        ratio = theirs.wall / ours.wall
        rows.append(
            Row(
                f"run: {what}",
                f"{ours.wall:.2f} s ({ours.cpu:.2f} s CPU)",
                f"Metaflow {theirs.wall:.2f} s ({theirs.cpu:.2f} s CPU)",
                f"{ratio:.1f}x faster, {theirs.cpu / ours.cpu:.1f}x less CPU",
                f"{wanted}x faster",
                ratio >= wanted,
            )
        )
    return rows
