"""What flowc asks of a place that keeps runs, records and artifacts."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import Union

from ...dsl import FlowcError

Bytes = Union[bytes, bytearray, memoryview]


class DatastoreError(FlowcError):
    """The datastore cannot be read or written; the message says what to do."""


class Datastore(abc.ABC):
    """Bytes under keys. A key is a relative path with ``/``; whatever is written appears whole or not at all.

    A key that is not there raises `FileNotFoundError`; everything else that goes wrong raises `DatastoreError`.
    """

    url: str

    @abc.abstractmethod
    def read(self, key: str) -> bytes:
        """All bytes of a key."""

    @abc.abstractmethod
    def read_part(self, key: str, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on."""

    @abc.abstractmethod
    def map(self, key: str) -> memoryview:
        """The bytes of a key as memory that may be changed without changing what is stored; nothing is read yet where
        the datastore can map files."""

    @abc.abstractmethod
    def size(self, key: str) -> int:
        """How many bytes a key has."""

    @abc.abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is such a key or folder."""

    @abc.abstractmethod
    def list(self, prefix: str) -> tuple[str, ...]:
        """Names directly below a folder, unsorted, hidden ones left out; none where there is no such folder."""

    @abc.abstractmethod
    def walk(self, prefix: str) -> Iterator[str]:
        """Names of all keys below a folder, relative to it, unsorted, hidden ones too; that of a folder with nothing in
        it, where there are such, ends in ``/``. None where there is no such folder.

        It asks the store far less often than :meth:`list` would, folder by folder.
        """

    @abc.abstractmethod
    def write(self, key: str, data: Bytes) -> None:
        """Set a key, replacing what was there."""

    @abc.abstractmethod
    def write_private(self, key: str, data: Bytes) -> None:
        """Set a key that, where the datastore has such permissions, only its owner may read."""

    @abc.abstractmethod
    def put(self, key: str, pieces: Sequence[Bytes]) -> None:
        """Set a key to the pieces one after the other, without copying them together first."""

    @abc.abstractmethod
    def create(self, key: str, data: Bytes) -> bool:
        """Set a key only if it is not there yet; whether it was set."""

    @abc.abstractmethod
    def create_folder(self, key: str) -> bool:
        """Make a folder that only one caller can make; whether it was made."""

    @abc.abstractmethod
    def set_aside(self, key: str) -> None:
        """Rename a damaged key, so that it can be written anew; nothing happens where that is not possible."""

    @abc.abstractmethod
    def remove_tree(self, prefix: str) -> None:
        """Remove a folder and everything in it; nothing happens where there is none."""

    @abc.abstractmethod
    def sweep(self, prefix: str, older_than: float = 3600.0) -> int:
        """Remove what killed writers left behind, if it is older than so many seconds; how many there were."""

    @abc.abstractmethod
    def error(self, verb: str, path: str, error: OSError) -> DatastoreError:
        """What to raise for a file operation of its own that went wrong; ``verb`` is read, write or remove."""

    @abc.abstractmethod
    def path(self, key: str) -> str:
        """The file or folder of a key on this machine.

        Raises
        ------
        DatastoreError
            If the datastore is not on this machine.
        """
