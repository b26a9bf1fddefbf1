"""A connection over which one rank has another run a program: the gang's own handshake and frames, under a secret that
is derived from the attempt's token and never travels."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Optional

from ..gang.wire import (
    Buffer,
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

HANDSHAKE = 5.0
"""Seconds that a new connection has to prove the secret."""
_NAME = GangName("standby", "exec", 0)
_CONNECT = 10.0


class Link:
    """An authenticated connection. Frames may be sent from several threads, and are read by one."""

    def __init__(self, sock: socket.socket, reader: FrameReader, seal: Seal) -> None:
        sock.settimeout(None)
        self._sock = sock
        self._reader = reader
        self._seal = seal
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """For a selector."""
        return self._sock.fileno()

    def send(self, header: dict[str, Any], body: Buffer = b"") -> None:
        """Send a frame.

        Raises
        ------
        OSError
            If the other side is gone.
        """
        with self._lock:
            self._sock.sendall(b"".join(encode(header, body, self._seal)))

    def receive(self) -> Optional[list[Frame]]:
        """Wait for bytes and give the frames that are complete then, perhaps none; None at the end of the connection.

        Raises
        ------
        WireError
            If what came is not from the other side.
        """
        kept = list(self._reader.frames())
        if kept:
            return kept  # they came together with the end of the handshake
        try:
            data = self._sock.recv(1 << 18)
        except OSError:
            return None
        if not data:
            return None
        self._reader.feed(data)
        return list(self._reader.frames())

    def frames(self) -> Iterator[Frame]:
        """All frames to the end of the connection."""
        while True:
            frames = self.receive()
            if frames is None:
                return
            yield from frames

    def close(self) -> None:
        """End the connection; a thread that waits for a frame sees its end."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()


def connect(address: str, port: int, secret: bytes, rank: int) -> Link:
    """Connect to the service of a rank.

    Raises
    ------
    OSError, WireError
        If nothing listens there, or something else does.
    """
    sock = socket.create_connection((address, port), timeout=_CONNECT)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        deadline = time.monotonic() + HANDSHAKE
        handshake = WorkerHandshake(secret, _NAME, WorkerInfo(rank, 1, "", 1))
        reader = FrameReader()
        sock.sendall(b"".join(encode(handshake.hello())))
        proof, send, receive = handshake.answer(_next(sock, reader, deadline))
        sock.sendall(b"".join(encode(proof)))
        reader.authenticated(receive)
        return Link(sock, reader, send)
    except BaseException:
        sock.close()
        raise


def accept(sock: socket.socket, secret: bytes, rank: int) -> Link:
    """Have a connection prove itself.

    Raises
    ------
    OSError, WireError
        If it does not know the secret, means another rank, or takes too long.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    deadline = time.monotonic() + HANDSHAKE
    handshake = ControlHandshake(secret, _NAME)
    reader = FrameReader()
    challenge = handshake.challenge(_next(sock, reader, deadline))
    if handshake.rank != rank:
        raise WireError(f"the connection is for rank {handshake.rank}, not for rank {rank}")
    sock.sendall(b"".join(encode(challenge)))
    _, send, receive = handshake.accept(_next(sock, reader, deadline))
    reader.authenticated(receive)
    return Link(sock, reader, send)


def _next(sock: socket.socket, reader: FrameReader, deadline: float) -> Frame:
    while True:
        for frame in reader.frames():
            return frame
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        # Byte by byte would be safe, too: nothing is sent unasked before the handshake is over.
        data = sock.recv(4096)
        if not data:
            raise WireError("the connection ended before it had proved anything")
        if time.monotonic() > deadline:
            raise WireError("the connection took too long to prove anything")
        reader.feed(data)
