"""Signs of life: whose absence counts, and whose does not because nobody was there to hear them."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from flowc.runtime.gang import GangHandle, Limits, loop
from flowc.runtime.gang.wire import MEMBER_BODY, MEMBER_HEADER, FrameReader
from flowc.runtime.outline import ContractError
from gang_ranks import QUICK, gang

LIMIT = 10.0


class Clock:
    """One side of a connection on a clock that the test moves."""

    def __init__(self, channel: loop.Channel, other: socket.socket, time: SimpleNamespace) -> None:
        self.channel, self.other, self.time = channel, other, time
        self.lost: list[str] = []

    def go_on(self, seconds: float, *, stopped: bool = False) -> None:
        """Let time pass, second by second, or as for a process that is stopped."""
        for step in [seconds] if stopped else [1.0] * int(seconds):
            self.time.now += step
            if not self.lost:
                self.channel.loop.turn()

    def hear(self) -> None:
        self.other.sendall(b"".join(map(bytes, loop.encode({"t": "beat"}))))


@contextmanager
def on_a_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    time = SimpleNamespace(now=1000.0)
    time.monotonic = lambda: time.now
    monkeypatch.setattr(loop, "time", time)
    own, other = socket.socketpair()
    turning = loop.Loop()
    clock: Clock
    channel = loop.Channel(
        turning,
        own,
        FrameReader(MEMBER_HEADER, MEMBER_BODY),
        lambda _, frame: None,
        lambda _, why: clock.lost.append(why),
    )
    clock = Clock(channel, other, time)
    channel.keep_alive(1.0, LIMIT)
    turning.turn()
    yield clock
    channel.close()
    other.close()
    turning.close()


def test_who_is_silent_for_too_long_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_clock(monkeypatch) as clock:
        clock.go_on(8)
        clock.hear()
        clock.go_on(10)
        assert not clock.lost
        clock.go_on(2)
        assert clock.lost == ["no sign of life for 10 s"]


@pytest.mark.parametrize("heard", [0, 8])
def test_time_in_which_this_process_was_stopped_itself_does_not_count(
    monkeypatch: pytest.MonkeyPatch, heard: float
) -> None:
    """The others, stopped at the same time, may go on seconds after this one."""
    with on_a_clock(monkeypatch) as clock:
        clock.go_on(heard)
        clock.go_on(12, stopped=True)
        clock.go_on(9)
        assert not clock.lost
    with on_a_clock(monkeypatch) as clock:
        clock.go_on(5, stopped=True)
        clock.go_on(8)
        assert not clock.lost
        clock.hear()
        clock.go_on(10)
        assert not clock.lost


def test_who_stays_silent_after_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_clock(monkeypatch) as clock:
        clock.go_on(12, stopped=True)
        clock.go_on(12)
        assert clock.lost


def test_short_stops_one_after_the_other_hide_nobody_who_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_clock(monkeypatch) as clock:
        for _ in range(12):
            clock.go_on(2.5, stopped=True)
        assert clock.lost


@pytest.mark.slow
def test_ranks_that_are_stopped_and_go_on_at_different_moments_live_on() -> None:
    def body(handle: GangHandle) -> int:
        time.sleep(3.0)
        handle.barrier()
        return 0

    with gang(3, limits=replace(QUICK, silence=1.5)) as ranks:
        ranks.start_all(body)
        [each.body for each in ranks.ranks.values()]
        for rank in (0, 1, 2):
            os.kill(ranks.ranks[rank].pid, signal.SIGSTOP)
        time.sleep(2.0)
        for rank in (1, 0, 2):
            os.kill(ranks.ranks[rank].pid, signal.SIGCONT)
            time.sleep(0.6)
        assert ranks.wait() == [0, 0, 0]


def test_how_long_is_too_long_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWC_GANG_SILENCE", raising=False)
    assert Limits().silence == 10.0
    monkeypatch.setenv("FLOWC_GANG_SILENCE", "45")
    assert Limits().silence == 45.0
    monkeypatch.setenv("FLOWC_GANG_SILENCE", "long")
    with pytest.raises(ContractError, match="FLOWC_GANG_SILENCE='long' is not a number of seconds above 0"):
        Limits()
