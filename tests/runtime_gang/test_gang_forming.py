"""Forming: any order, any delay, strangers at the door, and a clear end where somebody never comes."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import struct
import threading
import time
from dataclasses import replace

import pytest
from flowc.runtime.gang import EXIT_GANG_FAILED, EXIT_NOT_FORMED, EXIT_PREEMPTED, GangHandle
from flowc.runtime.gang.wire import ControlHandshake, FrameReader, GangName, WorkerHandshake, WorkerInfo, encode
from gang_ranks import QUICK, TOKEN, gang, listening


def meet(handle: GangHandle) -> int:
    assert [member.rank for member in handle.members] == list(range(handle.size))
    assert handle.allgather(handle.rank) == list(range(handle.size))
    return 0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_it_forms_in_any_start_order(order: tuple[int, ...]) -> None:
    with gang(3) as ranks:
        for rank in order:
            ranks.start(rank, meet)
            time.sleep(0.03)
        assert ranks.wait() == [0, 0, 0]


def test_one_rank_needs_nobody() -> None:
    with gang(1) as ranks:
        ranks.start_all(meet)
        assert ranks.wait() == [0]


def test_the_members_say_who_and_where_they_are() -> None:
    def body(handle: GangHandle) -> int:
        print(json.dumps([[m.rank, m.host, m.address, m.slots] for m in handle.members]))
        return 0

    with gang(3) as ranks:
        ranks.start_all(body)
        assert ranks.wait() == [0, 0, 0]
        expected = [[rank, f"host{rank}", "127.0.0.1", rank + 1] for rank in range(3)]
        assert [json.loads(rank.out) for rank in ranks.ranks.values()] == [expected] * 3


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 2])
def test_a_late_rank_is_waited_for(late: int) -> None:
    with gang(3) as ranks:
        for rank in {0, 1, 2} - {late}:
            ranks.start(rank, meet)
        time.sleep(1.0)
        ranks.start(late, meet)
        assert ranks.wait() == [0, 0, 0]
        assert ranks.ranks[late].ended - ranks.ranks[late].started < 3.0


@pytest.mark.parametrize("asked", [None, 18765])
def test_a_taken_port_makes_way_for_the_next(asked: int | None) -> None:
    with gang(3, port=asked) as ranks, socket.socket() as first, socket.socket() as second:
        for taken, port in ((first, ranks.ports[0]), (second, ranks.ports[1])):
            taken.bind(("127.0.0.1", port))
            taken.listen()
        ranks.start_all(meet)
        assert ranks.wait() == [0, 0, 0]
        first.close()
        second.close()


@pytest.mark.slow
def test_no_port_at_all_is_an_error_that_names_them() -> None:
    with gang(2, limits=replace(QUICK, timeout=1.0)) as ranks:
        taken = [socket.create_server(("127.0.0.1", port)) for port in ranks.ports]
        ranks.start_all(meet)
        assert ranks.wait() == [EXIT_NOT_FORMED] * 2
        for each in taken:
            each.close()
        failure = ranks.ranks[0].failure
        assert failure is not None and failure.kind == "formation"
        assert str(ranks.ports[0]) in str(failure) and str(ranks.ports[-1]) in str(failure)
        assert "Address already in use" in str(failure)


def test_ranks_that_never_come_are_named_by_everybody_in_time() -> None:
    with gang(5, limits=replace(QUICK, timeout=1.0)) as ranks:
        for rank in (0, 2):
            ranks.start(rank, meet)
        began = time.monotonic()
        assert ranks.wait() == [EXIT_NOT_FORMED] * 2
        assert 0.9 < time.monotonic() - began < 4.0
        (failure,) = ranks.failures()
        assert failure is not None and (failure.kind, failure.rank) == ("formation", 1)
        assert "did not form within 1 s: ranks 1, 3, 4 never came (2 of 5 are here" in str(failure)


@pytest.mark.slow
def test_a_control_that_never_comes_is_named_by_the_worker_in_time() -> None:
    with gang(2, limits=replace(QUICK, timeout=1.0)) as ranks:
        worker = ranks.start(1, meet)
        assert ranks.wait() == [EXIT_NOT_FORMED]
        assert 0.9 < worker.ended - worker.started < 4.0
        text = str(worker.failure)
        assert "rank 1" in text and "the control rank at 127.0.0.1" in text
        assert str(ranks.ports[0]) in text and "Connection refused" in text


@pytest.mark.slow
def test_a_name_that_cannot_be_resolved_is_said_in_time() -> None:
    with gang(2, main="no-such-host.invalid", limits=replace(QUICK, timeout=1.0)) as ranks:
        worker = ranks.start(1, meet)
        assert ranks.wait() == [EXIT_NOT_FORMED]
        assert worker.ended - worker.started < 4.0
        assert "the name no-such-host.invalid cannot be resolved" in str(worker.failure)


# Each case has a port of its own, since they may run at the same time.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("port", "wrong"), [(18766, {"token": b"another token of this length"}), (18768, {"attempt": 1})]
)
def test_who_does_not_prove_the_attempt_stays_outside(port: int, wrong: dict[str, object]) -> None:
    with gang(2, port=port, limits=replace(QUICK, timeout=1.2)) as ranks:
        ranks.start(0, meet)
        ranks.start(1, meet, **wrong)
        assert ranks.wait() == [EXIT_NOT_FORMED] * 2
        assert "rank 1 never came" in str(ranks.ranks[0].failure)
        assert "does not know the token of this attempt" in str(ranks.ranks[1].failure)


def test_a_zombie_of_the_last_attempt_does_not_disturb() -> None:
    # A control and a worker of attempt 0, which still wait for a third rank.
    with gang(2, port=18767) as ranks, gang(3, port=18767) as old:
        old.run = ranks.run
        old.start(0, meet)
        while not listening((18767,)):
            time.sleep(0.01)
        old.start(1, meet)
        ranks.attempt = 1
        ranks.start_all(meet)
        assert ranks.wait() == [0, 0]
        for rank in old.ranks.values():
            os.kill(rank.pid, signal.SIGTERM)
        assert set(old.wait()) == {EXIT_PREEMPTED}


@pytest.mark.parametrize("unable", [0, 2])
def test_a_rank_that_cannot_take_part_tells_the_others_also_those_who_come_later(unable: int) -> None:
    with gang(4, limits=replace(QUICK, timeout=60.0)) as ranks:
        for rank in (0, 1, 2):
            ranks.start(rank, meet, lack="there is no ray: pip install ray" if rank == unable else "")
        began = time.monotonic()
        while {rank.rank for rank in ranks.ranks.values() if (ranks.folder / f"{rank.rank}.result").exists()} != {1, 2}:
            assert time.monotonic() - began < 5.0
            time.sleep(0.01)
        ranks.start(3, meet)
        assert ranks.wait(5.0) == [EXIT_NOT_FORMED] * 4
        (failure,) = ranks.failures()
        assert failure is not None and failure.kind == "unable"
        assert str(failure) == f"rank {unable} on host host{unable} cannot take part: there is no ray: pip install ray"
        assert not any(rank.out or rank.err for rank in ranks.ranks.values())


@pytest.mark.slow
def test_a_control_that_waits_to_send_others_home_ends_when_it_is_asked_to_or_its_time_is_up() -> None:
    with gang(3, limits=replace(QUICK, timeout=60.0)) as ranks:
        control = ranks.start(0, meet, lack="nothing is here")
        ranks.start(1, meet)
        time.sleep(0.5)
        os.kill(control.pid, signal.SIGTERM)
        assert ranks.wait(3.0) == [EXIT_NOT_FORMED] * 2
    with gang(3, limits=replace(QUICK, timeout=1.0)) as ranks:
        ranks.start(0, meet, lack="nothing is here")
        ranks.start(1, meet)
        assert ranks.wait(3.0) == [EXIT_NOT_FORMED] * 2
        (failure,) = ranks.failures()
        assert str(failure) == "rank 0 on host host0 cannot take part: nothing is here"
    with gang(1) as ranks:
        ranks.start(0, meet, lack="nothing is here")
        assert ranks.wait(3.0) == [EXIT_NOT_FORMED]


@pytest.mark.slow
def test_a_second_process_of_a_rank_is_refused_and_the_first_stays() -> None:
    with gang(3, limits=replace(QUICK, timeout=10.0)) as ranks:
        ranks.start(0, meet)
        ranks.start(1, meet)
        time.sleep(0.3)
        with gang(3, limits=replace(QUICK, timeout=0.8)) as copies:
            copies.run = ranks.run
            copy = copies.start(1, meet)
            assert copies.wait() == [EXIT_NOT_FORMED]
            assert "rank 1 is here already, from host host1" in str(copy.failure)
            ranks.start(2, meet)
            assert ranks.wait() == [0, 0, 0]


def test_a_worker_that_goes_before_the_gang_forms_can_come_again() -> None:
    with gang(3) as ranks:
        ranks.start(0, meet)
        first = ranks.start(1, meet)
        time.sleep(0.3)
        os.kill(first.pid, signal.SIGKILL)
        os.waitpid(first.pid, 0)
        ranks.start(1, meet)
        ranks.start(2, meet)
        assert ranks.wait() == [0, 0, 0]


def test_ranks_that_were_told_different_sizes_say_so_at_once() -> None:
    with gang(3, limits=replace(QUICK, timeout=1.0)) as ranks:
        ranks.start(0, meet)
        worker = ranks.start(1, meet, size=4)
        assert ranks.wait() == [EXIT_NOT_FORMED] * 2
        assert "this gang has 3 ranks, but rank 1 was told that it has 4" in str(worker.failure)
        assert "rank 1 on host host1 was refused" in str(ranks.ranks[0].failure)


def test_sigterm_ends_a_gang_that_is_still_forming() -> None:
    with gang(3) as ranks:
        ranks.start(0, meet)
        worker = ranks.start(1, meet)
        time.sleep(0.3)
        os.kill(worker.pid, signal.SIGTERM)
        assert ranks.wait(3.0) == [EXIT_PREEMPTED] * 2


def test_strangers_garbage_and_half_open_connections_do_not_keep_it_from_forming() -> None:
    with gang(3, limits=replace(QUICK, strangers=16, handshake=0.5)) as ranks:
        ranks.start(0, meet)
        port = ranks.ports[0]
        while not listening((port,)):
            time.sleep(0.01)
        stop = threading.Event()
        pestering = threading.Thread(target=_pester, args=(port, ranks.run, stop))
        pestering.start()
        try:
            time.sleep(0.3)
            ranks.start(1, meet)
            ranks.start(2, meet)
            assert ranks.wait(5.0) == [0, 0, 0]
        finally:
            stop.set()
            pestering.join()


def test_silent_connections_are_closed_after_their_time() -> None:
    with gang(2, limits=replace(QUICK, handshake=0.3)) as ranks:
        ranks.start(0, meet)
        while not listening(ranks.ports[:1]):
            time.sleep(0.01)
        with (
            socket.create_connection(("127.0.0.1", ranks.ports[0])) as silent,
            socket.create_connection(("127.0.0.1", ranks.ports[0])) as slow,
        ):
            silent.settimeout(2.0)
            slow.settimeout(0.02)
            greeting = b"".join(bytes(piece) for piece in encode({"t": "hello", "v": 1, "nonce": "0" * 64, "rank": 1}))
            began = time.monotonic()
            try:
                for at in range(len(greeting)):  # one byte at a time, never to the end
                    slow.sendall(greeting[at : at + 1])
                    try:
                        if slow.recv(1) == b"":
                            break
                    except TimeoutError:
                        pass
            except OSError:
                pass
            assert time.monotonic() - began < 1.0
            assert silent.recv(1) == b""
        ranks.start(1, meet)
        assert ranks.wait() == [0, 0]


def test_a_false_control_learns_nothing_and_does_not_block() -> None:
    """Somebody else has the first port and plays the protocol without the token; the control takes the second."""
    with gang(2) as ranks, socket.create_server(("127.0.0.1", ranks.ports[0])) as false:
        heard: list[bytes] = []

        def play() -> None:
            name = GangName(ranks.run, "train/0", 0)
            false.settimeout(5)
            connection, _ = false.accept()
            reader = FrameReader()
            data = connection.recv(4096)
            reader.feed(data)
            heard.append(data)
            handshake = ControlHandshake(b"only a guess of the token", name)
            for piece in encode(handshake.challenge(next(reader.frames()))):
                connection.sendall(piece)
            heard.append(connection.recv(4096))
            connection.close()

        playing = threading.Thread(target=play)
        playing.start()
        ranks.start_all(meet)
        assert ranks.wait() == [0, 0]
        playing.join()
        false.close()
        assert heard[1] == b"", "the worker answers nothing to who does not prove the token first"
        assert TOKEN not in heard[0]


@pytest.mark.slow
def test_a_member_that_talks_nonsense_is_lost_and_crashes_nothing() -> None:
    for nonsense in (
        {"t": "call", "seq": "x", "op": "barrier"},
        {"t": "call", "seq": 1, "op": "gather", "root": [1]},
        {"t": "failing", "code": {}, "signal": "s", "lines": 3, "kind": None},
        {"t": "ended", "code": True, "signal": 10**30, "lines": [["x"] * 9, {}], "asked": [], "kind": {}, "reason": 1},
        {"t": "chunk"},
        {"t": None},
    ):
        with gang(2) as ranks, socket.socket() as sock:
            ranks.start(0, lambda handle: time.sleep(60))
            while not listening(ranks.ports[:1]):
                time.sleep(0.01)
            sock.connect(("127.0.0.1", ranks.ports[0]))
            sock.settimeout(5)
            worker = WorkerHandshake(TOKEN, GangName(ranks.run, "train/0", 0), WorkerInfo(1, 2, "liar", 1))
            reader = FrameReader()
            sock.sendall(b"".join(bytes(piece) for piece in encode(worker.hello())))
            reader.feed(sock.recv(4096))
            proof, send, receive = worker.answer(next(reader.frames()))
            sock.sendall(b"".join(bytes(piece) for piece in encode(proof)))
            reader.authenticated(receive)
            sock.sendall(b"".join(bytes(piece) for piece in encode(nonsense, b"", send)))
            time.sleep(0.1)
            sock.close()
            assert ranks.wait() == [EXIT_GANG_FAILED]
            failure = ranks.ranks[0].failure
            assert failure is not None and (failure.rank, failure.host) == (1, "liar")
            control, liar = failure.ranks
            assert (control.rank, control.reason) == (0, "ended by SIGTERM")
            assert (liar.rank, liar.host, liar.exit_code, liar.signal, liar.last_lines) == (1, "liar", None, None, ())


def _pester(port: int, run: str, stop: threading.Event) -> None:
    """Everything that a scanner or a bad peer may send, again and again, with connections left open."""
    name = GangName(run, "train/0", 0)
    wrong = WorkerHandshake(b"not the token of this gang", name, WorkerInfo(1, 3, "h", 1))
    hello = b"".join(bytes(piece) for piece in encode(wrong.hello()))
    proof = b"".join(bytes(p) for p in encode({"t": "proof", "proof": "00" * 32, "size": 3, "slots": 1, "host": "h"}))
    sayings = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        struct.pack(">4sIQ", b"flg1", 0xFFFFFFFF, 1 << 62),
        struct.pack(">4sIQ", b"flg1", 4096, 0) + b"[" * 4096,
        hello,
        hello + proof,
        hello + hello,
        proof,
        hello[:20],
        b"",
        os.urandom(5000),
    ]
    kept: list[socket.socket] = []
    for saying in itertools.cycle(sayings):
        if stop.is_set():
            break
        connection = socket.socket()
        try:
            connection.connect(("127.0.0.1", port))
            connection.sendall(saying)
            if saying.startswith(b"GET"):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()  # with a reset
        except OSError:
            time.sleep(0.01)
        kept.append(connection)
        time.sleep(0.001)
    for connection in kept:
        connection.close()
