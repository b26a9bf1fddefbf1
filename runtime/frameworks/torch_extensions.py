"""Where torch puts the operators that DeepSpeed compiles when they are first used, which takes a minute or more.

torch's own folder, ``~/.cache/torch_extensions``, is not safe for gangs. Its lock is a file that a killed process
leaves behind, and then everyone who comes later waits for ever; a gang that fails is killed. And two environments of
one user compile into the same folder by turns, each under the other's running processes.

So the ranks of one attempt on one host have a folder of their own, in which torch's lock serves them: they end
together, and it with them. It begins as a copy of what earlier attempts compiled, and what this one adds goes back.
The store is only ever copied from and to, under locks (flock(2)) that end with their holder.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

from . import environment
from .base import Site

try:
    import fcntl
except ImportError:  # not a Unix: nothing is kept
    fcntl = None  # type: ignore[assignment]

VARIABLE = "TORCH_EXTENSIONS_DIR"
_TORCHS_LOCK = "lock"


@contextmanager
def extensions(site: Site) -> Iterator[dict[str, str]]:
    """The variable that names the folder, for as long as it is there; empty where the user has set it.

    It is a collective call.

    Parameters
    ----------
    site : Site
        The rank.
    """
    gang = site.gang
    own = None if VARIABLE in os.environ else os.path.join(site.folder, "torch-extensions")
    first = environment.neighbours(gang)[0]
    keeps = own is not None and gang.rank == first
    store = own_store() if keeps else None
    before: dict[str, int] = {}
    if own is not None and keeps:
        os.mkdir(own, 0o700)
        if store is not None:
            _copy_from(store, own)
        before = _compiled(own)
    folder = gang.allgather(own)[first]
    try:
        yield {VARIABLE: folder} if own is not None and folder is not None else {}
    finally:
        if own is not None and store is not None:
            _copy_to(store, own, before)


def is_compiled(name: str) -> bool:
    """Whether an operator lies ready on this machine, so that nothing has to be compiled for it."""
    store = os.environ.get(VARIABLE) or own_store()
    try:
        return store is not None and name in _compiled(store)
    except OSError:
        return False


def own_store() -> Optional[str]:
    """This user's store for this machine and these versions; None where there can be none."""
    if fcntl is None:
        return None
    store = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(store):
        return None  # a user without an entry in the password file, and without HOME; or a mistake
    try:
        os.makedirs(store, exist_ok=True)
        for name in ("flowc", "torch-extensions", _key()):
            store = os.path.join(store, name)
            try:
                os.mkdir(store, 0o700)
            except FileExistsError:
                pass
            found = os.lstat(store)
            # The code that lies there is run: nobody else may have a hand in it.
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
                return None
    except OSError:
        return None
    return store


def _key() -> str:
    # DeepSpeed compiles for the very processor, and what it is compiled against is named by its path.
    return hashlib.sha256("\0".join(map(str, _described())).encode()).hexdigest()[:16]


def _described() -> Iterator[object]:
    from importlib import metadata

    yield from (sys.version, sys.prefix, platform.machine())
    for package in ("torch", "deepspeed"):
        try:
            yield metadata.version(package)
        except metadata.PackageNotFoundError:
            yield None
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            yield next((line for line in file if line.startswith(("flags", "Features"))), None)
    except OSError:
        yield platform.processor()


def _compiled(folder: str) -> dict[str, int]:
    """The operators that are there as a whole, and when each was linked, in ns; without those that torch is at."""
    found = {}
    for name in os.listdir(folder):
        inside = os.path.join(folder, name)
        if name.startswith(".") or not os.path.isdir(inside) or os.path.exists(os.path.join(inside, _TORCHS_LOCK)):
            continue
        times = [os.stat(os.path.join(inside, file)).st_mtime_ns for file in os.listdir(inside) if file.endswith(".so")]
        if times:
            found[name] = max(times)
    return found


def _copy_from(store: str, folder: str) -> None:
    try:
        with _locked(store, exclusive=False):
            for name in _compiled(store):
                shutil.copytree(os.path.join(store, name), os.path.join(folder, name))
    except OSError:
        # Then they are compiled once more.
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder, 0o700)


def _copy_to(store: str, folder: str, before: dict[str, int]) -> None:
    try:
        new = [name for name, when in _compiled(folder).items() if before.get(name) != when]
        if not new:
            return
        with _locked(store, exclusive=True):
            for name in filter(lambda name: name.startswith("."), os.listdir(store)):
                shutil.rmtree(os.path.join(store, name), ignore_errors=True)  # of one that was killed
            for name in new:
                there, part, old = (os.path.join(store, each) for each in (name, f".{name}.part", f".{name}.old"))
                shutil.copytree(os.path.join(folder, name), part)
                if os.path.isdir(there):
                    os.rename(there, old)
                os.rename(part, there)
                shutil.rmtree(old, ignore_errors=True)
    except OSError:
        pass  # the attempt has what it needs, and the next one compiles again


@contextmanager
def _locked(store: str, *, exclusive: bool) -> Iterator[None]:
    descriptor = os.open(store, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
