"""The frameworks' gangs by the manifests for Argo: every rank in a pod of the lab, on a host of its own."""

from __future__ import annotations

import pytest
from flow_argo import Argo
from flow_shapes import FULL
from framework_rows import TROUBLE
from frameworks_lab import HEAVY, require
from hosts_lab import HostsLab, require_lab
from test_matrix import ROWS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * HEAVY)]

NAMES = tuple(ROWS) if FULL else ("torchrun", "mpi", "ray", "jax")
"""A launcher on every node, programs that one node starts on the others, daemons, and what looks for Kubernetes itself;
the others differ from these in nothing that a pod could change."""


@pytest.mark.parametrize("name", NAMES)
def test_a_gang_of_a_framework_on_argo(name: str) -> None:
    row = ROWS[name]
    require(row)
    require_lab()
    with HostsLab(2) as hosts:
        folder = hosts.folder / "argo"
        folder.mkdir()
        for file, text in {"flow.py": row.flow(), "trouble.py": TROUBLE, **row.files}.items():
            (folder / file).write_text(text)
        run = Argo(folder, hosts.folder / "compiled", hosts.hosts).run(folder / "flow.py", params={"ranks": 2})
        assert run.artifact("join", "values") == row.values(2)
