"""Messages between the scheduler and the warm server: JSON values with their length before them, over a pair of pipes.

Pipes and not a socket, because importing the socket module takes longer than starting three tasks.
"""

from __future__ import annotations

import json
import os
from collections import deque
from typing import Any

_LENGTH = 4
_CHUNK = 1 << 16


class Channel:
    """One end of the connection.

    Parameters
    ----------
    read_fd, write_fd : int
        Where messages come from and go to; both belong to the channel from now on.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.ended = False
        self._incoming = bytearray()
        self._outgoing: deque[memoryview] = deque()

    @staticmethod
    def pair() -> tuple[Channel, Channel]:
        """Two ends that talk to each other."""
        here_read, there_write = os.pipe()
        there_read, here_write = os.pipe()
        return Channel(here_read, here_write), Channel(there_read, there_write)

    def never_block(self) -> None:
        """Let `flush` and `receive` return where nothing can be written or read; `pending` says what is left."""
        os.set_blocking(self.read_fd, False)
        os.set_blocking(self.write_fd, False)

    @property
    def pending(self) -> bool:
        """Whether messages wait for room in the pipe."""
        return bool(self._outgoing)

    def put(self, *message: Any) -> None:
        """Queue a message; `flush` sends it."""
        body = json.dumps(message, separators=(",", ":")).encode()
        self._outgoing.append(memoryview(len(body).to_bytes(_LENGTH, "little") + body))

    def flush(self) -> None:
        """Send what is queued, as far as the pipe takes it. What the other end no longer reads is dropped."""
        if len(self._outgoing) > 1:
            together = memoryview(b"".join(self._outgoing))
            self._outgoing.clear()
            self._outgoing.append(together)
        while self._outgoing:
            data = self._outgoing[0]
            try:
                sent = os.write(self.write_fd, data)
            except BlockingIOError:
                return
            except BrokenPipeError:
                # The reading side reports the end; there is nobody left to tell.
                self._outgoing.clear()
                return
            if sent == len(data):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = data[sent:]

    def receive(self) -> list[list[Any]]:
        """The messages that have come; sets ``ended`` once the other end is closed."""
        try:
            data = os.read(self.read_fd, _CHUNK)
        except BlockingIOError:
            return []
        if not data:
            self.ended = True
            return []
        self._incoming += data
        messages: list[list[Any]] = []
        start = 0
        while len(self._incoming) - start >= _LENGTH:
            end = start + _LENGTH + int.from_bytes(self._incoming[start : start + _LENGTH], "little")
            if end > len(self._incoming):
                break
            messages.append(json.loads(self._incoming[start + _LENGTH : end]))
            start = end
        del self._incoming[:start]
        return messages

    def close(self) -> None:
        """Close both pipes; the other end sees its end."""
        for fd in (self.read_fd, self.write_fd):
            try:
                os.close(fd)
            except OSError:
                pass
