"""What a process that tasks are forked from reads for all tasks of a fan-out at once, so that none has to read it."""

from __future__ import annotations

from .address import Address
from .datastore.base import Datastore, DatastoreError
from .record import Record
from .runs import RunInfo

_LARGEST = 512 * 1024
"""Most bytes of items that are kept: a fork copies a table of all pages, so that more would cost what they save."""

_KEPT = 8


class Ahead:
    """The records that opened fan-outs, and the items of foreaches, which do not change once tasks begin with them.

    Attributes
    ----------
    records : dict of Address to Record
    items : dict of str to bytes
        By the hash of the blob.
    """

    def __init__(self, run: RunInfo, datastore: Datastore) -> None:
        self._run = run
        self._datastore = datastore
        self.records: dict[Address, Record] = {}
        self.items: dict[str, bytes] = {}

    def look(self, address: Address) -> None:
        """Read what a task that is about to start shares with those beside it. What cannot be read is left to the task,
        which says why."""
        if not address.index:
            return
        opener = self._run.outline.opener_of(address, len(address.index) - 1)
        at = Address(opener.step, opener.at, opener.round)
        # In a loop only the task itself finds out which round it was.
        if opener.search or at in self.records:
            return
        if len(self.records) >= _KEPT:
            self.records.clear()
            self.items.clear()
        try:
            self._read(at)
        except (DatastoreError, FileNotFoundError, KeyError, TypeError):
            pass

    def _read(self, address: Address) -> None:
        record = self._run.records(self._datastore).read(address)
        if record is None:
            return
        self.records[address] = record
        items = record.next.items if record.next is not None else None
        if items is not None:
            key = f"{self._run.flow}/blobs/{items['blob'][:2]}/{items['blob']}"
            if self._datastore.size(key) <= _LARGEST:
                self.items[items["blob"]] = self._datastore.read(key)
