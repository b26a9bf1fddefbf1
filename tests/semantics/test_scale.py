"""Wide flows: the scheduler's memory, and the promises that only show with thousands of tasks."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_target import Local, clean_environment, flowc

pytestmark = pytest.mark.slow

WriteFlow = Callable[..., Path]

WIDE = """
from DSL import FlowSpec, Parameter, step

class WideFlow(FlowSpec):
    width = Parameter("width", default=10)

    @step
    def start(self):
        self.items = range(self.width)
        self.next(self.work, foreach="items")

    @step
    def work(self):
        self.square = self.input * self.input
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(i.square for i in inputs)
        self.count = len(inputs)
        self.next(self.end)

    @step
    def end(self):
        print("total", self.total, "count", self.count)

if __name__ == "__main__":
    WideFlow()
"""


def peak_of(target: Local, file: Path, width: int) -> tuple[int, str]:
    """Peak memory of the scheduler alone in KiB, and what it printed."""
    peak = 0
    output = target.folder / f"output-{width}"
    with open(output, "w") as out:
        process = subprocess.Popen(
            flowc("run", str(file), "--datastore", str(target.root), "--width", str(width)),
            stdout=out,
            stderr=subprocess.STDOUT,
            env=clean_environment(),
        )
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            peak = max(peak, int(found.group(1)) if found else 0)
            time.sleep(0.02)
        assert process.wait() == 0, output.read_text()[-3000:]
    return peak, output.read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_scheduler_needs_less_than_2_kb_a_task(target: Local, write_flow: WriteFlow) -> None:
    file = write_flow(WIDE)
    small, _ = peak_of(target, file, 100)
    large, said = peak_of(target, file, 5_000)
    assert f"total {sum(n * n for n in range(5_000))} count 5000" in said
    a_task = (large - small) * 1024 / 4_900
    assert a_task < 2048, f"{a_task:.0f} bytes a task"
