"""A rank that is killed while its script runs: the next attempt begins with what the script had saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from framework_rows import Row
from frameworks_lab import HEAVY, GangLab, require
from test_matrix import ROWS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * HEAVY)]

FLOW = """
import os, signal, threading, time
from flowc import FlowSpec, Parameter, checkpoint, current, retry, step, {decorator}

class MatrixFlow(FlowSpec):
    ranks = Parameter("ranks", type=int, default=2)

    @step
    def start(self):
        self.next(self.work, num_parallel=self.ranks)

    @retry(times=1, minutes_between_retries=0)
    @checkpoint
    @{decorator}
    @step
    def work(self):
        # The machine is lost once something is saved: no process of the rank can do anything any more.
        def lose():
            while current.checkpoint.latest is None:
                time.sleep(0.05)
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

        folder = current.checkpoint.directory
        if current.retry_count == 0 and current.parallel.node_index == {victim}:
            threading.Thread(target=lose, daemon=True).start()
        self.began_with = sorted(os.listdir(folder))
        {run}
        self.left = open(os.path.join(folder, "state")).read()
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass
"""
SCRIPT = """
import os, sys, time
folder, attempt = sys.argv[-2:]
state = os.path.join(folder, "state")
if attempt == "0":
    part = f"{state}.{os.getpid()}.tmp"  # under MPI and DeepSpeed both processes are here
    open(part, "w").write("saved")
    os.rename(part, state)
    time.sleep(120)
"""
RUNS = {
    "torchrun": ('current.torch.run("train.py", [folder, current.retry_count], nproc_per_node=1)', 1),
    "deepspeed": ('current.deepspeed.run("train.py", [folder, current.retry_count], {"num_gpus": 1})', 0),
    "mpi": ('current.mpi.run(program="python train.py", program_args=[folder, current.retry_count])', 0),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_rank_that_is_lost_goes_on_from_what_its_script_has_saved(name: str, tmp_path: Path) -> None:
    run, victim = RUNS[name]
    row: Row = ROWS[name]
    require(row)
    text = FLOW.format(decorator=row.decorator, run=run, victim=victim)
    gang = GangLab(tmp_path, text, {"train.py": SCRIPT})
    said = gang.run()
    assert gang.artifact(f"work/{victim}", "began_with") == ["state"], said
    assert gang.artifact(f"work/{victim}", "left") == "saved", said
    assert f"rank {victim}" in said and "is tried again" in said, said
    gang.assert_clean(said)
