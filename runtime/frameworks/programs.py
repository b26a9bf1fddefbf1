"""A program that a framework starts on this node: its output is passed on complete, and its end is never missed."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, Optional

from ...dsl import FlowcError
from ..gang.failure import signal_name
from ..gang.output import LastLines, last_lines, write_all

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a program that is no longer wanted."""
_LINGER = 2.0
_LINES_TOLD = 20

Taker = Callable[[bytes], None]
"""Is given a program's output as it comes. It is no descriptor, which somebody would close in the end: whom the program
left behind may go on to write, and that would then go to whatever has the descriptor's number next."""


class ProgramFailed(FlowcError):
    """A program that a framework ran did not end well.

    Attributes
    ----------
    returncode : int
        Its exit code; 128 plus the signal's number where a signal ended it.
    lines : tuple of str
        The last lines that it wrote.
    """

    def __init__(self, message: str, returncode: int, lines: Sequence[str] = ()) -> None:
        self.returncode = returncode
        self.lines = tuple(lines)
        told = "".join(f"\n    {line}" for line in self.lines[-_LINES_TOLD:])
        super().__init__(f"{message}; its last lines were:{told}" if told else message)


class Program:
    """A running program, whose output is passed on byte for byte.

    It leads a process group of its own, so that all of it can be ended.

    Parameters
    ----------
    argv : sequence of str
        The program and its arguments; no shell sees them.
    env : mapping, optional
        Its whole environment; this process's own if not given.
    cwd : str, optional
        Its folder.
    out, err : callable, optional
        Takers of its output; else it goes to this process's stdout and stderr.
    on_interrupt : callable, optional
        How it is told to end where `wait` is interrupted; by default with SIGTERM.

    Raises
    ------
    ProgramFailed
        If it cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        out: Optional[Taker] = None,
        err: Optional[Taker] = None,
        on_interrupt: Optional[Callable[[], None]] = None,
    ) -> None:
        self.argv = list(argv)
        self._on_interrupt = on_interrupt or (lambda: self.signal(signal.SIGTERM))
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        self._process = start(self.argv, env, cwd, stdin=subprocess.DEVNULL)
        numbers = itertools.count()
        self._lines = (LastLines(numbers), LastLines(numbers))
        self._threads = []
        pipes = (self._process.stdout, self._process.stderr)
        takers = (out or partial(write_all, 1), err or partial(write_all, 2))
        for pipe, take, lines in zip(pipes, takers, self._lines):
            assert pipe is not None
            thread = threading.Thread(target=_pass_on, args=(pipe, take, lines), daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group."""
        return self._process.pid

    def poll(self) -> Optional[int]:
        """Its exit code, as `wait` gives it, or None while it runs."""
        code = self._process.poll()
        return None if code is None else shell_code(code)

    def wait(self) -> int:
        """Wait for its end and for the end of its output; 128 plus the signal where one ended it.

        When this is interrupted, by SIGTERM or Ctrl-C, the program is told and given the time it needs: who interrupted
        has its own clock.
        """
        try:
            code = self._process.wait()
        except BaseException:
            try:
                self._on_interrupt()
            except ProgramFailed:
                self.signal(signal.SIGTERM)
            self._process.wait()
            self._finish()
            raise
        self._finish()
        return shell_code(code)

    def check(self, name: str) -> None:
        """Wait, and raise `ProgramFailed` unless the exit code is 0.

        Parameters
        ----------
        name : str
            What the program is called in the error.
        """
        code = self.wait()
        if code:
            raise ProgramFailed(f"{name} {how_it_ended(self._process.returncode)}", code, self.lines())

    def lines(self) -> tuple[str, ...]:
        """The last lines of its output so far."""
        return last_lines(*self._lines)

    def signal(self, number: int) -> None:
        """Signal all of its process group."""
        if self._process.poll() is None:
            signal_group(self._process.pid, number)

    def stop(self, grace: float = GRACE) -> None:
        """End it: SIGTERM, and SIGKILL after the grace. What it left in its group goes, too."""
        stop(self._process, grace)
        self._finish()

    def _finish(self) -> None:
        # A descendant that got away may hold the pipes open for ever; the program's own output is in them by now.
        deadline = time.monotonic() + _LINGER
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if not any(thread.is_alive() for thread in self._threads):
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe is not None
                pipe.close()


def search_path() -> str:
    """PATH, with the folder of this Python in it: an environment's programs stand there, and whoever started this
    Python need not have put it on the path."""
    own, path = os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)
    if own in path.split(os.pathsep):
        return path
    return f"{own}{os.pathsep}{path}" if sys.prefix != sys.base_prefix else f"{path}{os.pathsep}{own}"


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process, and put back what was there before."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def start(
    argv: Sequence[str], env: Optional[Mapping[str, str]], cwd: Optional[str], *, stdin: int
) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own, with pipes for its output.

    Raises
    ------
    ProgramFailed
        If there is no such program, or it may not be run; the codes are those of a shell.
    """
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(  # noqa: S603 (what to run is the author's to say)
            list(argv), env=env, cwd=cwd, stdin=stdin, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
        )
    except OSError as error:
        what = f"cannot run {argv[0]}"
        if cwd is not None and not os.path.isdir(cwd):
            what = f"cannot run {argv[0]} in {cwd}"
        code = 127 if isinstance(error, FileNotFoundError) else 126
        raise ProgramFailed(f"{what}: {error.strerror or error}", code) from None


def stop(process: subprocess.Popen[bytes], grace: float = GRACE) -> None:
    """End a program that :func:`start` has started, and what is left of its process group."""
    if process.poll() is None:
        signal_group(process.pid, signal.SIGTERM)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            pass
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def signal_group(leader: int, number: int) -> None:
    """Signal a process group, if there is still one."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        pass


def shell_code(returncode: int) -> int:
    """An exit code as a shell gives it: 128 plus the signal's number where a signal ended the program."""
    return 128 - returncode if returncode < 0 else returncode


def how_it_ended(returncode: int) -> str:
    """``exited with code 3`` or ``was killed by SIGKILL``, from subprocess's return code."""
    return f"was killed by {signal_name(-returncode)}" if returncode < 0 else f"exited with code {returncode}"


def dropped(data: bytes) -> None:
    """A taker of output that nobody wants; its last lines are kept all the same."""


def _pass_on(pipe: IO[bytes], take: Taker, lines: LastLines) -> None:
    # It is the pipe that is held here: its descriptor would be closed with the last of those who know the program.
    while True:
        try:
            data = os.read(pipe.fileno(), 1 << 16)
        except OSError:
            return
        if not data:
            return
        lines.feed(data)
        with suppress(OSError):  # nobody reads it; the program must not stall for that
            take(data)
