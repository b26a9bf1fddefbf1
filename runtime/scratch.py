"""The folder for temporary files that a rank has for as long as its attempt lasts.

Whoever is killed removes nothing. So each folder is locked for as long as one of its processes lives, and every rank
that begins or ends on the host removes what is left unlocked there.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

try:
    import fcntl
except ImportError:  # not a Unix: nothing is locked, and nothing of others removed
    fcntl = None  # type: ignore[assignment]

SHORT = "/tmp"  # noqa: S108
"""Where a rank has another one, if its own lies too deep for the paths of sockets; nobody can guess its name."""


@contextmanager
def scratch_folder(root: Optional[str] = None) -> Iterator[str]:
    """A new folder of mode 0700, removed at the end of the block with all that is in it.

    Processes forked inside the block keep it locked; programs that they start do not.

    Parameters
    ----------
    root : str, optional
        Where it lies; made if it is not there. The system's folder for temporary files if not given.
    """
    root = root or tempfile.gettempdir()
    os.makedirs(root, exist_ok=True)
    remove_abandoned(root)
    while True:
        folder = tempfile.mkdtemp(prefix=_prefix(), dir=root)
        # In the moment before it is locked another rank may take it for abandoned.
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        _lock(lock, wait=True)
        if os.path.isdir(folder):
            break
        os.close(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        # What a killed process of this rank had at a short path is abandoned now, too.
        for each in {root, SHORT}:
            remove_abandoned(each)


def remove_abandoned(root: str) -> None:
    """Remove the folders of this user below ``root`` that nobody has locked."""
    try:
        names = [name for name in os.listdir(root) if name.startswith(_prefix())]
    except OSError:
        return
    for name in names:
        folder = os.path.join(root, name)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            if os.fstat(lock).st_uid == os.getuid() and _lock(lock, wait=False):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _lock(descriptor: int, *, wait: bool) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False  # somebody has it, or the file system knows no locks: then nobody's goes
    return True


def _prefix() -> str:
    # Where hosts share the folder, a lock of one may mean nothing on another: each looks after its own.
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            host = file.read()
    except OSError:
        host = socket.gethostname().encode()
    return f"flowc-{zlib.crc32(host) & 0xFFFF:04x}-"
