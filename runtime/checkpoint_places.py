"""Where checkpoints lie: as files and folders that are renamed when they are whole, or as objects of a bucket.

Among objects nothing can be renamed. There a checkpoint's files are stored first, where nobody looks for them, and the
entry that names them last, under a number that only one can take.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Callable, NamedTuple, Optional, Union

from . import contract
from .datastore.base import Datastore, DatastoreError

_ENTRY = re.compile(r"(?P<number>[0-9]{6,})(-(?P<name>.+))?")
_TEMPORARY = re.compile(r"\.attempt-(?P<attempt>[0-9]+)-.*\.tmp")
_CHUNK = 16 * 1024 * 1024
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EISDIR)
"""How file systems say that a folder cannot be synced."""

Check = Callable[[bool], None]
"""Called with False now and then while a checkpoint is copied, and with True before others can see it; what it raises
gives the checkpoint up."""


class Entry(NamedTuple):
    """A checkpoint that is whole; ``open`` gives the saved file or folder, as a path of this machine."""

    number: int
    name: str
    open: Callable[[], str]


class Saved(NamedTuple):
    """What was saved just now: the key of its entry, and where it is for the user."""

    key: str
    where: str


def place_of(datastore: Datastore, attempt: int) -> Union[Folders, Objects]:
    """How this datastore keeps checkpoints; the attempt is that of the task which saves."""
    try:
        datastore.path("")
    except DatastoreError:
        return Objects(datastore)
    return Folders(datastore, attempt)


def _entry_name(number: int, name: Optional[str]) -> str:
    return f"{number:06d}" + (f"-{name}" if name else "")


class Folders:
    """Checkpoints as folders of a file system, each with one file or folder in it."""

    def __init__(self, datastore: Datastore, attempt: int) -> None:
        self._datastore = datastore
        self._attempt = attempt

    def entries(self, prefix: str) -> Iterator[Entry]:
        """All of them below a key, in no order."""
        folder = self._datastore.path(prefix)
        for entry in self._datastore.list(prefix):
            match = _ENTRY.fullmatch(entry)
            inside: list[str] = []
            if match:
                with suppress(FileNotFoundError):  # another has taken its place
                    inside = os.listdir(os.path.join(folder, entry))
            if match and len(inside) == 1:
                path = os.path.join(folder, entry, inside[0])
                yield Entry(int(match["number"]), match["name"] or "", partial(str, path))

    def save(
        self,
        prefix: str,
        source: str,
        base: str,
        number: int,
        name: Optional[str],
        replaced: Optional[str] = None,
        check: Optional[Check] = None,
    ) -> Saved:
        """Copy a file or folder, as ``base``, into an entry with this number or a higher one.

        It is on disk before it can be seen, so a machine that loses its power leaves no part of one. Then the entry
        ``replaced`` goes.
        """
        temporary = self._temporary(prefix)
        self._datastore.create_folder(temporary)
        try:
            folder = self._datastore.path(temporary)
            inside = os.path.join(folder, base)
            try:
                _copy_tree(source, inside, check)
                _sync_folders(folder)
                if check is not None:
                    check(True)
                final = self._rename(prefix, temporary, number, name)
                _sync_folder(self._datastore.path(prefix))
            except OSError as error:
                raise self._datastore.error("write", inside, error) from error
        except BaseException:
            shutil.rmtree(self._datastore.path(temporary), ignore_errors=True)
            raise
        if replaced is not None:
            self._remove(prefix, self._datastore.path(replaced))
        return Saved(final, os.path.join(self._datastore.path(final), base))

    def _temporary(self, prefix: str) -> str:
        return f"{prefix}/.attempt-{self._attempt}-{os.getpid():x}-{os.urandom(4).hex()}.tmp"

    def _rename(self, prefix: str, temporary: str, number: int, name: Optional[str]) -> str:
        while True:
            final = f"{prefix}/{_entry_name(number, name)}"
            try:
                os.rename(self._datastore.path(temporary), self._datastore.path(final))
                return final
            except OSError:
                if not self._datastore.exists(final):
                    raise
                number += 1

    def remove_leftovers(self, prefix: str) -> None:
        """Remove what saves of earlier attempts left that were cut off."""
        folder = self._datastore.path(prefix)
        try:
            names = os.listdir(folder)
        except OSError:
            return
        for name in names:
            match = _TEMPORARY.fullmatch(name)
            if match and int(match["attempt"]) < self._attempt:
                self._remove(prefix, os.path.join(folder, name))

    def _remove(self, prefix: str, path: str) -> None:
        # Under another name first: one that is half removed is not loaded, and a save that is not dead yet after all
        # cannot make it an entry any more.
        aside = self._datastore.path(self._temporary(prefix))
        with suppress(OSError):
            os.rename(path, aside)
            shutil.rmtree(aside, ignore_errors=True)

    def close(self) -> None:
        """Nothing was made here."""


def _copy_tree(source: str, target: str, check: Optional[Check]) -> None:
    if os.path.isdir(source):
        shutil.copytree(source, target, copy_function=partial(_copy, check=check, with_mode=True))
    else:
        _copy(source, target, check=check)


def _copy(source: str, target: str, *, check: Optional[Check], with_mode: bool = False) -> None:
    """Copy the content of a file, with its mode and times if asked for, and have it on disk."""
    if not stat.S_ISREG(os.stat(source).st_mode):
        raise shutil.SpecialFileError(f"{source} is no regular file")
    with open(source, "rb") as read, open(target, "wb") as out:
        while True:
            if check is not None:
                check(False)
            chunk = read.read(_CHUNK)
            if not chunk:
                break
            out.write(chunk)
        out.flush()
        if with_mode:
            shutil.copystat(source, target)
        os.fsync(out.fileno())


def _sync_folders(top: str) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


class Objects:
    """Checkpoints as objects: their files, and an entry that names them."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore
        self._fetched: dict[str, str] = {}
        self._folder: Optional[str] = None

    def entries(self, prefix: str) -> Iterator[Entry]:
        """As `Folders.entries`; one is fetched when it is opened."""
        for entry in self._datastore.list(prefix):
            match = _ENTRY.fullmatch(entry)
            if match:
                yield Entry(int(match["number"]), match["name"] or "", partial(self._open, f"{prefix}/{entry}"))

    def save(
        self,
        prefix: str,
        source: str,
        base: str,
        number: int,
        name: Optional[str],
        replaced: Optional[str] = None,
        check: Optional[Check] = None,
    ) -> Saved:
        """As `Folders.save`, but the entry ``replaced`` keeps its number and names the new files; gives its URL."""
        if check is not None:
            # Files are sent from memory that maps them, which must not become shorter meanwhile.
            with tempfile.TemporaryDirectory(prefix="flowc-checkpoint-", dir=os.path.dirname(source)) as own:
                inside = os.path.join(own, base)
                _copy_tree(source, inside, check)
                check(True)
                return self.save(prefix, inside, base, number, name, replaced)
        data = f"{prefix}/.{os.urandom(8).hex()}"
        whole: dict[str, Any] = {"data": data, "base": base, "folder": os.path.isdir(source)}
        try:
            whole["files"], whole["folders"] = self._store(source, data)
        except OSError as error:
            raise self._datastore.error("read", source, error) from error
        text = json.dumps(whole, separators=(",", ":")).encode()
        if replaced is not None:
            old = json.loads(self._datastore.read(replaced))["data"]
            self._datastore.write(replaced, text)
            self._fetched.pop(replaced, None)
            with suppress(OSError, DatastoreError):
                self._datastore.remove_tree(old)
            return Saved(replaced, f"{self._datastore.url}/{replaced}")
        while not self._datastore.create(f"{prefix}/{_entry_name(number, name)}", text):
            number += 1
        key = f"{prefix}/{_entry_name(number, name)}"
        return Saved(key, f"{self._datastore.url}/{key}")

    def _store(self, source: str, data: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Store all files; their paths below the source with their modes, and the folders."""
        if not os.path.isdir(source):
            return [self._store_file(source, "", f"{data}/0")], []
        files: list[dict[str, Any]] = []
        folders: list[str] = []
        for place, inner, names in os.walk(source, followlinks=True):
            below = os.path.relpath(place, source)
            folders += [os.path.normpath(os.path.join(below, name)) for name in inner]
            for name in names:
                path = os.path.normpath(os.path.join(below, name))
                files.append(self._store_file(os.path.join(place, name), path, f"{data}/{len(files)}"))
        return files, folders

    def _store_file(self, file: str, path: str, key: str) -> dict[str, Any]:
        with open(file, "rb") as opened:
            status = os.fstat(opened.fileno())
            if status.st_size == 0:
                self._datastore.write(key, b"")
            else:
                # Not closed here: if it fails, the error still holds parts of it.
                self._datastore.put(key, (memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)),))
        return {"path": path, "key": key, "mode": status.st_mode & 0o777}

    def _open(self, key: str) -> str:
        if key not in self._fetched:
            if self._folder is None:
                root = os.environ.get(contract.SCRATCH) or None
                self._folder = tempfile.mkdtemp(prefix="flowc-checkpoints-", dir=root)
            whole = json.loads(self._datastore.read(key))
            target = os.path.join(tempfile.mkdtemp(dir=self._folder), whole["base"])
            if whole["folder"]:
                os.mkdir(target)
            for folder in whole["folders"]:
                os.makedirs(os.path.join(target, folder), exist_ok=True)
            for file in whole["files"]:
                path = os.path.join(target, file["path"]) if file["path"] else target
                with open(path, "wb") as out, self._datastore.map(file["key"]) as content:
                    out.write(content)
                os.chmod(path, file["mode"])
            self._fetched[key] = target
        return self._fetched[key]

    def remove_leftovers(self, prefix: str) -> None:
        """Nothing: whether a save that stored files is dead cannot be told, and it could still name them."""

    def close(self) -> None:
        """Remove what was fetched."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
            self._fetched.clear()
