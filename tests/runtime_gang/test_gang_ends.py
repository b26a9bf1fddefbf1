"""What the report of a gang that failed says of every rank."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from flowc.runtime.gang import EXIT_GANG_FAILED, EXIT_NOT_FORMED, GangAborted, GangHandle
from flowc.runtime.gang.ends import ALL_LINES_SIZE, LINES, LINES_SIZE, Ends, ends_text
from flowc.runtime.gang.failure import GangFailure, RankEnd
from gang_ranks import QUICK, Ranks, alive, gang, wait_for


def stay() -> int:
    time.sleep(60)
    return 0


def stays(handle: GangHandle) -> int:
    handle.barrier()
    return stay()


def ends(ranks: Ranks, rank: int = 0) -> tuple[RankEnd, ...]:
    failure = ranks.ranks[rank].failure
    assert failure is not None
    return failure.ranks


def said(ranks: Ranks) -> list[tuple[str, str]]:
    return [(end.kind, end.reason) for end in ends(ranks)]


def test_every_rank_is_told_with_its_own_code_or_signal() -> None:
    def body(handle: GangHandle) -> int:
        if handle.rank == 3:
            print("\n".join(f"line {at}" for at in range(9)), flush=True)
        handle.barrier()
        if handle.rank == 1:
            time.sleep(0.5)
            return 3
        return 0 if handle.rank == 2 else stay()

    with gang(4) as ranks:
        ranks.start_all(body)
        assert ranks.wait() == [EXIT_GANG_FAILED, 3, EXIT_GANG_FAILED, EXIT_GANG_FAILED]
        assert [(end.rank, end.host, end.exit_code, end.signal, end.kind, end.reason) for end in ends(ranks)] == [
            (0, "host0", None, signal.SIGTERM, "ended", "ended by SIGTERM"),
            (1, "host1", 3, None, "exit", "exited with code 3"),
            (2, "host2", 0, None, "done", "exited with code 0"),
            (3, "host3", None, signal.SIGTERM, "ended", "ended by SIGTERM"),
        ]
        assert ends(ranks)[3].last_lines == tuple(f"line {at}" for at in range(4, 9))
        # A worker's own report is as everybody's on the first, and knows of itself.
        assert {str(failure) for failure in ranks.failures()} == {"rank 1 on host host1 exited with code 3"}
        assert [ends(ranks, rank) for rank in (1, 2, 3)] == [(end,) for end in ends(ranks)[1:]]


def test_ranks_that_fail_at_the_same_moment_each_keep_their_code() -> None:
    def body(handle: GangHandle) -> int:
        if handle.rank < 3:
            # Whoever is first, the others come to their own end.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        handle.barrier()
        if handle.rank == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return stay() if handle.rank == 3 else os._exit(3 + handle.rank)

    with gang(4, limits=replace(QUICK, grace=5.0)) as ranks:
        ranks.start_all(body)
        ranks.wait()
        assert [(end.exit_code, end.signal) for end in ends(ranks)] == [(3, None), (4, None), (None, 9), (None, 15)]
        (first,) = ranks.failures()
        assert first is not None and (first.exit_code, first.signal) in [(3, None), (4, None), (None, 9)]
        assert [end.kind for end in ends(ranks)][first.rank] in ("exit", "signal")


def test_one_that_is_killed_is_not_taken_for_one_that_is_brought_down() -> None:
    def body(handle: GangHandle) -> int:
        handle.barrier()
        if handle.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return stay()

    with gang(3) as ranks:
        ranks.start_all(body)
        ranks.wait()
        brought_down = ("ended", "ended by SIGTERM")
        assert said(ranks) == [brought_down, ("signal", "killed by SIGKILL"), brought_down]
        assert ends(ranks)[1].signal == 9


def test_what_had_ended_before_it_was_asked_to_has_failed_by_itself(tmp_path: Path) -> None:
    """However late its supervisor learns of it."""

    def body(handle: GangHandle) -> int:
        if not handle.rank:
            time.sleep(60)
        wait_for(tmp_path / str(handle.rank), lambda path: None)
        return 2 + handle.rank

    with gang(3) as ranks:
        ranks.start_all(body)
        stopped = ranks.ranks[2]
        own = stopped.body
        os.kill(stopped.pid, signal.SIGSTOP)
        (tmp_path / "2").touch()
        while alive(own):
            time.sleep(0.005)
        assert ranks.ranks[1].body
        (tmp_path / "1").touch()
        time.sleep(0.4)  # it is asked to end, and does not hear it yet
        os.kill(stopped.pid, signal.SIGCONT)
        ranks.wait()
        assert said(ranks)[1:] == [("exit", "exited with code 3"), ("exit", "exited with code 4")]
        (first,) = ranks.failures()
        assert first is not None and first.rank == 1


def test_who_does_not_end_is_killed_and_keeps_nobody_from_hearing_of_it_at_once(tmp_path: Path) -> None:
    def body(handle: GangHandle) -> int:
        def heard(*_: object) -> None:
            (tmp_path / str(handle.rank)).write_text(repr(time.monotonic()))
            os._exit(11)

        signal.signal(signal.SIGTERM, signal.SIG_IGN if handle.rank == 2 else heard)
        handle.barrier()
        if handle.rank == 1:
            (tmp_path / "failed").write_text(repr(time.monotonic()))
            return 4
        return stay()

    with gang(3, limits=replace(QUICK, grace=1.2)) as ranks:
        ranks.start_all(body)
        ranks.wait()
        assert float((tmp_path / "0").read_text()) - float((tmp_path / "failed").read_text()) < 1.0
        assert said(ranks) == [
            ("ended", "exited with code 11 when it was asked to end"),
            ("exit", "exited with code 4"),
            ("ended", "killed, as it did not end at SIGTERM"),
        ]


@pytest.mark.parametrize("lost", [0, 2])
def test_a_rank_that_is_lost_is_said_so_and_without_the_control_each_knows_its_own(lost: int) -> None:
    with gang(3) as ranks:
        ranks.start_all(stays)
        for rank in ranks.ranks.values():
            assert rank.body
        killed = ranks.ranks.pop(lost)
        os.kill(killed.pid, signal.SIGKILL)
        ranks.wait()
        os.waitpid(killed.pid, 0)
        if lost:
            assert said(ranks)[:2] == [("ended", "ended by SIGTERM")] * 2
            end = ends(ranks)[2]
            assert (end.kind, end.host, end.exit_code) == ("lost", "host2", None) and end.reason.startswith("lost: con")
        else:
            assert [[(end.rank, end.kind) for end in ends(ranks, rank)] for rank in (1, 2)] == [
                [(1, "ended")],
                [(2, "ended")],
            ]


def test_who_aborts_is_told_with_its_words_and_so_is_a_second_one() -> None:
    def body(handle: GangHandle) -> int:
        if handle.rank:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        handle.barrier()
        if handle.rank:
            try:
                handle.abort(f"rank {handle.rank} has had enough")
            except GangAborted:
                os._exit(10 + handle.rank)
        return stay()

    with gang(3, limits=replace(QUICK, grace=5.0)) as ranks:
        ranks.start_all(body)
        ranks.wait()
        assert [(end.kind, end.reason, end.exit_code) for end in ends(ranks)[1:]] == [
            ("abort", "aborted the gang: rank 1 has had enough", 11),
            ("abort", "aborted the gang: rank 2 has had enough", 12),
        ]


def test_a_gang_that_did_not_form_says_who_came() -> None:
    with gang(4, limits=replace(QUICK, timeout=2.0)) as ranks:
        for rank in (0, 2):
            ranks.start(rank, stays)
        assert ranks.wait() == [EXIT_NOT_FORMED] * 2
        assert [end.kind for end in ends(ranks)] == ["idle", "absent", "idle", "absent"]
        assert [text for text, _ in ends_text(ends(ranks))] == [
            "ranks 1, 3: never reached the control rank",
            "ranks 0, 2 on hosts host0, host2: its body never ran",
        ]
    with gang(3) as ranks:
        for rank, lack in enumerate(("", "no torch", "no ray")):
            ranks.start(rank, stays, lack=lack)
        assert ranks.wait() == [EXIT_NOT_FORMED] * 3
        lacking = [("unable", "cannot take part: no torch"), ("unable", "cannot take part: no ray")]
        assert said(ranks) == [("idle", "its body never ran"), *lacking]


def test_a_gang_that_is_asked_to_end_says_how_each_rank_did(tmp_path: Path) -> None:
    def body(handle: GangHandle) -> int:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0 if handle.rank else 128 + signal.SIGTERM))
        handle.barrier()
        (tmp_path / "all are there").touch()
        return stay()

    with gang(2) as ranks:
        ranks.start_all(body)
        wait_for(tmp_path / "all are there", lambda path: None)
        os.kill(ranks.ranks[1].pid, signal.SIGTERM)
        ranks.wait()
        assert ranks.ranks[0].result["preempted"]
        assert said(ranks) == [
            ("ended", "ended by SIGTERM"),
            ("ended", "exited with code 0 when it was asked to end"),
        ]


@pytest.mark.slow
def test_of_many_ranks_each_is_told() -> None:
    def body(handle: GangHandle) -> int:
        fails = handle.rank in (7, 40)
        signal.signal(signal.SIGTERM, signal.SIG_IGN if fails else lambda *_: os._exit(128 + signal.SIGTERM))
        print(f"I am {handle.rank}", flush=True)
        handle.barrier()
        return os._exit(handle.rank) if fails else stay()

    with gang(64, limits=replace(QUICK, silence=10.0, grace=5.0, timeout=60.0)) as ranks:
        ranks.start_all(body)
        ranks.wait(60.0)
        assert [end.rank for end in ends(ranks)] == list(range(64))
        assert {end.rank: end.exit_code for end in ends(ranks) if end.exit_code != 143} == {7: 7, 40: 40}
        assert all(end.last_lines == (f"I am {end.rank}",) for end in ends(ranks))
        texts = [text for text, _ in ends_text(ends(ranks))]
        assert texts[-1] == "ranks 0-6, 8-39, 41-63 on 62 hosts: ended by SIGTERM" and len(texts) == 3


def test_what_is_kept_is_bounded() -> None:
    size = 2000
    kept = Ends(size)
    for rank in range(size):
        asked = "" if rank >= size - 100 else "to end"
        lines = [f"{rank} {at} " + "é" * 1000 for at in range(50)]
        kept.told(rank, "h", {"code": 3, "signal": None, "asked": asked, "lines": lines})
    report = kept.report({}, formed=True)
    assert [end.rank for end in report] == list(range(size))
    taken = [sum(len(line.encode()) for line in end.last_lines) for end in report]
    assert max(taken) <= LINES_SIZE and sum(taken) <= ALL_LINES_SIZE
    assert all(taken[size - 100 :]), "those of the ranks that failed by themselves are there"
    assert all(len(end.last_lines) <= LINES for end in report)
    data = json.dumps(GangFailure(0, None, 3, None, (), "exited", ranks=report).to_json())
    assert GangFailure.from_json(json.loads(data)).ranks == report


def test_what_is_said_of_many_groups_stays_short() -> None:
    many = [RankEnd(rank, f"h{rank}", None, None, (), f"lost: {rank}", "lost") for rank in range(100)]
    alike = [RankEnd(100 + rank, "a", None, 15, (), "ended by SIGTERM", "ended") for rank in range(3)]
    texts = [text for text, _ in ends_text([*alike, *many])]
    assert texts[0] == "rank 0 on host h0: lost: 0" and len(texts) == 21
    assert texts[-1] == "ranks 20-102 on 81 hosts: ended in 81 other ways"
    assert [text for text, _ in ends_text(alike)] == ["ranks 100-102 on host a: ended by SIGTERM"]


def test_a_report_without_the_ranks_is_read_as_before() -> None:
    values = {"exit_code": 3, "signal": None, "last_lines": ["x"], "reason": "exited", "kind": "exit"}
    data = {"rank": 1, "host": "b", **values}
    failure = GangFailure.from_json(data)
    assert failure == GangFailure(1, "b", 3, None, ("x",), "exited") and failure.ranks == ()
    assert failure.to_json() == data
