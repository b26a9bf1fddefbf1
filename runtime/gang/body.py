"""The process in which a rank's own code runs, apart from the one that supervises it.

A process of its own can always be killed, and code that keeps the interpreter to itself cannot keep the rank from
giving signs of life.
"""

from __future__ import annotations

import io
import itertools
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional, Union

from .. import processes
from .handle import GangHandle, Member
from .loop import Channel, Loop
from .output import FileWriter, LastLines, Relay, last_lines
from .wire import MEMBER_BODY, MEMBER_HEADER, Frame, FrameReader

BodyCode = Union[Callable[[GangHandle], Optional[int]], Sequence[str]]
"""A function that is given the gang and returns an exit code (None is 0), or a program with its arguments."""


class Body:
    """A running body.

    Parameters
    ----------
    loop : Loop
        Of the supervisor.
    code : callable or sequence of str
        What runs.
    rank, members, key
        What its handle says.
    environment : mapping
        Variables set on top of this process's own.
    outputs : tuple of int
        Descriptors to which its stdout and stderr are passed on.
    signals : Signals
        The supervisor's, given up in the child.
    on_frame : callable
        Called with each message of the body.
    private : sequence of int
        Descriptors that the child closes.
    """

    def __init__(
        self,
        loop: Loop,
        code: BodyCode,
        rank: int,
        members: tuple[Member, ...],
        *,
        key: bytes,
        environment: Mapping[str, str],
        outputs: tuple[int, int],
        signals: processes.Signals,
        on_frame: Callable[[Frame], None],
        private: Sequence[int] = (),
    ) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        ours, theirs = socket.socketpair()
        pipes = (os.pipe(), os.pipe())
        parent = os.getpid()
        # A signal between fork and the child's own handling would be noted on the parent's descriptor.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
        try:
            self.pid = os.fork()
            if self.pid == 0:
                for descriptor in private:
                    os.close(descriptor)
                _child(parent, loop, signals, before, theirs, ours, pipes, code, rank, members, key, environment)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        numbers = itertools.count()
        self._lines = (LastLines(numbers), LastLines(numbers))
        self._relays = []
        self._files = FileWriter()
        for (source, end), target, lines in zip(pipes, outputs, self._lines):
            os.close(end)
            self._relays.append(Relay(loop, source, target, lines, self._files))
        self.channel = Channel(
            loop, ours, FrameReader(MEMBER_HEADER, MEMBER_BODY), lambda _, frame: on_frame(frame), lambda _, why: None
        )
        self.running = True

    def signal(self, number: int) -> None:
        """Signal the body's process group; a stopped one is woken so that it can act on it."""
        if self.running:
            processes.signal_group(self.pid, number)
            processes.signal_group(self.pid, signal.SIGCONT)

    def drain(self) -> None:
        """Take what the body has said and written so far."""
        self.channel.drain()
        for relay in self._relays:
            relay.drain()

    @property
    def output_done(self) -> bool:
        """Whether all output has been passed on, and no process could write more."""
        return all(relay.done for relay in self._relays)

    def lines(self) -> tuple[str, ...]:
        """The last lines of output."""
        return last_lines(*self._lines)

    def close(self) -> None:
        """Let go of the connection and the pipes."""
        self.channel.close()
        for relay in self._relays:
            relay.close()
        self._files.close()


def _child(
    parent: int,
    loop: Loop,
    signals: processes.Signals,
    mask: Any,
    sock: socket.socket,
    supervisors_end: socket.socket,
    pipes: tuple[tuple[int, int], tuple[int, int]],
    code: BodyCode,
    rank: int,
    members: tuple[Member, ...],
    key: bytes,
    environment: Mapping[str, str],
) -> None:
    status = 1
    try:
        os.setsid()
        processes.die_with_parent(parent)
        signals.in_child()
        loop.abandon()
        supervisors_end.close()
        for number, (source, end) in enumerate(pipes, start=1):
            os.close(source)
            os.dup2(end, number)
            os.close(end)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        if nothing:
            os.close(nothing)
        os.environ.update(environment)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if callable(code):
            sys.stdout = sys.__stdout__ = _text(1)  # type: ignore[misc]
            sys.stderr = sys.__stderr__ = _text(2)  # type: ignore[misc]
            status = _run(code, GangHandle(sock, rank, members, key))
        else:
            sock.close()
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python, and inherited otherwise
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(code[0], list(code), os.environ)  # noqa: S606
    except OSError as error:
        what = "the rank's code" if callable(code) else code[0]
        os.write(2, f"flowc: cannot start {what}: {error.strerror or error}\n".encode())
        status = 127
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _text(descriptor: int) -> io.TextIOWrapper:
    encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
    stream = open(descriptor, "wb", closefd=False)  # noqa: SIM115 (lives as long as the process)
    return io.TextIOWrapper(stream, encoding=encoding, errors="backslashreplace", line_buffering=True)


def _run(code: Callable[[GangHandle], Optional[int]], handle: GangHandle) -> int:
    # Like the end of an interpreter: only what the body itself registered is run, not what the parent did before the
    # fork.
    import atexit
    import threading

    atexit._clear()
    status = 1
    try:
        status = code(handle) or 0
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            status = (stop.code or 0) & 255
        else:
            print(stop.code, file=sys.stderr)
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 1
    return status
