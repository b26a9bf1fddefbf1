"""The first process of a container: it starts the task as its child, hands on signals and output, and reaps.

The kernel drops a signal to a PID namespace's first process unless that process handles it, and gives it every orphan
(pid_namespaces(7)). A task would then outlive SIGTERM until it is killed, and leave zombies; so it is not the first.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import BinaryIO

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_CHUNK = 1 << 16
_DRAIN = 1.0
"""Seconds in which output is still awaited after the task ended: a process that it left may hold the pipe for ever."""


def attend(copies: Sequence[BinaryIO] = ()) -> None:
    """Go on in a child process; this one never returns, and ends as the child ends: with its exit code, or with 128
    plus the signal that ended it.

    Parameters
    ----------
    copies : sequence of binary files
        Where a copy of the child's standard output and error goes, in this order. What cannot be written there is
        dropped: a full disk must not end the task by its log.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    pipes = [os.pipe() for _ in copies]
    wake, wakened = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wakened, False)
    # Blocked until both know what to do with them: none is lost, and none hits the child as the parent's.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    child = os.fork()
    if child == 0:
        os.close(wake)
        os.close(wakened)
        for number, (read, write) in enumerate(pipes, 1):
            os.close(read)
            os.dup2(write, number)
            os.close(write)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        return
    for _, write in pipes:
        os.close(write)
    signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for each in _FORWARDED:
        signal.signal(each, lambda number, frame: _hand_on(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    code = 1
    try:
        code = _watch(child, wake, {pipes[at][0]: (at + 1, copy) for at, copy in enumerate(copies)})
    finally:
        for copy in copies:
            try:
                copy.close()
            except (OSError, ValueError):
                pass
        os._exit(code)


def _hand_on(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except ProcessLookupError:
        pass


def _watch(child: int, wake: int, streams: dict[int, tuple[int, BinaryIO]]) -> int:
    """Copy output and reap until the child has ended; its exit code."""
    ended = None
    while ended is None or streams:
        ready, _, _ = select.select([wake, *streams], [], [], None if ended is None else _DRAIN)
        if ended is not None and not ready:
            break
        for fd in ready:
            if fd != wake:
                data = os.read(fd, _CHUNK)
                if not data:
                    os.close(fd)
                    del streams[fd]
                    continue
                number, copy = streams[fd]
                _write(number, copy, data)
        if wake in ready:
            os.read(wake, _CHUNK)
            ended = _reap(child, ended)
    return os.WEXITSTATUS(ended) if os.WIFEXITED(ended) else 128 + os.WTERMSIG(ended)


def _reap(child: int, ended: int | None) -> int | None:
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return ended
            if pid == child:
                ended = status
    except ChildProcessError:
        return ended


def _write(number: int, copy: BinaryIO, data: bytes) -> None:
    view = data
    try:
        while view:
            view = view[os.write(number, view) :]
    except OSError:
        pass
    try:
        copy.write(data)
        copy.flush()
    except (OSError, ValueError):
        pass
