"""The warm server: a process that has imported the flow once and forks one process for each task.

The command line's process forks it before any thread is started. It is single-threaded, holds no state but the
processes it started, and ends with everything below it as soon as the other end of its channel is gone.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from ...runtime.processes import adopt_orphans, kill_children_except, signal_group
from .channel import Channel
from .child import begin, make_ready
from .notes import read_notes, write_note

Start = Callable[[list[Any]], Callable[[], int]]
"""Called in the server with the fields of a request; what it returns runs the task in a forked process, which ends with
the exit code that it gives."""

BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals to the whole process group concern the scheduler; the server acts on its channel alone. They are blocked, not
ignored, so that one sent to a task between its fork and its first instruction is kept for it."""

_GRACE = 1.0


class Handle:
    """The scheduler's side: a channel to the server and its process id."""

    def __init__(self, channel: Channel, pid: int) -> None:
        self.channel = channel
        self.pid = pid

    def close(self, patience: float = 5.0) -> None:
        """End the server and wait until it is gone, at most ``patience`` seconds before it is killed."""
        self.channel.close()
        deadline = time.monotonic() + patience
        pause = 0.0005
        while True:
            try:
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    return
            except ChildProcessError:
                return
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                deadline = float("inf")
            time.sleep(pause)
            pause = min(pause * 2, 0.02)


def start_server(prepare: Callable[[], Callable[[Any], Start]], close: tuple[int, ...] = ()) -> Handle:
    """Fork the server.

    Parameters
    ----------
    prepare : callable
        Called in the server; imports what every task needs and returns what makes, from the payload of the first
        message, the function that runs a task.
    close : tuple of int
        Descriptors that the server must not keep open.
    """
    here, there = Channel.pair()
    caller = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        try:
            # What is buffered now would be written again by every process forked from here.
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    try:
        pid = fork()
    finally:
        if os.getpid() == caller:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if pid == 0:
        try:
            here.close()
            for fd in close:
                os.close(fd)
            os.setsid()
            _Server(there, prepare).serve()
        except BaseException as error:
            there.put("broken", 0, f"{type(error).__name__}: {error}")
            there.flush()
        finally:
            os._exit(70)
    there.close()
    here.never_block()
    return Handle(here, pid)


def fork() -> int:
    """``os.fork`` without its warning about threads: what a flow imports is its author's choice, and spawn is there."""
    if "warnings" not in sys.modules or sys.version_info < (3, 12):
        return os.fork()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


class _Server:
    def __init__(self, channel: Channel, prepare: Callable[[], Callable[[Any], Start]]) -> None:
        self._channel = channel
        self._prepare: Callable[[Any], Start] = prepare()
        self._start: Start | None = None
        self._tasks: dict[int, int] = {}  # process id -> number of the task
        self._pids: dict[int, int] = {}  # the other way round
        self._notes: dict[int, list[str]] = {}
        self._wake_read, self._wake_write = os.pipe()
        self._note_read, self._note_write = os.pipe()
        for fd in (self._wake_read, self._wake_write, self._note_read):
            os.set_blocking(fd, False)

    def serve(self) -> None:
        adopt_orphans()
        make_ready()
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, _noted)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # Forked processes share the server's pages for as long as nobody writes to them; the collector would, to all.
        gc.disable()
        gc.freeze()
        poll = select.poll()
        poll.register(self._channel.read_fd, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while not self._channel.ended:
            for fd, _ in poll.poll():
                if fd == self._channel.read_fd:
                    for kind, *fields in self._channel.receive():
                        getattr(self, f"_on_{kind}")(*fields)
                else:
                    _drain(fd)
                    self._reap()
            self._channel.flush()
        self._end_all()
        os._exit(0)

    # What the scheduler asks for -------------------------------------------------------------------------------------

    def _on_run(self, payload: Any) -> None:
        self._start = self._prepare(payload)
        gc.freeze()

    def _on_start(self, task: int, request: list[Any]) -> None:
        server = os.getpid()
        assert self._start is not None
        run = self._start(request)
        try:
            pid = fork()
        except OSError as error:
            self._channel.put("refused", task, f"no process could be started for it: {error.strerror}")
            return
        if pid == 0:
            self._become(task, run, server)
        self._tasks[pid] = task
        self._pids[task] = pid

    def _on_signal(self, task: int, number: int) -> None:
        pid = self._pids.get(task)
        if pid is not None:
            signal_group(pid, number)

    # In the forked process -------------------------------------------------------------------------------------------

    def _become(self, task: int, run: Callable[[], int], server: int) -> None:
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            self._channel.close()
            for fd in (self._wake_read, self._wake_write, self._note_read):
                os.close(fd)
            begin(server)
            try:
                code = run()
            except BaseException as error:
                write_note(self._note_write, task, error)
        finally:
            os._exit(code)

    # Processes that ended --------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        ended = False
        while True:
            try:
                # The process stays a zombie until its group is killed, so that its number cannot be another's by then.
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if info is None:
                break
            pid = info.si_pid
            task = self._tasks.pop(pid, None)
            if task is not None:
                signal_group(pid, signal.SIGKILL)
                del self._pids[task]
            _, status, usage = os.wait4(pid, 0)
            ended = True
            if task is not None:
                self._notes.update(read_notes(self._note_read))
                self._channel.put("ended", task, status, self._notes.pop(task, None), usage.ru_maxrss)
        if ended:
            # A task adopts its own orphans, so whoever is ours now and no task belonged to one that has ended.
            kill_children_except(self._tasks)

    def _end_all(self) -> None:
        for pid in self._tasks:
            signal_group(pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        while self._tasks and (left := deadline - time.monotonic()) > 0:
            select.select([self._wake_read], [], [], left)
            _drain(self._wake_read)
            self._reap()
        for pid in self._tasks:
            signal_group(pid, signal.SIGKILL)
        kill_children_except(())
        while True:
            try:
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                return
            if self._tasks.pop(pid, None) is not None:
                signal_group(pid, signal.SIGKILL)
            kill_children_except(())


def _noted(number: int, frame: object) -> None:
    """Nothing: the number is on the descriptor. Not a lambda, which every task would have to free."""


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        pass
