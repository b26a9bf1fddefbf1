"""The service in which a rank runs programs for the control rank: what a node's sshd would do, without one.

It listens on the gang's address, takes commands only from who knows the attempt's secret, and lives no longer than the
attempt. What it runs leads a process group of its own, which ends with its connection.
"""

from __future__ import annotations

import itertools
import os
import queue
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Optional

from ..gang.output import LastLines, last_lines, write_all
from ..gang.wire import Frame, WireError
from . import exec_link, programs
from .programs import ProgramFailed

_STRANGERS = 32
"""Connections that have not proved the secret, at most; one more, and the oldest goes."""
_LINGER = 2.0
_POLL = 0.05
_CHUNK = 1 << 16


class ExecService:
    """Runs programs for whoever knows the secret.

    Parameters
    ----------
    address : str
        Where to listen; if it is no address of this machine (a translated one), on all of them.
    secret : bytes
        Of the attempt.
    rank : int
        This rank.
    """

    def __init__(self, address: str, secret: bytes, rank: int) -> None:
        self._secret = secret
        self._rank = rank
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._strangers: dict[socket.socket, None] = {}
        self._door = threading.Lock()
        self._closed = False
        self._listener = _listen(address)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether a program is running."""
        with self._lock:
            return any(process.poll() is None for process in self._running.values())

    def close(self, grace: float = programs.GRACE) -> None:
        """Take no more commands and end what is running."""
        self._closed = True
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        except OSError:
            pass
        self._listener.close()
        with self._lock:
            left = list(self._running.values())
        for process in left:
            programs.stop(process, grace)

    def _accept(self) -> None:
        while not self._closed:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                self._make_room(0)
                time.sleep(_POLL)  # no descriptors left; others will be closed
                continue
            self._make_room(_STRANGERS - 1)
            with self._door:
                self._strangers[sock] = None
            threading.Thread(target=self._greet, args=(sock,), daemon=True).start()

    def _make_room(self, most: int) -> None:
        with self._door:
            if len(self._strangers) <= most:
                return
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            with suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for its words, and closes it

    def _greet(self, sock: socket.socket) -> None:
        with sock:
            try:
                link = exec_link.accept(sock, self._secret, self._rank)
            except (OSError, WireError):
                return
            finally:
                with self._door:
                    self._strangers.pop(sock, None)
            try:
                self._serve(link)
            except (OSError, WireError):
                pass
            finally:
                link.close()

    def _serve(self, link: exec_link.Link) -> None:
        frames: list[Frame] = []
        while not frames:
            received = link.receive()
            if received is None:
                return
            frames = received
        order = frames[0].header
        carry = bool(order.get("carry"))
        try:
            process = self._start(order, subprocess.PIPE if carry else subprocess.DEVNULL)
        except ProgramFailed as error:
            if carry:
                link.send({"t": "err"}, f"{error}\n".encode())
            link.send({"t": "exit", "code": error.returncode, "lines": [str(error)]})
            return
        session = _Session(link, process, carry)
        ended = False
        try:
            session.take(frames[1:])
            ended = session.run()
        finally:
            # Under a launcher's agent what was left in the background on purpose lives on, as it would under sshd: a
            # daemon may not have left the group yet. The gang's end is its end at the latest.
            if not (carry and ended):
                programs.stop(process)
            session.close()
            with self._lock:
                self._running.pop(process.pid, None)

    def _start(self, order: Mapping[str, Any], stdin: int) -> subprocess.Popen[bytes]:
        argv = [str(word) for word in order["argv"]]
        env = {**os.environ, **{str(name): str(value) for name, value in dict(order.get("env") or {}).items()}}
        cwd = order.get("cwd")
        with self._lock:
            if self._closed:
                raise ProgramFailed("the gang is at its end", 255)
            process = programs.start(argv, env, cwd if cwd and os.path.isdir(cwd) else None, stdin=stdin)
            self._running[process.pid] = process
        return process


class _Session:
    """One program and the connection that it belongs to."""

    def __init__(self, link: exec_link.Link, process: subprocess.Popen[bytes], carry: bool) -> None:
        self._link = link
        self._process = process
        self._carry = carry
        numbers = itertools.count()
        self._lines = (LastLines(numbers), LastLines(numbers))
        self._lost = False
        self._input: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        if carry:
            threading.Thread(target=self._feed, daemon=True).start()

    def run(self) -> bool:
        """Pass on until the program and its output have ended, which is True, or the connection has."""
        assert self._process.stdout is not None and self._process.stderr is not None
        end: Optional[float] = None
        with selectors.DefaultSelector() as selector:
            selector.register(self._link, selectors.EVENT_READ, 0)
            selector.register(self._process.stdout, selectors.EVENT_READ, 1)
            selector.register(self._process.stderr, selectors.EVENT_READ, 2)
            while not self._lost:
                open_pipes = len(selector.get_map()) - 1
                if self._process.poll() is not None:
                    # Whoever still holds the pipes was left behind on purpose; its words are not awaited.
                    end = end or time.monotonic() + _LINGER
                    if not open_pipes or time.monotonic() > end:
                        break
                for key, _ in selector.select(_POLL):
                    if key.data == 0:
                        received = self._link.receive()
                        self._lost = received is None
                        self.take(received or [])
                    elif not self._pass_on(key.fd, key.data):
                        selector.unregister(key.fileobj)
        if not self._lost:
            lines = list(last_lines(*self._lines))
            self._link.send({"t": "exit", "code": self._process.returncode, "lines": lines})
        return not self._lost

    def take(self, frames: list[Frame]) -> None:
        """Do what the other side says."""
        for frame in frames:
            if frame.type == "in":
                self._input.put(frame.body)
            elif frame.type == "signal" and self._process.poll() is None:
                programs.signal_group(self._process.pid, int(frame.header.get("number", signal.SIGTERM)))

    def close(self) -> None:
        """Let the pipes go."""
        self._input.put(b"")
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _pass_on(self, source: int, stream: int) -> bool:
        data = os.read(source, _CHUNK)
        if not data:
            return False
        if self._carry:
            self._link.send({"t": "out" if stream == 1 else "err"}, data)
            return True
        self._lines[stream - 1].feed(data)
        with suppress(OSError):  # the log takes no more; the program must not stall for that
            write_all(stream, data)
        return True

    def _feed(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        while True:
            data = self._input.get()
            try:
                if not data:
                    stdin.close()
                    return
                view = memoryview(data)
                while view:
                    view = view[stdin.write(view) :]
            except OSError:
                try:
                    stdin.close()
                except OSError:
                    pass
                return


def _listen(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, 0), family=family, backlog=64)
    except OSError:
        return socket.create_server(("", 0), family=family, backlog=64)
