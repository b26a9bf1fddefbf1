"""What the ranks do together, as the control rank sees it: a star with the control in the middle.

Every call of a rank carries a running number and the operation. A call is answered when all ranks have made it, so
that a disagreement is found before anybody goes on, and is told to all with the names of the ranks and of the
operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

from .failure import ranks_text
from .wire import Buffer, Frame

Deliver = Callable[[int, dict[str, Any], Buffer], None]

BROADCAST_FILE = "broadcast_file"
WINDOW = 8
"""Chunks of a file that may be under way at once."""
CHUNK = 1 << 20
"""Bytes of a file that travel as one message."""


@dataclass
class _Call:
    what: str
    header: dict[str, Any]
    bodies: dict[int, bytes] = field(default_factory=dict)


@dataclass
class _Stream:
    number: int
    root: int
    acknowledged: dict[int, int]
    credit: int = 0


class Collectives:
    """The ranks' calls, matched; messages to the bodies go out through ``deliver(rank, header, body)``.

    Parameters
    ----------
    size : int
        World size.
    deliver : callable
        Sends to the body of a rank.
    """

    def __init__(self, size: int, deliver: Deliver) -> None:
        self._size = size
        self._deliver = deliver
        self._calls: dict[int, dict[str, _Call]] = {}
        self._waiting: dict[int, int] = {}
        self._ended: set[int] = set()
        self._stream: Optional[_Stream] = None
        self._broken: Optional[str] = None

    def take(self, rank: int, frame: Frame) -> None:
        """A message of a rank's body: a call, a part of a file, or the word that a part arrived."""
        kind, number = frame.type, int(frame.header.get("seq", 0))
        if kind == "call":
            self._call(rank, number, frame)
        elif self._stream is None or self._stream.number != number:
            return
        elif kind == "chunk" and rank == self._stream.root:
            for other in self._stream.acknowledged:
                self._deliver(other, frame.header, frame.body)
        elif kind == "ack" and rank in self._stream.acknowledged:
            stream = self._stream
            stream.acknowledged[rank] = int(frame.header.get("n", 0))
            credit = min(stream.acknowledged.values())
            if credit > stream.credit:
                stream.credit = credit
                self._deliver(stream.root, {"t": "credit", "seq": number, "n": credit}, b"")

    def ended(self, rank: int) -> None:
        """A rank's body is gone: whoever waits for its part in a call waits in vain."""
        self._ended.add(rank)
        if self._broken is not None:
            return
        stream = self._stream
        if stream is not None and not self._past(rank, stream.number):
            why = f"{ranks_text([rank])} ended in the middle of {BROADCAST_FILE}(root={stream.root})"
            self._waiting.update({r: stream.number for r in range(self._size) if not self._past(r, stream.number)})
            self._break(why)
        else:
            self._check_ended()

    def _past(self, rank: int, number: int) -> bool:
        return self._waiting.get(rank, 0) > number

    def _call(self, rank: int, number: int, frame: Frame) -> None:
        self._waiting[rank] = number
        if self._broken is not None:
            self._refuse(rank, self._broken)
            return
        what = describe(frame.header)
        calls = self._calls.setdefault(number, {})
        call = calls.setdefault(what, _Call(what, frame.header))
        call.bodies[rank] = frame.body
        if len(calls) > 1:
            groups = [f"{each.what} by {ranks_text(list(each.bodies))}" for each in calls.values()]
            self._break(f"the ranks differ in their call number {number} to the gang: {'; '.join(groups)}")
        elif len(call.bodies) == self._size:
            del self._calls[number]
            self._waiting.clear()
            self._complete(number, call)
        else:
            self._check_ended()

    def _check_ended(self) -> None:
        for number, calls in self._calls.items():
            for call in calls.values():
                missing = [rank for rank in self._ended if rank not in call.bodies]
                if missing:
                    self._break(
                        f"{ranks_text(missing)} ended without {call.what}, call number {number} to the gang, "
                        f"in which {ranks_text(list(call.bodies))} waited"
                    )
                    return

    def _complete(self, number: int, call: _Call) -> None:
        op, root = call.header.get("op"), int(call.header.get("root", 0))
        self._stream = None
        parts: list[bytes] = []
        if op == "broadcast":
            parts = [call.bodies[root]]
        elif op in ("gather", "allgather"):
            parts = [call.bodies[rank] for rank in range(self._size)]
        batches = list(_batches(parts))
        for rank in range(self._size):
            wanted = op == "allgather" or (op == "gather" and rank == root) or (op == "broadcast" and rank != root)
            self._deliver(rank, {"t": "result", "seq": number, "parts": len(parts) if wanted else 0}, b"")
            for batch in batches if wanted else ():
                header = {"t": "parts", "seq": number, "sizes": [len(part) for part in batch]}
                self._deliver(rank, header, b"".join(batch) if len(batch) > 1 else batch[0])
        if op == BROADCAST_FILE:
            others = {rank: 0 for rank in range(self._size) if rank != root}
            self._stream = _Stream(number, root, others)

    def _break(self, why: str) -> None:
        # The calls of the ranks no longer fit together, and nothing could bring them back in step.
        self._broken = why
        self._calls.clear()
        for rank in list(self._waiting):
            self._refuse(rank, why)

    def _refuse(self, rank: int, why: str) -> None:
        number = self._waiting.pop(rank)
        if rank not in self._ended:
            self._deliver(rank, {"t": "error", "seq": number, "message": why}, b"")


def _batches(parts: list[bytes]) -> Iterator[list[bytes]]:
    # A thousand small values are not a thousand messages to each of a thousand ranks.
    batch: list[bytes] = []
    size = 0
    for part in parts:
        if batch and size + len(part) > CHUNK:
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += len(part)
    if batch:
        yield batch


def describe(header: dict[str, Any]) -> str:
    """The call as an error names it, ``broadcast(root=1)``; calls that read alike match."""
    op = str(header.get("op"))[:40]
    return f"{op}(root={header['root']})" if "root" in header else op
