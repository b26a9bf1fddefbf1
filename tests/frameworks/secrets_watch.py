"""What anybody on the host could see of a gang that runs: command lines, and files that are not closed to others."""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

KEY_FILES = ("flowc-*/ray-token", "flowc-*/dask/key.pem", "flowc-*/ssh/host_key", "flowc-*/ssh/user_key")
"""Where the frameworks keep what they make, below the folder for temporary files."""
_LARGE = 1 << 16
_PAUSE = 0.05
_SHARE = 12
"""So many times as long as a look takes, nothing is looked at."""


class SecretsWatch:
    """Looks again and again, from the start of a ``with`` block to its end.

    Parameters
    ----------
    roots : callable
        Gives the folders below which it looks for files, and for keys.

    Attributes
    ----------
    commands : set of bytes
        The command lines of all processes of this machine, those in containers of their own, too.
    keys : dict
        What it found in `KEY_FILES`, by kind and path.
    open_files : dict
        The contents of the files that other users may read, by path; of small ones only.
    exposed : set of str
        Keys that other users may read, or whose folder they may enter.
    """

    def __init__(self, roots: Callable[[], list[Path]]) -> None:
        self._roots = roots
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again, daemon=True)
        self.commands: set[bytes] = set()
        self.keys: dict[tuple[str, str], bytes] = {}
        self.open_files: dict[str, bytes] = {}
        self.exposed: set[str] = set()

    def __enter__(self) -> SecretsWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def kinds(self) -> set[str]:
        """The names of the keys that were found."""
        return {kind for kind, _ in self.keys}

    def secrets(self) -> list[bytes]:
        """What is secret in them: of a key in PEM the lines between its ends."""
        found = []
        for content in self.keys.values():
            inner = re.sub(rb"-----.*?-----", b"", content, flags=re.DOTALL).split()
            # The first line of a key of ssh has only what its kind is called.
            found += [line for line in inner if len(line) >= 32 and not line.startswith(b"b3BlbnNzaC1rZXkt")]
        return found

    def assert_unseen(self, secrets: list[bytes]) -> None:
        """None of these could be seen."""
        assert self.commands and self.exposed == set()
        for secret in secrets:
            assert not any(secret in command for command in self.commands)
            seen = [path for path, content in self.open_files.items() if secret in content]
            assert not seen, seen

    def _look_again_and_again(self) -> None:
        pause = _PAUSE
        while not self._over.wait(pause):
            began = time.thread_time()
            for pid in filter(str.isdigit, os.listdir("/proc")):
                self.commands.add(_content(f"/proc/{pid}/cmdline"))
            for root in self._roots():
                for pattern in KEY_FILES:
                    for path in root.glob(pattern):
                        self._note_key(root, path)
                for path in _open_files(root):
                    self.open_files[path] = _content(path)
            # What is watched must not be slowed down by it.
            pause = max(_PAUSE, _SHARE * (time.thread_time() - began))

    def _note_key(self, root: Path, path: Path) -> None:
        # It may be seen while it is being written.
        content = _content(path)
        if len(content) >= len(self.keys.get((path.name, str(path)), b"")):
            self.keys[path.name, str(path)] = content
        folders = [folder for folder in path.parents if root in folder.parents]
        try:
            open_to_others = path.stat().st_mode & 0o077 or all(each.stat().st_mode & 0o011 for each in folders)
        except OSError:
            return  # it has just been removed
        if open_to_others:
            self.exposed.add(str(path))


def _open_files(folder: Path) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            mode = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISDIR(mode.st_mode):
            if mode.st_mode & 0o011:
                yield from _open_files(Path(entry.path))
        elif stat.S_ISREG(mode.st_mode) and mode.st_mode & 0o044 and mode.st_size <= _LARGE:
            yield entry.path


def _content(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGE)
    except OSError:
        return b""
