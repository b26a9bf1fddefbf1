"""Programs on all ranks of a gang at once, and whose failure is told first."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.frameworks import standby
from flowc.runtime.frameworks.exec_service import ExecService
from flowc.runtime.frameworks.programs import ProgramFailed
from flowc.runtime.frameworks.standby import Command, Nodes
from flowc.runtime.gang import Member
from flowc.runtime.gang.supervisor import Limits

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


def test_a_rank_that_was_lost_may_be_told_of_by_others_first(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "Limits", lambda: Limits(silence=0.4, heartbeat=0.1))
    link = nodes.connect(1)
    monkeypatch.setattr(nodes, "connect", lambda rank: link)
    threading.Timer(0.2, link.close).start()
    began = time.monotonic()
    with pytest.raises(ProgramFailed, match=r"^sleep on rank 1 on host host1 was killed by SIGKILL") as failed:
        nodes.run({1: ["sleep", "60"]})
    assert 0.8 < time.monotonic() - began < 5 and failed.value.lines == ("the connection to the rank was lost",)


class Interrupted(Exception):
    pass


def interrupt(nodes: Nodes, ready: Path, commands: dict[int, list[str]]) -> None:
    """Run programs, and interrupt them when one of them has made a file."""

    def ask(number: int, frame: object) -> None:
        if ready.exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Interrupted

    before = signal.signal(signal.SIGALRM, ask)
    signal.setitimer(signal.ITIMER_REAL, 0.3, 0.1)
    try:
        nodes.run(commands, "train")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_who_does_not_end_in_the_time_that_the_gang_has_is_named(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWC_PREEMPT_GRACE", "0.5")
    ready = tmp_path / "ready"
    stubborn = f"trap '' TERM; touch {ready}; while :; do sleep 0.1; done"
    expected = r"^train on rank 1 on host host1 did not end within 0.5 s of SIGTERM; FLOWC_PREEMPT_GRACE gives it more$"
    with pytest.raises(ProgramFailed, match=expected) as failed:
        interrupt(nodes, ready, {0: ["true"], 1: ["/bin/sh", "-c", stubborn]})
    assert isinstance(failed.value.__cause__, Interrupted)


def test_who_has_ended_already_is_not_waited_for(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWC_PREEMPT_GRACE", "600")
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    saving = f"trap 'sleep 0.5; touch {saved}; exit 0' TERM; touch {ready}; while :; do sleep 0.1; done"
    with pytest.raises(Interrupted):
        interrupt(nodes, ready, {0: ["true"], 1: ["/bin/sh", "-c", saving]})
    assert saved.exists()


@pytest.mark.parametrize(("given", "seconds"), [("600", 600), ("1", 1), ("", 30)])
def test_programs_have_the_time_that_the_gang_has(given: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWC_PREEMPT_GRACE", given)
    assert standby.seconds_to_end() == seconds
