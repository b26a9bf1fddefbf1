"""Programs on all ranks of a gang at once, and whose failure is told first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.frameworks.exec_service import ExecService
from flowc.runtime.frameworks.programs import ProgramFailed
from flowc.runtime.frameworks.standby import Command, Nodes
from flowc.runtime.gang import Member

SECRET = b"a secret that only the tests know"


class Gang:
    members = tuple(Member(rank, f"host{rank}", "127.0.0.1") for rank in range(2))

    def secret(self, purpose: str) -> bytes:
        return SECRET


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    services = [ExecService("127.0.0.1", SECRET, rank) for rank in range(2)]
    gang: Any = Gang()
    found = Nodes(gang, [service.port for service in services], ["python"] * 2, [None] * 2, str(tmp_path))
    yield found
    found.close()
    for service in services:
        service.close(0.2)


def test_a_program_runs_on_the_ranks_that_are_named(nodes: Nodes, tmp_path: Path) -> None:
    nodes.run({1: ["touch", str(tmp_path / "one")], 0: Command(["touch", "zero"], cwd=str(tmp_path))})
    assert {path.name for path in tmp_path.iterdir()} >= {"zero", "one"}
    with pytest.raises(ProgramFailed, match=r"^sh on rank 1 on host host1 exited with code 3") as failed:
        nodes.run({1: ["/bin/sh", "-c", "echo why >&2; exit 3"]})
    assert (failed.value.returncode, failed.value.lines) == (3, ("why",))
    assert nodes.first_ranks() == [0]


@pytest.mark.slow
def test_a_rank_that_lost_another_is_not_taken_for_the_first_to_fail(nodes: Nodes) -> None:
    lost = "echo 'RuntimeError: Connection closed by peer [10.0.0.2]:2222' >&2; exit 1"
    # That is later than a rank is waited for otherwise.
    commands = {0: ["/bin/sh", "-c", lost], 1: ["/bin/sh", "-c", "sleep 2; exit 7"]}
    with pytest.raises(ProgramFailed, match=r"^train on rank 1 on host host1 exited with code 7; on rank 0 ") as failed:
        nodes.run(commands, "train")
    assert failed.value.returncode == 7
