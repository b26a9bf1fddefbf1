"""The processes that hold a lab, and the one that ends what is left of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

KEEPER = [os.path.realpath(sys.executable), "-IS", str(Path(__file__).with_name("lab_keeper.py"))]
"""The start of a command that runs lab_keeper.py."""


class LabError(Exception):
    """The lab could not be set up; the message has what the programs said."""


class Keeper:
    """The process that removes a lab's folder and ends its processes when this one is gone; see lab_keeper.py."""

    def __init__(self, folder: Path) -> None:
        self._process = popen_process([*KEEPER, str(folder)])
        await_ready(self._process)

    def tell(self, line: str) -> None:
        """Say what to end: ``mounts PID`` or ``mark NAME=VALUE``."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        await_ready(self._process)

    def end(self) -> None:
        """Have it done now."""
        close_process(self._process, wait=30)


def popen_process(command: list[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a process that holds something, with pipes to and from it and out of reach of Ctrl-C."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env, start_new_session=True)


def close_process(process: subprocess.Popen[str], wait: float = 5) -> None:
    """Let a process end that ends with its input, or has ended."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def await_ready(process: subprocess.Popen[str]) -> None:
    """Wait until it says so; :class:`LabError` with what it says instead."""
    assert process.stdout is not None and process.stderr is not None
    if process.stdout.readline().strip() != "ready":
        process.kill()
        raise LabError(process.stderr.read().strip() or "a host did not start")


def run_with_input(command: list[str], text: str) -> None:
    """Run a program that must succeed; :class:`LabError` with its complaint otherwise."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")


def only_child(pid: int) -> int:
    """The child of a process that has one, or will have in a moment."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = children(pid)
        if found:
            return found[0]
        time.sleep(0.002)
    raise LabError("a host has no first process")


def children(pid: int) -> list[int]:
    """The children of a process, the first started first."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
        return [int(each) for each in done.stdout.split()]
