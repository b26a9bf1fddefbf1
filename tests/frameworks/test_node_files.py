"""Files that come to several ranks at once into a folder that they share."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.frameworks import node_files
from flowc.runtime.gang import CollectiveError, GangHandle, Member
from flowc.runtime.gang.wire import MEMBER_BODY, MEMBER_HEADER, Frame, FrameReader, encode

MEMBERS = tuple(Member(rank, f"pod{rank}", f"10.0.0.{rank + 1}") for rank in range(3))


class Link:
    """To a rank whose service notes what it is to run, and says that all went well."""

    def __init__(self, asked: list[list[str]]) -> None:
        self.asked = asked

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        if header["t"] == "run":
            self.asked.append(header["argv"])

    def frames(self) -> list[Frame]:
        return [Frame({"t": "exit", "code": 0}, b"")]

    def close(self) -> None:
        pass


class Nodes:
    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def first_ranks(self) -> list[int]:
        return [0, 1, 2]

    def connect(self, rank: int) -> Link:
        return Link(self.asked)


def test_a_file_comes_whole_to_hosts_that_share_a_folder_and_number_their_processes_alike(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(b"abc" * 100)
    path.chmod(0o750)
    nodes: Any = Nodes()
    node_files.send_file(nodes, str(path))
    # As in pods, the shells have the same process id.
    received = [[word.replace("$$", "7") for word in argv] for argv in nodes.asked]
    one, two = (subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for argv in received)
    assert one.stdin is not None and two.stdin is not None
    for process in (one, two):
        assert process.stdin is not None
        process.stdin.write(b"abc" * 50)
        process.stdin.flush()
    assert one.communicate(b"abc" * 50) == (None, b"") and one.returncode == 0
    assert two.communicate(b"abc" * 50) == (None, b"") and two.returncode == 0
    assert path.read_bytes() == b"abc" * 100 and path.stat().st_mode & 0o777 == 0o750
    assert [each.name for each in tmp_path.iterdir()] == ["program"]


def test_ranks_of_a_gang_that_share_a_folder_and_number_their_processes_alike(tmp_path: Path) -> None:
    """Both handles are in this process, so they have the same process id."""
    target = str(tmp_path / "copy")
    pairs = [socket.socketpair() for _ in range(2)]
    handles = [GangHandle(ours, rank, MEMBERS, b"") for rank, (ours, _) in enumerate(pairs, 1)]
    problems: list[Any] = []
    threads = [
        threading.Thread(target=lambda handle=handle: problems.append(handle._receive_file(1, target)), daemon=True)
        for handle in handles
    ]
    data, ends = b"abc" * 50, [theirs for _, theirs in pairs]
    last = {"last": True, "size": 2 * len(data), "sha256": hashlib.sha256(2 * data).hexdigest(), "mode": 0o600}
    for thread in threads:
        thread.start()
    for number in (1, 2):
        for end in ends:
            end.sendall(b"".join(encode({"t": "chunk", "seq": 1, "n": number}, data)))
        for end in ends:
            wait_for_ack(end)
    for end in ends:
        end.sendall(b"".join(encode({"t": "chunk", "seq": 1, "n": 3, **last}, b"")))
        wait_for_ack(end)
    for thread in threads:
        thread.join(60)
    assert problems == [None, None]
    assert (tmp_path / "copy").read_bytes() == 2 * data
    assert [each.name for each in tmp_path.iterdir()] == ["copy"]


def wait_for_ack(end: socket.socket) -> None:
    reader = FrameReader(MEMBER_HEADER, MEMBER_BODY)
    end.settimeout(60)
    while True:
        reader.feed(end.recv(1 << 16))
        if [frame.type for frame in reader.frames()] == ["ack"]:
            return


def test_a_value_that_is_too_large_names_ways_that_a_step_has() -> None:
    ours, _ = socket.socketpair()
    handle = GangHandle(ours, 0, MEMBERS, b"")
    with pytest.raises(CollectiveError, match=r"use an artifact, .*under @mpi current\.mpi\.broadcast_file copies one"):
        handle._call("gather", memoryview(bytes(65 << 20)))  # type: ignore[arg-type]
