"""The first process of a container: it starts the task as its child, hands on signals and output, and reaps.

The kernel drops a signal to a PID namespace's first process unless that process handles it, and gives it every orphan
(pid_namespaces(7)). A task would then outlive SIGTERM until it is killed, and leave zombies; so it is not the first.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from .logs import Log
    from .time_limit import TimeLimit
    from .workflow_watch import WorkflowWatch

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_CHUNK = 1 << 16
_DRAIN = 1.0
"""Seconds in which output is still awaited after the task ended: a process that it left may hold the pipe for ever."""
_DRAINED = 5.0
"""Seconds after the task's end in which its last output is read: a process that it left may also write for ever."""
_TELL = 5.0
"""Seconds in which it is said that the task ends for good: a datastore that does not answer must not keep it going."""


def attend(
    copies: Sequence[Log] = (),
    limit: Optional[TimeLimit] = None,
    watch: Optional[WorkflowWatch] = None,
    for_good: Optional[Callable[[], None]] = None,
) -> None:
    """Go on in a child process; this one never returns, and ends as the child ends: with its exit code, or with 128
    plus the signal that ended it; with 1 if it took too long.

    Parameters
    ----------
    limit : TimeLimit, optional
        How long the child may take.
    watch : WorkflowWatch, optional
        What the child belongs to, and is to end with.
    for_good : callable, optional
        Called before the child is asked to end by one of them, which no scheduler should take for its own asking.
    copies : sequence of binary files
        Where a copy of the child's standard output and error goes, in this order. What cannot be written there is
        dropped: a full disk must not end the task by its log. Whoever writes to them must not have to wait, or the
        child would.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    pipes = [os.pipe() for _ in copies]
    wake, wakened = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wakened, False)
    # Blocked until both know what to do with them: none is lost, and none hits the child as the parent's.
    blocked = (*_FORWARDED, signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    child = os.fork()
    if child == 0:
        os.close(wake)
        os.close(wakened)
        for number, (read, write) in enumerate(pipes, 1):
            os.close(read)
            os.dup2(write, number)
            os.close(write)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        return
    for _, write in pipes:
        os.close(write)
    signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for each in _FORWARDED:
        signal.signal(each, lambda number, frame: _hand_on(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
    code = 1
    try:
        if watch is not None:
            _start(watch, child, for_good)
        code = _watch(child, wake, {pipes[at][0]: (at + 1, copy) for at, copy in enumerate(copies)}, limit, for_good)
    except BaseException:
        import traceback

        traceback.print_exc()
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


def _start(watch: WorkflowWatch, child: int, for_good: Optional[Callable[[], None]]) -> None:
    import threading

    try:
        threading.Thread(target=_end_with, args=(watch, child, for_good), daemon=True).start()
    except RuntimeError as error:  # no more threads for this container
        sys.stderr.write(f"flowc: nobody looks after Workflow {watch.workflow}: {error}\n")


def _end_with(watch: WorkflowWatch, child: int, for_good: Optional[Callable[[], None]]) -> None:
    why = watch.wait()
    sys.stderr.write(f"flowc: {why}; the task is asked to end\n")
    sys.stderr.flush()
    _say(for_good)
    _hand_on(child, signal.SIGTERM)
    time.sleep(watch.grace)
    _hand_on(child, signal.SIGKILL)


def _say(for_good: Optional[Callable[[], None]]) -> None:
    if for_good is None:
        return
    import threading

    def say() -> None:
        try:
            for_good()
        except Exception as error:
            sys.stderr.write(f"flowc: that the task ends for good could not be told to its scheduler: {error}\n")

    try:
        teller = threading.Thread(target=say, daemon=True)
        teller.start()
        teller.join(_TELL)
    except RuntimeError:  # no more threads for this container
        say()


def _watch(
    child: int,
    wake: int,
    streams: dict[int, tuple[int, Log]],
    limit: Optional[TimeLimit],
    for_good: Optional[Callable[[], None]],
) -> int:
    """Copy output and reap until the child has ended; its exit code."""
    ended = None
    until = 0.0
    clock = _Clock(child, limit, for_good)
    while ended is None or streams:
        ready, _, _ = select.select([wake, *streams], [], [], clock.left() if ended is None else _DRAIN)
        if ended is not None and (not ready or time.monotonic() > until):
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
            if ended is not None and not until:
                until = time.monotonic() + _DRAINED
        if ended is None:
            clock.look()
    code = os.WEXITSTATUS(ended) if os.WIFEXITED(ended) else 128 + os.WTERMSIG(ended)
    if limit is not None and clock.hit and code != 0:
        limit.ended()
        return 1
    return code


class _Clock:
    """Asks the child to end when its time is up, and kills it if it does not."""

    def __init__(self, child: int, limit: Optional[TimeLimit], for_good: Optional[Callable[[], None]]) -> None:
        self._child = child
        self._limit = limit
        self._for_good = for_good
        self._due = None if limit is None else time.monotonic() + limit.seconds
        self.hit = False

    def left(self) -> Optional[float]:
        """Seconds until the next look; None for ever."""
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    def look(self) -> None:
        limit = self._limit
        if limit is None or self._due is None or time.monotonic() < self._due:
            return
        if self.hit:
            self._due = None
            _hand_on(self._child, signal.SIGKILL)
            return
        self.hit = True
        _say(self._for_good)
        self._due = time.monotonic() + limit.grace
        _hand_on(self._child, signal.SIGTERM)
        limit.asked()


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


def _write(number: int, copy: Log, data: bytes) -> None:
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
