"""A gang that is asked to end: its framework's processes have time to save, and the next attempt uses up no retry.

What `@parallel` and MPI do then, and torchrun with checkpoints, is tested with them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from framework_rows import Row
from frameworks_lab import HEAVY, GangLab, require
from test_matrix import ROWS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * HEAVY)]

ASK = """
def ask_when(*names):
    # As a scheduler does it, which knows nothing of what runs inside: SIGTERM to the rank's own process.
    def ask():
        while not all(os.path.exists(self.file(name)) for name in names):
            time.sleep(0.05)
        os.kill(os.getppid(), 15)
    import threading
    threading.Thread(target=ask, daemon=True).start()

def save():
    time.sleep(0.5)
    open(self.file(f"saved-{rank}"), "w").close()

self.value = current.retry_count
"""

TORCHRUN = """
if current.retry_count == 0:
    if rank == 0:
        ask_when("ready-0", "ready-1")
    current.torch.run("wait.py", nproc_per_node=1)
"""
DEEPSPEED = """
if current.retry_count == 0:
    ask_when("ready-0", "ready-1")
    current.deepspeed.run("wait.py")
"""
WAIT = """
import os, signal, sys, time
here, rank = os.path.dirname(os.path.abspath(__file__)), os.environ["RANK"]
def save(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as many do: asked once more, it ends at once
    time.sleep(0.5)
    open(os.path.join(here, f"saved-{rank}"), "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
open(os.path.join(here, f"ready-{rank}"), "w").close()
while True:
    time.sleep(1)
"""

# The step still has the whole cluster while it puts things in order.
RAY = """
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init()
here = ray.get_runtime_context().get_node_id()
other = next(node["NodeID"] for node in ray.nodes() if node["NodeID"] != here)

class Trainer:
    def train(self, ready):
        open(ready, "w").close()
        time.sleep(60)

    def save(self, file):
        open(file, "w").close()

if current.retry_count == 0:
    make = ray.remote(max_concurrency=2, num_cpus=0)(Trainer)
    trainer = make.options(scheduling_strategy=On(other, soft=False)).remote()
    ask_when("ready")
    try:
        ray.get(trainer.train.remote(self.file("ready")))
    finally:
        save()
        ray.get(trainer.save.remote(self.file("saved-1")))
"""
DASK = """
if current.retry_count == 0:
    workers = current.dask.scheduler_info()["workers"]
    other = next(address for address, info in workers.items() if info["name"] == "rank1")

    def train(ready):
        open(ready, "w").close()
        time.sleep(60)

    ask_when("ready")
    try:
        current.dask.submit(train, self.file("ready"), workers=[other]).result()
    finally:
        save()
        current.dask.run(lambda file: open(file, "w").close(), self.file("saved-1"), workers=[other])
"""
IN_THE_BODY = """
if current.retry_count == 0:
    try:
        current.parallel.barrier()
        if rank == 1:
            time.sleep(0.5)  # TensorFlow has just taken the signal, and keeps it for a moment
            ask_when()
        time.sleep(60)
    finally:
        save()
"""
TENSORFLOW = """
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
"""
JAX = """
import jax
assert jax.process_count() == 2
"""

# A step that asks for JAX's own service gets no exception: all nodes are told at the same point of their loops.
JAX_ITSELF = """
from jax.experimental import multihost_utils
if current.retry_count == 0:
    current.parallel.barrier()
    if rank == 1:
        ask_when()
    number = 0
    while not multihost_utils.reached_preemption_sync_point(number):
        time.sleep(0.05)
        number += 1
    save()
    sys.exit(f"asked to end at {number}")
"""

BODIES = {
    "torchrun": TORCHRUN,
    "deepspeed": DEEPSPEED,
    "ray": RAY,
    "dask": DASK,
    "tensorflow": TENSORFLOW + IN_THE_BODY,
    "jax": JAX + IN_THE_BODY,
}


def preempted(name: str, body: str, tmp_path: Path, **variables: str) -> str:
    """Run a gang that is asked to end in its first attempt; what the run printed."""
    of_the_matrix = ROWS[name]
    row = Row(of_the_matrix.decorator, ASK + body, of_the_matrix.values, needs=of_the_matrix.needs)
    require(row)
    gang = GangLab(tmp_path, row.flow(retry=True), {"wait.py": WAIT})
    said = gang.run(FLOWC_PREEMPT_GRACE="60", **variables)
    assert gang.artifact("work/0", "value") == 1, said
    assert [(tmp_path / f"saved-{rank}").exists() for rank in range(2)] == [True, True], said
    gang.assert_clean(said)
    return said


@pytest.mark.parametrize("name", BODIES)
def test_what_runs_has_time_to_save_and_the_next_attempt_is_no_retry(name: str, tmp_path: Path) -> None:
    said = preempted(name, BODIES[name], tmp_path)
    asked = 1 if IN_THE_BODY in BODIES[name] else 0
    assert f"Preempted: rank {asked}" in said and "was asked to end by SIGTERM" in said, said


def test_jax_has_its_own_service_where_it_is_asked_for(tmp_path: Path) -> None:
    said = preempted("jax", JAX_ITSELF, tmp_path, JAX_ENABLE_PREEMPTION_SERVICE="1")
    points = re.findall(r"asked to end at (\d+)", said)
    assert len(set(points)) == 1 and "Preempted: rank 1" in said, said


LONG = """
self.found = current.checkpoint.load() is not None
self.grace = os.environ["FLOWC_PREEMPT_GRACE"]
if current.retry_count == 0:
    try:
        current.parallel.barrier()
        if rank == 0:
            os.kill(os.getppid(), 15)
        time.sleep(60)
    finally:
        time.sleep(6 * rank)
        open(os.path.join(current.checkpoint.directory, "state"), "w").close()
        current.checkpoint.save()
"""


def test_a_rank_saves_for_as_long_as_its_step_says(tmp_path: Path) -> None:
    # Longer than the 4 s that a rank has on this machine otherwise.
    text = Row("parallel", LONG, lambda size: []).flow(retry=True)
    text = text.replace("    @parallel", "    @checkpoint(grace=10)\n    @parallel")
    gang = GangLab(tmp_path, f"from flowc import checkpoint\n{text}")
    said = gang.run()
    assert "Preempted: rank 0" in said and "was asked to end by SIGTERM" in said, said
    assert [gang.artifact(f"work/{rank}", "found") for rank in range(2)] == [True, True], said
    assert gang.artifact("work/1", "grace") == "10", said
    gang.assert_clean(said)
