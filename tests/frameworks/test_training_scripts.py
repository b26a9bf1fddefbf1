"""Scripts of Lightning and of Accelerate, which need nothing of flowc, run by ``current.torch.run`` on two hosts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from framework_rows import Row
from frameworks_lab import HEAVY, require
from hosts_gangs import HostsGang
from hosts_lab import HostsLab, require_lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * HEAVY)]

HERE = Path(__file__).parent
BODY = """
out = self.file(f"out-{rank}")
current.torch.run("script.py", [out], nproc_per_node=1)
self.value = open(out).read()
"""


@pytest.mark.parametrize("package", ["lightning", "accelerate"])
def test_gradients_are_averaged_over_all_nodes(package: str) -> None:
    script = (HERE / f"train_with_{package}.py").read_text()
    row = Row("torchrun", BODY, lambda size: [], needs=("torch", package), files={"script.py": script})
    require(row)
    require_lab()
    with HostsLab(2) as lab:
        gang = HostsGang(lab, row)
        assert gang.finish(gang.ranks()) == [0, 0], gang.said
        first, second = (json.loads(gang.artifact(f"work/{rank}", "value")) for rank in range(2))
        gang.assert_nothing_left()
    assert [(each["rank"], each["world"]) for each in (first, second)] == [(0, 2), (1, 2)]
    for each in (first, second):
        assert each["gradient"] == pytest.approx(each["expected"], rel=1e-4)
    assert first["gradient"] == second["gradient"]
    # Each rank saw its own data, and both learnt the same from all of them.
    assert first["losses"][0] != second["losses"][0]
    assert first["losses"][1] == second["losses"][1] < first["losses"][0] / 50
    assert first["weights"] == second["weights"] == pytest.approx([2.0, -1.0], abs=0.2)


FIT = """
import os
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tensorflow as tf

with tf.distribute.MultiWorkerMirroredStrategy().scope():
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(1,))])
    model.compile(tf.keras.optimizers.SGD(0.1), "mse")
x = tf.random.stateless_normal([512, 1], seed=[1, 2])
seen = model.fit(tf.data.Dataset.from_tensor_slices((x, 3 * x - 1)).batch(64), epochs=5, verbose=0)
replicas = model.distribute_strategy.num_replicas_in_sync
weights = [float(each.item()) for each in model.get_weights()]
self.value = [type(model).__module__, replicas, seen.history["loss"], weights]
"""


def test_legacy_keras_fits_over_all_nodes() -> None:
    """Keras 3 has no `fit` under this strategy; who wants one asks for Keras 2, as in a script without flowc."""
    row = Row("tensorflow", FIT, lambda size: [], needs=("tensorflow", "tf_keras"))
    require(row)
    require_lab()
    with HostsLab(2) as lab:
        gang = HostsGang(lab, row)
        assert gang.finish(gang.ranks()) == [0, 0], gang.said
        first, second = (gang.artifact(f"work/{rank}", "value") for rank in range(2))
        gang.assert_nothing_left()
    module, replicas, losses, weights = first
    assert module.startswith("tf_keras.") and replicas == 2
    assert losses == second[2] and losses[-1] < losses[0] / 50
    assert weights == second[3] == pytest.approx([3.0, -1.0], abs=0.1)
