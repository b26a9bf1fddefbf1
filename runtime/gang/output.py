"""The body's output: passed on byte for byte, its last lines kept for the report."""

from __future__ import annotations

import os
import queue
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Optional

from .loop import Loop
from .wire import Buffer

LINES = 20
"""How many last lines a failure report carries."""
_LINE_BYTES = 2000
_QUEUE = 1 << 20
_READ_SIZE = 1 << 16


class LastLines:
    """The last lines of one stream, each with a running number shared by the streams of a body."""

    def __init__(self, counter: Iterable[int]) -> None:
        self._numbers = iter(counter)
        self._lines: deque[tuple[int, bytes]] = deque(maxlen=LINES)
        self._open = b""

    def feed(self, data: bytes) -> None:
        """Take output as it came."""
        # Of a flood only the end can matter; what stands before the last lines stays in one piece and is dropped.
        pieces = (self._open + data).rsplit(b"\n", LINES + 1)
        self._open = pieces.pop()[-_LINE_BYTES:]
        for piece in pieces[-LINES:]:
            self._lines.append((next(self._numbers), piece[-_LINE_BYTES:]))

    def lines(self) -> list[tuple[int, str]]:
        """Numbered lines, the oldest first; a last one without its newline counts."""
        rest = [(next(self._numbers), self._open)] if self._open else []
        return [(at, line.rstrip(b"\r").decode("utf-8", "backslashreplace")) for at, line in (*self._lines, *rest)]


def last_lines(out: LastLines, err: LastLines) -> tuple[str, ...]:
    """The last lines of a body in the order in which they came; what it said on stderr has precedence."""
    errors = err.lines()[-LINES:]
    room = LINES - len(errors)
    others = out.lines()[-room:] if room else []
    return tuple(line for _, line in sorted(errors + others))


def as_lines(value: Any) -> tuple[str, ...]:
    """The lines of a message, if they are some; no more than there may be."""
    lines = value[-LINES:] if isinstance(value, list) else ()
    return tuple(line[-_LINE_BYTES:] for line in lines if isinstance(line, str))


def write_all(descriptor: int, data: Buffer) -> None:
    """Write all of it, however little the descriptor takes at a time.

    Raises
    ------
    OSError
        If it takes no more.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class FileWriter:
    """Writes to files in a thread of its own: one makes a writer wait for as long as its server does not answer.

    What several relays hand to it is written in the order in which it came.
    """

    def __init__(self) -> None:
        self._pieces: queue.SimpleQueue[Optional[tuple[int, bytes, Callable[[Optional[int]], bool]]]] = (
            queue.SimpleQueue()
        )
        self._thread: Optional[threading.Thread] = None

    def write(self, target: int, data: bytes, written: Callable[[Optional[int]], bool]) -> None:
        """Write in time.

        ``written`` is called in the thread: before, with 0, and says whether the data is still wanted; after it, with
        how much was written, or with None if the file takes no more.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="flowc-output", daemon=True)
            self._thread.start()
        self._pieces.put((target, data, written))

    def close(self, limit: float = 0.2) -> None:
        """End the thread, unless a file keeps it waiting for longer than so many seconds."""
        if self._thread is not None:
            self._pieces.put(None)
            self._thread.join(limit)

    def _run(self) -> None:
        while True:
            piece = self._pieces.get()
            if piece is None:
                return
            target, data, written = piece
            if written(0):
                try:
                    write_all(target, data)
                except OSError:
                    written(None)
                else:
                    written(len(data))


class Relay:
    """Passes a pipe on to a descriptor without ever blocking the loop.

    Parameters
    ----------
    loop : Loop
        Where it is watched.
    source : int
        The pipe's reading end; it belongs to the relay.
    target : int
        Where the bytes go; it stays open.
    lines : LastLines
        Is shown all of it.
    files : FileWriter
        Writes it where the target is a file.
    """

    def __init__(self, loop: Loop, source: int, target: int, lines: LastLines, files: FileWriter) -> None:
        self._loop = loop
        self._source: Optional[int] = source
        self._target = target
        self._lines = lines
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._files = files
        self._handed = self._written = 0
        self._broken = False
        try:
            mode = os.fstat(target).st_mode
        except OSError:
            mode, self._broken = 0, True
        # No selector takes a file. Anything else takes at least PIPE_BUF bytes when poll(2) calls it writable; the
        # descriptor's flags are shared with other processes and stay as they are.
        self._waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
        self._retrying = False
        os.set_blocking(source, False)
        loop.watch(source, self._read)

    @property
    def done(self) -> bool:
        """Whether the pipe's other end is closed everywhere and all of it has been passed on."""
        return self._source is None and (self._broken or not self._waiting)

    @property
    def _waiting(self) -> int:
        # The loop counts what it hands to the writer, and the writer what it has written.
        return self._queued + self._handed - self._written

    def drain(self) -> None:
        """Take what is in the pipe now."""
        while self._source is not None and (self._broken or self._waiting < _QUEUE) and self._take():
            pass

    def close(self) -> None:
        """Stop; what is still in the pipe is given up."""
        self._end_source()
        self._queue.clear()
        self._broken = True

    def _read(self, events: int) -> None:
        self._take()

    def _take(self) -> bool:
        assert self._source is not None
        try:
            data = os.read(self._source, _READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._end_source()
            return False
        self._lines.feed(data)
        if self._broken:
            return True
        if self._waits:
            self._queue.append(data)
            self._queued += len(data)
            self._write()
        else:
            self._handed += len(data)
            self._files.write(self._target, data, self._in_file)
            self._pace()
        return True

    def _in_file(self, size: Optional[int]) -> bool:
        if size is None:
            self._broken = True
        else:
            self._written += size
        return not self._broken

    def _write(self, events: int = 0) -> None:
        while self._queue:
            if not self._writable():
                break
            data = self._queue[0]
            try:
                sent = os.write(self._target, data[: select.PIPE_BUF])
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # Nobody reads it any more, or the disk is full: the body must not stall for that.
                self._broken = True
                self._queue.clear()
                self._queued = 0
                break
            self._queued -= sent
            if sent == len(data):
                self._queue.popleft()
            else:
                self._queue[0] = data[sent:]
        self._pace()

    def _writable(self) -> bool:
        poll = select.poll()
        poll.register(self._target, select.POLLOUT)
        return bool(poll.poll(0))

    def _pace(self) -> None:
        # The body waits for a slow reader of its output, as it would without us; the loop does not.
        if self._source is not None:
            self._loop.watch(self._source, self._read, read=self._broken or self._waiting < _QUEUE)
        if self._waiting and not self._broken and not self._retrying:
            self._retrying = True
            self._loop.after(0.005, self._again)

    def _again(self) -> None:
        self._retrying = False
        self._write()

    def _end_source(self) -> None:
        if self._source is not None:
            self._loop.unwatch(self._source)
            os.close(self._source)
            self._source = None
