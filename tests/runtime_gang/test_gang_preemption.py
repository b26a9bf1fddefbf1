"""Asked to end from outside, in the moments in which that is hard to see: hosts go one by one, signals cross."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from flowc.runtime.gang import EXIT_GANG_FAILED, EXIT_PREEMPTED, GangHandle, control
from gang_ranks import QUICK, Ranks, alive, gang, wait_for


def saves(seconds: float) -> Any:
    """A body that takes so long to save when it is asked to end."""

    def body(handle: GangHandle) -> int:
        def save(*_: object) -> None:
            print("saving", flush=True)
            time.sleep(seconds)
            print("saved", flush=True)
            sys.exit(0)

        signal.signal(signal.SIGTERM, save)
        return stays(handle)

    return body


def stays(handle: GangHandle) -> int:
    handle.barrier()
    print("running", flush=True)
    time.sleep(60)
    return 0


def until_all(ranks: Ranks, word: str) -> None:
    for rank in ranks.ranks.values():
        wait_for(rank.folder / f"{rank.rank}.out", lambda path: None)
        deadline = time.monotonic() + 10.0
        while word not in rank.out:
            assert time.monotonic() < deadline, f"rank {rank.rank} is not {word}"
            time.sleep(0.005)


def until_dead(pid: int) -> None:
    deadline = time.monotonic() + 5.0
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_who_is_saving_may_go_on_when_the_control_rank_is_lost() -> None:
    with gang(3, limits=replace(QUICK, grace=0.2, preempt_grace=10.0)) as ranks:
        ranks.start_all(saves(0.8))
        until_all(ranks, "running")
        os.kill(ranks.ranks[1].pid, signal.SIGTERM)
        until_all(ranks, "saving")
        lost = ranks.ranks.pop(0)
        os.kill(lost.pid, signal.SIGKILL)
        assert ranks.wait() == [EXIT_PREEMPTED] * 2
        os.waitpid(lost.pid, 0)
        assert all("saved" in rank.out for rank in ranks.ranks.values())
        assert {(failure.rank, failure.kind) for failure in ranks.failures() if failure} == {(1, "preempted")}


def test_without_the_control_rank_the_grace_still_has_an_end() -> None:
    with gang(2, limits=replace(QUICK, grace=0.2, preempt_grace=0.8)) as ranks:
        ranks.start_all(saves(60.0))
        until_all(ranks, "running")
        os.kill(ranks.ranks[1].pid, signal.SIGTERM)
        until_all(ranks, "saving")
        began, lost = time.monotonic(), ranks.ranks.pop(0)
        os.kill(lost.pid, signal.SIGKILL)
        assert ranks.wait() == [EXIT_PREEMPTED]
        assert 0.4 < time.monotonic() - began < 3.0
        os.waitpid(lost.pid, 0)


def test_who_was_asked_to_end_may_save_where_the_control_rank_no_longer_answers() -> None:
    with gang(2, limits=replace(QUICK, silence=0.6, grace=0.2, preempt_grace=10.0)) as ranks:
        ranks.start_all(saves(0.6))
        until_all(ranks, "running")
        lost = ranks.ranks.pop(0)
        os.kill(lost.pid, signal.SIGSTOP)
        os.kill(ranks.ranks[1].pid, signal.SIGTERM)
        # It says what it has seen: the control rank may as well have failed, and this one be ended for that.
        assert ranks.wait() == [EXIT_GANG_FAILED]
        os.kill(lost.pid, signal.SIGKILL)
        os.waitpid(lost.pid, 0)
        assert "saved" in ranks.ranks[1].out


@pytest.mark.parametrize("rank", [0, 1])
def test_a_body_that_gets_the_signal_with_its_supervisor_is_asked_to_end(rank: int) -> None:
    with gang(2) as ranks:
        ranks.start_all(stays)
        until_all(ranks, "running")
        both = ranks.ranks[rank]
        # So that its end and the signal are there together.
        os.kill(both.pid, signal.SIGSTOP)
        os.kill(both.body, signal.SIGTERM)
        until_dead(both.body)
        os.kill(both.pid, signal.SIGTERM)
        os.kill(both.pid, signal.SIGCONT)
        assert ranks.wait() == [EXIT_PREEMPTED] * 2
        failure = ranks.ranks[0].failure
        assert failure is not None and failure.rank == rank
        assert [(end.kind, end.reason) for end in failure.ranks] == [("ended", "ended by SIGTERM")] * 2


@pytest.mark.parametrize(("rank", "lost"), [(0, False), (1, False), (1, True)])
def test_so_is_one_whose_supervisor_gets_it_a_moment_later_and_the_others_may_save(
    rank: int, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_PATIENCE", 0.1)

    def body(handle: GangHandle) -> int:
        return stays(handle) if handle.rank == rank else int(saves(0.8)(handle))

    with gang(3, limits=replace(QUICK, grace=0.3, preempt_grace=10.0)) as ranks:
        ranks.start_all(body)
        until_all(ranks, "running")
        os.kill(ranks.ranks[rank].body, signal.SIGTERM)
        until_dead(ranks.ranks[rank].body)
        time.sleep(0.05)
        os.kill(ranks.ranks[rank].pid, signal.SIGTERM)
        if lost:
            time.sleep(0.2)
            gone = ranks.ranks.pop(0)
            os.kill(gone.pid, signal.SIGKILL)
            os.waitpid(gone.pid, 0)
        assert ranks.wait() == [EXIT_PREEMPTED] * len(ranks.ranks)
        assert all("saved" in other.out for other in ranks.ranks.values() if other.rank != rank)
        (failure,) = ranks.failures()
        assert failure is not None and str(failure) == f"rank {rank} on host host{rank} was asked to end by SIGTERM"


def test_the_signal_finds_a_gang_whose_bodies_have_all_gone() -> None:
    with gang(1) as ranks:
        ranks.start_all(stays)
        until_all(ranks, "running")
        os.kill(ranks.ranks[0].body, signal.SIGTERM)
        time.sleep(0.1)
        os.kill(ranks.ranks[0].pid, signal.SIGTERM)
        assert ranks.wait() == [EXIT_PREEMPTED]


@pytest.mark.parametrize("later", [0.0, 0.8])
def test_a_body_that_was_killed_by_itself_has_failed(later: float) -> None:
    """The others are ended at once, and a request that comes much later, as after any failure, changes nothing."""

    def body(handle: GangHandle) -> int:
        return stays(handle) if handle.rank else int(saves(1.2 if later else 0.0)(handle))

    with gang(2, limits=replace(QUICK, grace=5.0)) as ranks:
        ranks.start_all(body)
        until_all(ranks, "running")
        os.kill(ranks.ranks[1].body, signal.SIGTERM)
        began = time.monotonic()
        if later:
            time.sleep(later)
            os.kill(ranks.ranks[1].pid, signal.SIGTERM)
        assert ranks.wait() == [EXIT_GANG_FAILED, 128 + signal.SIGTERM]
        assert time.monotonic() - began < 3.0
        (failure,) = ranks.failures()
        assert failure is not None and (failure.rank, failure.kind, failure.signal) == (1, "signal", signal.SIGTERM)
