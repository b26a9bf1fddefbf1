"""The frames and the proof, with any bytes whatever."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from flowc.runtime.gang.collectives import Collectives
from flowc.runtime.gang.ends import ALL_LINES_SIZE, LINES, LINES_SIZE, REASON_SIZE, Ends
from flowc.runtime.gang.failure import GangFailure
from flowc.runtime.gang.ports import CANDIDATES, FIRST, LAST, candidate_ports
from flowc.runtime.gang.wire import (
    MAX_LACK,
    MEMBER_BODY,
    ControlHandshake,
    Frame,
    FrameReader,
    GangName,
    Seal,
    WireError,
    WorkerHandshake,
    WorkerInfo,
    encode,
)
from hypothesis import given
from hypothesis import strategies as st

TOKEN = b"sixteen bytes or more"
NAME = GangName("run", "train/0", 2)
INFO = WorkerInfo(3, 4, "höst", 8)
plain = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=20)
values = plain | st.lists(plain, max_size=2) | st.dictionaries(st.text(max_size=5), plain, max_size=2)
names = st.sampled_from(["t", "nonce", "rank", "proof", "size", "seq"]) | st.text(max_size=5)
frames = st.builds(Frame, st.dictionaries(names, values, max_size=3), st.binary(max_size=100))


def joined(frame: Frame, seal: Seal | None = None) -> bytes:
    return b"".join(bytes(piece) for piece in encode(frame.header, frame.body, seal))


@given(st.lists(frames, max_size=5), st.lists(st.integers(1, 97), min_size=1, max_size=9), st.booleans())
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent: list[Frame], cuts: list[int], sealed: bool) -> None:
    seals = (Seal(b"key"), Seal(b"key")) if sealed else (None, None)
    data = b"".join(joined(frame, seals[0]) for frame in sent)
    reader = FrameReader(1 << 20, 1 << 20, seals[1])
    got, at = [], 0
    while at < len(data):
        step = cuts[at % len(cuts)]
        reader.feed(data[at : at + step])
        at += step
        got += list(reader.frames())
    assert got == sent


@given(st.lists(st.binary(max_size=200), max_size=6), st.booleans())
def test_garbage_is_refused_or_waited_for_but_never_taken(pieces: list[bytes], after_magic: bool) -> None:
    reader = FrameReader()
    try:
        if after_magic:
            reader.feed(b"flg1")
        for piece in pieces:
            reader.feed(piece)
            for frame in reader.frames():
                assert isinstance(frame.header, dict)
    except WireError:
        pass


@given(st.lists(frames, min_size=2, max_size=4), st.data())
def test_a_sealed_stream_that_was_touched_is_refused(sent: list[Frame], data: st.DataObject) -> None:
    seal = Seal(b"key")
    pieces = [joined(frame, seal) for frame in sent]
    stream = bytearray(b"".join(pieces))
    how = data.draw(st.sampled_from(["flip", "repeat", "drop", "swap"]))
    if how == "flip":
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at] ^= data.draw(st.integers(1, 255))
    elif how == "repeat":
        stream = bytearray(b"".join([pieces[0], pieces[0], *pieces[1:]]))
    elif how == "drop":
        stream = bytearray(b"".join(pieces[1:]))
    else:
        stream = bytearray(b"".join([pieces[1], pieces[0], *pieces[2:]]))
    reader = FrameReader(1 << 12, 1 << 12, Seal(b"key"))
    reader.feed(bytes(stream))
    got = []
    try:
        got += list(reader.frames())
    except WireError:
        pass
    # What passed is a beginning of what was sent; at least the touched frame did not.
    assert got == sent[: len(got)] and len(got) < len(sent)


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        b"flg2",
        struct.pack(">4sIQ", b"flg1", 5000, 0),
        struct.pack(">4sIQ", b"flg1", 2, 1),
        struct.pack(">4sIQ", b"flg1", 2, 1 << 63),
        struct.pack(">4sIQ", b"flg1", 2, 0) + b"[]",
        struct.pack(">4sIQ", b"flg1", 2, 0) + b"\xff\xfe",
        struct.pack(">4sIQ", b"flg1", 4096, 0) + b"[" * 4096,
        struct.pack(">4sIQ", b"flg1", 0, 0),
    ],
)
def test_what_is_no_frame_is_refused_at_its_first_wrong_byte(data: bytes) -> None:
    reader = FrameReader()
    reader.feed(data)
    with pytest.raises(WireError):
        list(reader.frames())


def test_a_member_may_send_more_than_a_stranger_but_not_anything() -> None:
    reader = FrameReader()
    reader.authenticated(Seal(b"key"))
    reader.feed(struct.pack(">4sIQ", b"flg1", 5000, MEMBER_BODY))
    assert list(reader.frames()) == []
    reader = FrameReader()
    reader.authenticated(Seal(b"key"))
    reader.feed(struct.pack(">4sIQ", b"flg1", 5000, MEMBER_BODY + 1))
    with pytest.raises(WireError):
        list(reader.frames())


def shake(control: ControlHandshake, worker: WorkerHandshake) -> Any:
    challenge = control.challenge(Frame(worker.hello()))
    proof, worker_sends, worker_receives = worker.answer(Frame(challenge))
    info, control_sends, control_receives = control.accept(Frame(proof))
    assert worker_sends.mac(b"x", b"") == control_receives.mac(b"x", b"")
    assert control_sends.mac(b"x", b"") == worker_receives.mac(b"x", b"")
    assert worker_sends.mac(b"x", b"") != control_sends.mac(b"x", b"")
    return info


def test_both_sides_prove_the_token_and_get_the_same_keys() -> None:
    assert shake(ControlHandshake(TOKEN, NAME), WorkerHandshake(TOKEN, NAME, INFO)) == INFO


@given(st.text(max_size=MAX_LACK), st.text(max_size=255))
def test_what_a_worker_lacks_comes_with_its_proof_however_it_is_written(lack: str, host: str) -> None:
    info = WorkerInfo((1 << 31) - 1, (1 << 31) - 1, host, (1 << 31) - 1, lack)
    worker, control = WorkerHandshake(TOKEN, NAME, info), ControlHandshake(TOKEN, NAME)
    proof = worker.answer(Frame(control.challenge(Frame(worker.hello()))))[0]
    reader = FrameReader()
    reader.feed(joined(Frame(proof)))
    assert control.accept(next(reader.frames()))[0] == info


@pytest.mark.parametrize(
    ("token", "name"),
    [
        (TOKEN + b"!", NAME),
        (TOKEN, GangName("rum", "train/0", 2)),
        (TOKEN, GangName("run", "train/1", 2)),
        (TOKEN, GangName("run", "train/0", 1)),
        (TOKEN, GangName("runt", "rain/0", 2)),
    ],
)
def test_another_token_run_address_or_attempt_proves_nothing(token: bytes, name: GangName) -> None:
    with pytest.raises(WireError, match="token of this attempt"):
        shake(ControlHandshake(token, name), WorkerHandshake(TOKEN, NAME, INFO))
    # A worker that does not care whom it talks to gets no further.
    control, worker = ControlHandshake(token, name), WorkerHandshake(TOKEN, NAME, INFO)
    challenge = control.challenge(Frame(worker.hello()))
    twin = ControlHandshake(TOKEN, NAME)
    twin._mine = challenge["nonce"]
    proof, _, _ = worker.answer(Frame(twin.challenge(Frame(worker.hello()))))
    with pytest.raises(WireError, match="wrong token"):
        control.accept(Frame(proof))


def test_a_proof_serves_once_and_for_its_role_rank_and_words_alone() -> None:
    control, worker = ControlHandshake(TOKEN, NAME), WorkerHandshake(TOKEN, NAME, INFO)
    challenge = control.challenge(Frame(worker.hello()))
    proof, _, _ = worker.answer(Frame(challenge))
    again = ControlHandshake(TOKEN, NAME)
    again.challenge(Frame(worker.hello()))
    with pytest.raises(WireError):
        again.accept(Frame(proof))  # another connection has another nonce
    words = {"size": 5}, {"slots": 9}, {"host": "other"}, {"lack": "ray"}
    for change in (*words, {"proof": challenge["proof"]}, {"proof": ""}):
        with pytest.raises(WireError):
            control.accept(Frame({**proof, **change}))
    with pytest.raises(WireError):
        rank = ControlHandshake(TOKEN, NAME)
        rank._mine = challenge["nonce"]
        rank.challenge(Frame({**worker.hello(), "rank": 2}))
        rank.accept(Frame(proof))
    assert control.accept(Frame(proof))[0] == INFO


def test_the_token_is_in_nothing_that_is_sent() -> None:
    control, worker = ControlHandshake(TOKEN, NAME), WorkerHandshake(TOKEN, NAME, INFO)
    hello = worker.hello()
    challenge = control.challenge(Frame(hello))
    proof, _, _ = worker.answer(Frame(challenge))
    sent = json.dumps([hello, challenge, proof]).encode()
    assert TOKEN not in sent and TOKEN.hex().encode() not in sent


@given(frames, frames)
def test_any_message_to_a_handshake_is_answered_or_refused(first: Frame, second: Frame) -> None:
    control = ControlHandshake(TOKEN, NAME)
    for header in (first.header, {"t": "hello", "v": 1, **first.header}, {"t": "proof", **second.header}):
        with pytest.raises(WireError):
            control.accept(Frame(header))
        try:
            control.challenge(Frame(header))
        except WireError:
            pass
    worker = WorkerHandshake(TOKEN, NAME, INFO)
    for header in (
        first.header,
        {"t": "challenge", **second.header},
        {"t": "challenge", "nonce": "0" * 64, "proof": "é"},
    ):
        with pytest.raises(WireError):
            worker.answer(Frame(header))


ends = st.fixed_dictionaries(
    {},
    optional={
        "code": values | st.integers(-(2**70), 2**70),
        "signal": values | st.integers(-(2**70), 2**70),
        "kind": values | st.sampled_from(["exit", "signal", "abort", "lost"]),
        "reason": values | st.text(st.characters(), min_size=250, max_size=400),
        "asked": values | st.sampled_from(["", "to end", "killed"]),
        "lines": values | st.lists(values | st.text(st.characters(), max_size=3000), max_size=30),
    },
)


@given(st.lists(st.tuples(st.integers(0, 3), ends), max_size=8), st.booleans())
def test_whatever_a_rank_says_of_its_end_the_report_is_sound_and_bounded(
    said: list[tuple[int, dict[str, Any]]], formed: bool
) -> None:
    collected = Ends(4)
    for rank, header in said:
        collected.told(rank, f"host{rank}", header)
    report = collected.report({0: "host0"}, formed)
    assert [end.rank for end in report] == [0, 1, 2, 3]
    spoken = {rank for rank, _ in said}
    for end in report:
        assert (end.host == f"host{end.rank}") == (end.rank in spoken or end.rank == 0)
        assert end.exit_code in (None, *range(256)) and end.signal in (None, *range(128))
        assert len(end.last_lines) <= LINES and sum(len(line.encode()) for line in end.last_lines) <= LINES_SIZE
        assert len(end.reason.encode().decode()) <= REASON_SIZE
    assert sum(len(line.encode()) for end in report for line in end.last_lines) <= ALL_LINES_SIZE
    failure = GangFailure(1, None, None, None, (), "was lost", "lost", report)
    assert GangFailure.from_json(json.loads(json.dumps(failure.to_json()))).ranks == report


@given(st.dictionaries(st.sampled_from(["rank", "host", "ranks", "signal", "exit_code"]), values, max_size=3))
def test_a_damaged_report_is_refused_or_read_but_nothing_else(damage: dict[str, Any]) -> None:
    whole = GangFailure(1, "h", 3, None, ("x",), "exited with code 3").to_json()
    for data in ({**whole, **damage}, {**whole, "ranks": [whole, {**whole, **damage}]}):
        try:
            assert isinstance(GangFailure.from_json(data), GangFailure)
        except (KeyError, TypeError, ValueError, OverflowError):
            pass


def test_the_ports_follow_from_the_attempt_and_begin_with_the_one_asked_for() -> None:
    ports = candidate_ports(NAME)
    assert ports == candidate_ports(NAME) and len(set(ports)) == CANDIDATES
    assert all(FIRST <= port <= LAST for port in ports)
    assert candidate_ports(NAME, 5000) == (5000, *ports[:-1])
    assert candidate_ports(GangName("run", "train/0", 3)) != ports
    # Another machine and another version must find the same ones.
    assert candidate_ports(GangName("1", "train/_", 0))[:3] == (29938, 28093, 26947)


def collect(size: int) -> tuple[Collectives, list[tuple[int, dict[str, Any], bytes]]]:
    sent: list[tuple[int, dict[str, Any], bytes]] = []
    return Collectives(size, lambda rank, header, body: sent.append((rank, header, bytes(body)))), sent


def call(number: int, op: str, body: bytes = b"", **more: Any) -> Frame:
    return Frame({"t": "call", "seq": number, "op": op, **more}, body)


def test_a_call_is_answered_when_all_have_made_it() -> None:
    collectives, sent = collect(3)
    collectives.take(2, call(1, "gather", b"c", root=1))
    collectives.take(0, call(1, "gather", b"a", root=1))
    assert sent == []
    collectives.take(1, call(1, "gather", b"b", root=1))
    assert [(rank, header["t"], body) for rank, header, body in sent] == [
        (0, "result", b""),
        (1, "result", b""),
        (1, "parts", b"abc"),
        (2, "result", b""),
    ]


def test_a_difference_is_told_to_all_that_wait_and_to_all_that_come_later() -> None:
    collectives, sent = collect(3)
    collectives.take(0, call(1, "barrier"))
    collectives.take(2, call(1, "broadcast", root=1))
    collectives.take(1, call(1, "barrier"))
    texts = {rank: header["message"] for rank, header, _ in sent if header["t"] == "error"}
    assert set(texts) == {0, 1, 2}
    assert set(texts.values()) == {
        "the ranks differ in their call number 1 to the gang: barrier by rank 0; broadcast(root=1) by rank 2"
    }


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["barrier", "gather", "end"])), max_size=12))
def test_whatever_the_ranks_do_no_two_are_told_different_things(steps: list[tuple[int, str]]) -> None:
    collectives, sent = collect(3)
    numbers = [0, 0, 0]
    ended: set[int] = set()
    for rank, op in steps:
        answered = sum(1 for to, header, _ in sent if to == rank and header["t"] in ("result", "error"))
        if rank in ended or answered < numbers[rank]:
            continue  # it waits
        if op == "end":
            ended.add(rank)
            collectives.ended(rank)
        else:
            numbers[rank] += 1
            collectives.take(rank, call(numbers[rank], op, root=0))
    assert len({header["message"] for _, header, _ in sent if header["t"] == "error"}) <= 1
    if ended:
        # Nobody is left waiting for one that will never come.
        for rank in {0, 1, 2} - ended:
            answered = sum(1 for to, header, _ in sent if to == rank and header["t"] in ("result", "error"))
            behind = [number for other, number in enumerate(numbers) if other in ended]
            assert answered == numbers[rank] or min(behind) >= numbers[rank]
