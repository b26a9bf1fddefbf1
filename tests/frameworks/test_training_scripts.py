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
