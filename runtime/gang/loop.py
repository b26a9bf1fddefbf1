"""One thread, one loop: descriptors, timers, and connections that never block it."""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Optional

from .wire import Buffer, Frame, FrameReader, Seal, WireError, encode

_READ_SIZE = 1 << 18
_READS_A_TURN = 16


class Timer:
    """A call in the future; :meth:`cancel` takes it back."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Optional[Callable[[], None]] = call

    def cancel(self) -> None:
        """Not any more."""
        self.call = None


class Loop:
    """Waits for descriptors and timers, and calls whoever waits for them. Times are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self.now = time.monotonic()

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once, some seconds from now."""
        timer = Timer(call)
        self._count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._count, timer))
        return timer

    def watch(self, fd: int, call: Callable[[int], None], *, read: bool = True, write: bool = False) -> None:
        """Call with the ready events (``selectors.EVENT_READ | EVENT_WRITE``); watching for nothing is to unwatch."""
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        known = self._selector.get_map().get(fd)
        if known is None:
            if events:
                self._selector.register(fd, events, call)
        elif not events:
            self._selector.unregister(fd)
        elif known.events != events or known.data != call:
            self._selector.modify(fd, events, call)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor; before it is closed."""
        if fd >= 0 and fd in self._selector.get_map():
            self._selector.unregister(fd)

    def turn(self) -> None:
        """Wait for the next event, and handle what there is. What came is read before any timer judges its absence."""
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        wait = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        ready = self._selector.select(wait)
        self.now = time.monotonic()
        for key, events in ready:
            # An earlier call of this turn may have closed the descriptor, or given its number to another one.
            current = self._selector.get_map().get(key.fd)
            if current is not None and current.data == key.data:
                key.data(events)
        for _ in range(len(self._timers)):
            if not self._timers or self._timers[0][0] > self.now:
                break
            timer = heapq.heappop(self._timers)[2]
            if timer.call is not None:
                timer.call()

    def abandon(self) -> None:
        """In a forked child: close every descriptor that is watched, and leave the parent's watching as it is."""
        own = getattr(self._selector, "fileno", lambda: -1)()
        for fd in [own, *(key.fd for key in self._selector.get_map().values())]:
            try:
                os.close(fd)
            except OSError:
                pass

    def close(self) -> None:
        """Let the selector go; the descriptors stay open."""
        self._selector.close()
        self._timers.clear()


class Channel:
    """Frames over one stream socket in a loop.

    Parameters
    ----------
    loop : Loop
        Where it is watched.
    sock : socket.socket
        A connected stream; it becomes non-blocking and belongs to the channel.
    reader : FrameReader
        With the limits for the other side.
    on_frame : callable
        Called with the channel and each frame.
    on_closed : callable
        Called once with the channel and why, when the other side is gone or sends what is no frame; not by
        :meth:`close`.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        reader: FrameReader,
        on_frame: Callable[[Channel, Frame], None],
        on_closed: Callable[[Channel, str], None],
    ) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.loop = loop
        self.sock = sock
        self.reader = reader
        self.on_frame = on_frame
        self.on_closed = on_closed
        self.heard = loop.now
        self.open = True
        self._finishing = False
        self._seal: Optional[Seal] = None
        self._out: deque[memoryview] = deque()
        self._heartbeat: Optional[Timer] = None
        loop.watch(sock.fileno(), self._ready)

    def authenticated(self, send: Seal, receive: Seal) -> None:
        """Seal every further frame in both directions."""
        self._seal = send
        self.reader.authenticated(receive)

    def send(self, header: dict[str, Any], body: Buffer = b"", digest: Optional[bytes] = None) -> None:
        """Queue a frame and send what fits now; nothing happens if the channel is closed."""
        if not self.open or self._finishing:
            return
        self._out.extend(memoryview(piece) for piece in encode(header, body, self._seal, digest))
        self._flush()

    def drain(self) -> None:
        """Handle what has come by now, without waiting for the loop's turn."""
        if self.open:
            self._read()

    def keep_alive(self, every: float, limit: float) -> None:
        """Send a heartbeat each ``every`` seconds, and close if nothing at all came for ``limit`` seconds."""
        last = self.loop.now

        def beat() -> None:
            nonlocal last
            if not self.open:
                return
            stalled = self.loop.now - last - every
            last = self.loop.now
            if stalled > every:
                # This process itself was stopped for a while. That time does not count. If it was long, the others may
                # have been stopped, too, and go on a while after this one.
                self.heard = self.loop.now if stalled > limit else min(self.loop.now, self.heard + stalled)
            if self.loop.now - self.heard > limit:
                self._fail(f"no sign of life for {limit:g} s")
                return
            if not self._out:
                self.send({"t": "beat"})
            self._heartbeat = self.loop.after(every, beat)

        self.heard = self.loop.now
        self._heartbeat = self.loop.after(0, beat)

    def finish(self) -> None:
        """Say that nothing more will be sent; what the other side still sends is read until it closes too."""
        self._finishing = True
        if self.open and not self._out:
            self._shut()

    def _shut(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        """Close at once; what is still queued is lost."""
        if not self.open:
            return
        self.open = False
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._out.clear()
        self.loop.unwatch(self.sock.fileno())
        self.sock.close()

    def _fail(self, why: str) -> None:
        if self.open:
            self.close()
            self.on_closed(self, why)

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
        if self.open and events & selectors.EVENT_READ:
            self._read()

    def _read(self) -> None:
        for _ in range(_READS_A_TURN):
            try:
                data = self.sock.recv(_READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._fail(f"connection lost ({error.strerror or error})")
                return
            if not data:
                self._fail("connection closed")
                return
            self.heard = self.loop.now
            self.reader.feed(data)
            try:
                for frame in self.reader.frames():
                    if frame.type != "beat":
                        self.on_frame(self, frame)
                    if not self.open:
                        return
            except WireError as error:
                self._fail(str(error))
                return
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                self._fail(f"a message makes no sense ({type(error).__name__}: {error})")
                return
            if len(data) < _READ_SIZE:
                return

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self.sock.sendmsg(list(itertools.islice(self._out, 64)))
                while sent:
                    head = self._out[0]
                    if sent >= len(head):
                        sent -= len(head)
                        self._out.popleft()
                    else:
                        self._out[0] = head[sent:]
                        sent = 0
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            # Reported from the loop, never from inside send(): whoever sends must not be re-entered. What the other
            # side sent before it went is still read first.
            self._out.clear()
            why = f"connection lost ({error.strerror or error})"
            self.loop.after(0.05, lambda: self._fail(why))
        self.loop.watch(self.sock.fileno(), self._ready, write=bool(self._out))
        if self._finishing and not self._out:
            self._shut()
