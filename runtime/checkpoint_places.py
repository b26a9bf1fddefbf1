"""Where checkpoints lie: as files and folders that are renamed when they are whole, or as objects of a bucket.

Among objects nothing can be renamed. There a checkpoint's files are stored first, where nobody looks for them, and the
entry that names them last, under a number that only one can take.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any, Callable, NamedTuple, Optional, Union

from . import contract
from .datastore.base import Datastore, DatastoreError

_ENTRY = re.compile(r"(?P<number>[0-9]{6,})(-(?P<name>.+))?")


class Entry(NamedTuple):
    """A checkpoint that is whole; ``open`` gives the saved file or folder, as a path of this machine."""

    number: int
    name: str
    open: Callable[[], str]


def place_of(datastore: Datastore) -> Union[Folders, Objects]:
    """How this datastore keeps checkpoints."""
    try:
        datastore.path("")
    except DatastoreError:
        return Objects(datastore)
    return Folders(datastore)


def _entry_name(number: int, name: Optional[str]) -> str:
    return f"{number:06d}" + (f"-{name}" if name else "")


class Folders:
    """Checkpoints as folders of a file system, each with one file or folder in it."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore

    def entries(self, prefix: str) -> Iterator[Entry]:
        """All of them below a key, in no order."""
        folder = self._datastore.path(prefix)
        for entry in self._datastore.list(prefix):
            match = _ENTRY.fullmatch(entry)
            inside = os.listdir(os.path.join(folder, entry)) if match else []
            if match and len(inside) == 1:
                path = os.path.join(folder, entry, inside[0])
                yield Entry(int(match["number"]), match["name"] or "", partial(str, path))

    def save(self, prefix: str, source: str, base: str, number: int, name: Optional[str]) -> str:
        """Copy a file or folder, as ``base``, into an entry with this number or a higher one; returns where it is."""
        temporary = f"{prefix}/.{os.getpid():x}-{os.urandom(4).hex()}.tmp"
        self._datastore.create_folder(temporary)
        try:
            inside = os.path.join(self._datastore.path(temporary), base)
            try:
                if os.path.isdir(source):
                    shutil.copytree(source, inside)
                else:
                    shutil.copyfile(source, inside)
                final = self._rename(prefix, temporary, number, name)
            except OSError as error:
                raise self._datastore.error("write", inside, error) from error
        except BaseException:
            shutil.rmtree(self._datastore.path(temporary), ignore_errors=True)
            raise
        return os.path.join(self._datastore.path(final), base)

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

    def close(self) -> None:
        """Nothing was made here."""


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

    def save(self, prefix: str, source: str, base: str, number: int, name: Optional[str]) -> str:
        """As `Folders.save`; returns the URL of the entry."""
        data = f"{prefix}/.{os.urandom(8).hex()}"
        whole: dict[str, Any] = {"data": data, "base": base, "folder": os.path.isdir(source)}
        try:
            whole["files"], whole["folders"] = self._store(source, data)
        except OSError as error:
            raise self._datastore.error("read", source, error) from error
        text = json.dumps(whole, separators=(",", ":")).encode()
        while not self._datastore.create(f"{prefix}/{_entry_name(number, name)}", text):
            number += 1
        return f"{self._datastore.url}/{prefix}/{_entry_name(number, name)}"

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
            target = os.path.join(self._folder, str(len(self._fetched)), whole["base"])
            os.makedirs(target if whole["folder"] else os.path.dirname(target))
            for folder in whole["folders"]:
                os.makedirs(os.path.join(target, folder), exist_ok=True)
            for file in whole["files"]:
                path = os.path.join(target, file["path"]) if file["path"] else target
                with open(path, "wb") as out, self._datastore.map(file["key"]) as content:
                    out.write(content)
                os.chmod(path, file["mode"])
            self._fetched[key] = target
        return self._fetched[key]

    def close(self) -> None:
        """Remove what was fetched."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
            self._fetched.clear()
