"""The small parts: channel, timers, following logs, notes, reports."""

from __future__ import annotations

import os
import signal

import pytest
from flowc.backends.local.attempts import Attempt
from flowc.backends.local.channel import Channel
from flowc.backends.local.notes import read_notes, write_note
from flowc.backends.local.tail import Tail
from flowc.backends.local.timers import Timers
from flowc.runtime.address import Address
from flowc.runtime.frontier import Family
from flowc.runtime.logs import last_lines
from flowc.runtime.record import Record
from flowc.runtime.report import Failure, task_failure

# The channel ----------------------------------------------------------------------------------------------------------


def test_messages_arrive_whole_and_in_order_however_the_pipe_cuts_them():
    here, there = Channel.pair()
    here.never_block()
    long = "ü" * 150_000
    here.put("start", 1, [long, None, [0, 3]])
    here.put("signal", 1, 9)
    received = []
    while len(received) < 2:
        here.flush()
        received += there.receive()
    assert received == [["start", 1, [long, None, [0, 3]]], ["signal", 1, 9]]
    assert not here.pending


def test_a_full_pipe_blocks_nobody():
    here, _there = Channel.pair()
    here.never_block()
    here.put("x" * 1_000_000)
    here.flush()
    assert here.pending


def test_both_ends_notice_when_the_other_is_gone():
    here, there = Channel.pair()
    there.close()
    assert here.receive() == []
    assert here.ended
    here.put("anything")
    here.flush()
    assert not here.pending


# Timers ---------------------------------------------------------------------------------------------------------------


def test_timers_go_off_in_order_and_not_when_cancelled():
    now = [0.0]
    timers = Timers(lambda: now[0])
    heard: list[str] = []
    timers.after(3, lambda: heard.append("late"))
    timers.after(1, lambda: heard.append("soon"))
    cancelled = timers.after(0.5, lambda: heard.append("never"))
    cancelled.cancel()
    assert timers.wait() == 1
    assert len(timers) == 2
    now[0] = 2.0
    timers.run_due()
    assert heard == ["soon"]
    now[0] = 9.0
    assert timers.wait() == 0
    timers.run_due()
    assert heard == ["soon", "late"]
    assert timers.wait() is None


# Logs -----------------------------------------------------------------------------------------------------------------


def test_tail_gives_whole_lines_as_they_come_and_the_rest_at_the_end(tmp_path):
    lines: list[tuple[str, str]] = []
    tail = Tail(str(tmp_path), lambda stream, line: lines.append((stream, line)))
    tail.read()
    assert lines == []
    with open(tmp_path / "stdout.log", "wb", buffering=0) as out:
        out.write(b"one\ntw")
        tail.read()
        assert lines == [("stdout", "one")]
        out.write("o\nthrée".encode())
        (tmp_path / "stderr.log").write_bytes(b"bad \xff\n")
        tail.read()
        assert lines[1:] == [("stdout", "two"), ("stderr", "bad \N{REPLACEMENT CHARACTER}")]
    tail.read(end=True)
    assert lines[3:] == [("stdout", "thrée")]
    tail.read(end=True)
    assert len(lines) == 4


def test_tail_shows_of_a_redrawn_line_what_a_terminal_would(tmp_path):
    lines: list[str] = []
    (tmp_path / "stdout.log").write_bytes(b"10%\r50%\r100%\nnext\r\n" + b"1%\r" * 50_000 + b"done\n")
    tail = Tail(str(tmp_path), lambda _, line: lines.append(line))
    for _ in range(10):
        tail.read()
    assert lines == ["100%", "next", "done"]


def test_tail_does_not_hold_back_an_endless_line(tmp_path):
    lines: list[str] = []
    (tmp_path / "stdout.log").write_bytes(b"x" * 1_000_000)
    tail = Tail(str(tmp_path), lambda _, line: lines.append(line))
    tail.read()
    assert lines
    tail.read(end=True)
    assert sum(map(len, lines)) == 1_000_000


def test_last_lines_of_a_long_log(tmp_path):
    file = tmp_path / "stderr.log"
    file.write_text("".join(f"line {i}\n" for i in range(10_000)))
    assert last_lines(str(file), 3) == ["line 9997", "line 9998", "line 9999"]
    assert last_lines(str(tmp_path / "none")) == []


# Notes and reports ----------------------------------------------------------------------------------------------------


def test_notes_come_through_cut_to_what_a_pipe_keeps_in_one_piece():
    read, write = os.pipe()
    os.set_blocking(read, False)
    write_note(write, 7, OSError("the disk is full"))
    write_note(write, 8, ValueError("é" * 10_000))
    notes = read_notes(read)
    assert notes[7] == ["OSError", "the disk is full"]
    kind, text = notes[8]
    assert kind == "ValueError"
    assert text.startswith("é" * 1000)
    assert len(text.encode()) < 4096
    assert read_notes(read) == {}


def status(code: int = 0, killed_by: int = 0) -> int:
    return (code << 8) | killed_by


@pytest.mark.parametrize(
    ("wait_status", "words"),
    [
        (status(7), "exit code 7"),
        (status(killed_by=signal.SIGKILL), "killed by SIGKILL (out of memory?)"),
        (status(killed_by=signal.SIGSEGV), "killed by SIGSEGV"),
        (status(143), "exit code 143 (SIGTERM)"),
        (status(0), "ended with exit code 0 without committing its record"),
    ],
)
def test_a_process_that_left_nothing_is_described_by_its_end(wait_status, words):
    failure = task_failure("x/0", 1, None, wait_status, None, None, ["last words"])
    assert (failure.type, failure.message, failure.last_lines) == ("ProcessFailure", words, ("last words",))


def test_an_exception_is_described_by_its_record_and_a_full_disk_by_its_note():
    recorded = {"type": "ValueError", "message": "no", "traceback": "Traceback ..."}
    failure = task_failure("x", 0, None, status(1), recorded, None, [])
    assert (failure.type, failure.message, failure.traceback, failure.exit_code) == (
        "ValueError", "no", "Traceback ...", 1,
    )  # fmt: skip
    failure = task_failure("x", 0, 3, status(70), None, ["DatastoreError", "full"], [])
    assert (failure.type, failure.message, failure.rank) == ("DatastoreError", "full", 3)
    assert str(failure) == "x, rank 3 failed in attempt 0: DatastoreError: full"


def test_of_failures_that_become_known_together_a_dead_process_decides_then_the_earliest_exception():
    attempt = Attempt(None, Family("g", (), 3, 1, True, False), 0)

    def record(rank: int, finished: float) -> Record:
        return Record(Address("g", (rank,)), 0, "failed", 0.0, finished)

    late, early, dead = (Failure(f"g/{rank}", 0, "E", "") for rank in range(3))
    assert attempt.offer(late, record(0, 20.0))
    assert attempt.offer(early, record(1, 10.0))
    assert attempt.offer(dead, None)
    assert not attempt.offer(early, record(1, 10.0))
    assert attempt.failure is dead
