"""What a task costs in a wide foreach, compared with the least that a process of its own for each task costs."""

from __future__ import annotations

from pathlib import Path

from .harness import FLOWS, Bench, Row, pairs

TASKS = 5000
WANTED = 4.0


def measure(bench: Bench) -> list[Row]:
    print("  flowc, floor", flush=True)
    flow = FLOWS / "wide.py"
    script = Path(__file__).with_name("floor.py")
    ours, floor = pairs(
        3,
        lambda: bench.time([bench.flowc / "flowc", "run", flow, "--width", str(TASKS)], bench.folder("flowc")),
        lambda: bench.time([bench.flowc / "python", script, str(TASKS), folder := bench.folder("floor")], folder),
    )
    ratio = ours.wall / floor.wall
    return [
        Row(
            f"run: foreach of {TASKS}",
            f"{ours.wall / TASKS * 1000:.2f} ms a task ({ours.cpu / TASKS * 1000:.2f} ms CPU)",
            f"fork + pickle + rename {floor.wall / TASKS * 1000:.2f} ms ({floor.cpu / TASKS * 1000:.2f} ms CPU)",
            f"{ratio:.2f}x",
            f"{WANTED:g}x",
            ratio <= WANTED,
        )
    ]
