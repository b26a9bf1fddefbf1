"""Whether the time to compile grows linearly with the number of steps: 500, 1000 and 2000, and 10 for the start.

Growth is judged by the least CPU time of each size: what else the machine does can only add to it.
"""

from __future__ import annotations

from pathlib import Path

from .harness import Bench, Row

SIZES = (10, 500, 1000, 2000)
ROUNDS = 5
WANTED = 2.8
"""2000 steps may take so many times as long as 1000, both less what 10 take: 2 is linear, 4 is squared."""


def source(steps: int) -> str:
    """A flow of that many steps: stretches of a split with two branches, a join, and a foreach with its join."""
    lines = ["from flowc import FlowSpec, step", "", "", "class LongFlow(FlowSpec):"]

    def add(name: str, body: str, inputs: str = "") -> None:
        lines.extend(["    @step", f"    def {name}(self{inputs}):", *(f"        {s}" for s in body.split("; ")), ""])

    names = iter(["start", *(f"s{number}" for number in range(1, steps - 1)), "end"])
    here = next(names)
    made = 1
    while made + 7 < steps:
        a, b, join, opener, each, back, after = (next(names) for _ in range(7))
        add(here, f"self.x = 1; self.next(self.{a}, self.{b})")
        add(a, f"self.y = 1; self.next(self.{join})")
        add(b, f"self.z = 1; self.next(self.{join})")
        add(join, f"self.merge_artifacts(inputs); self.next(self.{opener})", ", inputs")
        add(opener, f"self.items = [1, 2, 3]; self.next(self.{each}, foreach='items')")
        add(each, f"self.w = self.input; self.next(self.{back})")
        add(back, f"self.total = sum(i.w for i in inputs); self.next(self.{after})", ", inputs")
        here, made = after, made + 7
    for name in names:
        add(here, f"self.next(self.{name})")
        here, made = name, made + 1
    assert made == steps and here == "end"
    add(here, "pass")
    return "\n".join(lines)


def measure(bench: Bench) -> list[Row]:
    folder = bench.folder("long")
    files: dict[int, Path] = {}
    for size in SIZES:
        files[size] = folder / f"flow_{size}.py"
        files[size].write_text(source(size), "utf-8")
    rows = []
    for command in ("check", "plan"):
        taken: dict[int, list[float]] = {size: [] for size in SIZES}
        for number in range(ROUNDS + 1):
            for size in SIZES:
                cost = bench.time([bench.flowc / "flowc", command, files[size]], folder)
                if number:
                    taken[size].append(cost.cpu)
        t = {size: min(taken[size]) for size in SIZES}
        print("  " + ", ".join(f"{size} steps: {t[size]:.3f} s" for size in SIZES), flush=True)
        growth = (t[2000] - t[10]) / (t[1000] - t[10])
        rows.append(
            Row(
                f"flowc {command}, 2000 steps",
                f"{t[2000]:.2f} s CPU ({(t[2000] - t[10]) / 1.99:.2f} ms a step)",
                f"10: {t[10]:.2f} s, 500: {t[500]:.2f} s, 1000: {t[1000]:.2f} s",
                f"{growth:.2f} times 1000 (2 is linear)",
                f"{WANTED:g}",
                growth <= WANTED,
            )
        )
    return rows
