"""``flowc check`` and ``flowc plan`` of a flow of ten steps, compared with importing networkx alone."""

from __future__ import annotations

from .harness import FLOWS, Bench, Row, pairs

WANTED = 3.0


def measure(bench: Bench) -> list[Row]:
    rows = []
    folder = bench.folder("compile")
    for command in ("check", "plan"):
        print(f"  flowc {command}, import networkx", flush=True)
        ours, networkx = pairs(
            9,
            lambda: bench.time([bench.flowc / "flowc", command, FLOWS / "ten_steps.py"], folder),  # noqa: B023
            lambda: bench.time([bench.flowc / "python", "-c", "import networkx"], folder),
        )
        ratio = ours.wall / networkx.wall
        rows.append(
            Row(
                f"flowc {command}, 10 steps",
                f"{ours.wall:.3f} s",
                f"python -c 'import networkx' {networkx.wall:.3f} s",
                f"{ratio:.2f}x",
                f"{WANTED:g}x",
                ratio <= WANTED,
            )
        )
    return rows
