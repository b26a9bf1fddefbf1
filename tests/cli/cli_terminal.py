"""A program on a pseudo-terminal, and a small terminal that shows what a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[()][A-Z0-9]|[\r\n\b\x07]|[^\x1b\r\n\b\x07]+")


class Terminal:
    """The lines of a terminal, scrolled ones included. Knows what programs of this repository send, and no more."""

    def __init__(self, rows: int = 40, columns: int = 100) -> None:
        self.rows, self.columns = rows, columns
        self.lines: list[list[str]] = [[]]
        self.row = self.column = 0
        self.unknown: list[str] = []

    def feed(self, text: str) -> None:
        for match in _SEQUENCE.finditer(text):
            word = match[0]
            if match[2]:
                self._control(match[1], match[2])
            elif word == "\r":
                self.column = 0
            elif word == "\n":
                self._down()
            elif word not in ("\b", "\x07") and not word.startswith("\x1b"):
                for char in word:
                    self._put(char)

    def _put(self, char: str) -> None:
        if self.column >= self.columns:
            self.column = 0
            self._down()
        line = self.lines[self.row]
        line.extend(" " * (self.column + 1 - len(line)))
        line[self.column] = char
        self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def _control(self, arguments: str, letter: str) -> None:
        count = int(arguments) if arguments.isdigit() else 1
        if letter == "A":
            # The cursor cannot leave the visible part.
            self.row = max(self.row - count, max(len(self.lines) - self.rows, 0))
        elif letter == "K":
            if arguments == "2":
                self.lines[self.row] = []
            else:
                del self.lines[self.row][self.column :]
        elif letter not in "mhl":
            self.unknown.append(f"{arguments}{letter}")

    @property
    def text(self) -> str:
        return "\n".join("".join(line).rstrip() for line in self.lines).rstrip("\n")


def on_terminal(
    command: list[str],
    *,
    rows: int = 40,
    columns: int = 100,
    env: dict[str, str] | None = None,
    cwd: str | None = None,
    timeout: float = 30,
    during: list[str] | None = None,
) -> tuple[int, str, Terminal]:
    """Run a program with a terminal as its standard streams; its exit code, what it sent, and the screen at the end.

    ``during`` collects what the screen shows every time something has been sent.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    full = {**os.environ, "TERM": "xterm-256color", **(env or {})}
    full.pop("COLUMNS", None)
    full.pop("LINES", None)
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=full, cwd=cwd)
    os.close(slave)
    terminal, sent, deadline = Terminal(rows, columns), [], time.monotonic() + timeout
    try:
        while True:
            if time.monotonic() > deadline:
                raise TimeoutError("".join(sent))
            if not select.select([master], [], [], 0.1)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                data = os.read(master, 1 << 16)
            except OSError:
                break
            if not data:
                break
            text = data.decode("utf-8", "replace")
            sent.append(text)
            terminal.feed(text)
            if during is not None:
                during.append(terminal.text)
    finally:
        os.close(master)
        if process.poll() is None:
            process.wait(5)
    return process.returncode, "".join(sent), terminal


if __name__ == "__main__":
    seen: list[str] = []
    code, raw, screen = on_terminal(sys.argv[1:], during=seen)
    print(seen[len(seen) // 2])
    print("-" * 40)
    print(screen.text)
    print("-" * 40, code, len(raw), len(seen), screen.unknown)
