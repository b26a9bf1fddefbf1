"""Artifacts: values of the author's, stored once under the hash of their bytes.

A reference says how to get a value back: ``{"type", "size", "inline"}`` holds a small pickle itself (base64);
``{"type", "size", "blob", "buffers"}`` names the pickle's blob and those of its large buffers, raw. A blob is pure
bytes and its name is their SHA-256. Buffers are mapped copy-on-write: loading costs nothing until they are touched,
and changing them in place never changes the blob.
"""

from __future__ import annotations

import os
import pickle
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Optional

from ..dsl import FlowcError
from ..dsl.errors import ArtifactUnreadable
from . import contract, items
from .datastore.base import Bytes, Datastore
from .pickling import bad_artifact, dump, type_name
from .pickling import load as load_pickle

INLINE = 1024
"""Largest pickle, in bytes, that lies in the reference itself."""

READ = 4 * 1024 * 1024
"""Largest blob, in bytes, that is read; larger ones are mapped, which costs a file descriptor each."""

VERIFY = 64 * 1024 * 1024
"""Largest buffer, in bytes, whose hash is checked when it is loaded. Larger ones are checked by length alone, since
hashing would touch all of what is mapped lazily; FLOWC_VERIFY=full hashes them all the same."""

Reference = Mapping[str, Any]

_NONE: Mapping[str, bytes] = MappingProxyType({})
_IMMUTABLE = frozenset([int, float, complex, bool, str, bytes, type(None)])


class ArtifactStore:
    """The artifacts of one flow.

    Parameters
    ----------
    datastore : Datastore
    flow : str
        Name of the flow.
    track : bool
        Remember what was mapped where, so that a large buffer that was only read is known to be unchanged without
        hashing it again. For tasks; everything that was mapped stays mapped.
    items_ahead : mapping of str to bytes
        Blobs of items that have been read already, by their hash.
    """

    def __init__(
        self, datastore: Datastore, flow: str, *, track: bool = False, items_ahead: Mapping[str, bytes] = _NONE
    ) -> None:
        self.datastore = datastore
        self._items_ahead = items_ahead
        self.prefix = f"{flow}/blobs"
        self._mapped: Optional[dict[tuple[int, int], tuple[str, memoryview]]] = {} if track else None

    # Storing ---------------------------------------------------------------------------------------------------------

    def save(self, name: str, value: Any) -> dict[str, Any]:
        """Store a value; the same bytes give the same reference.

        Raises
        ------
        BadArtifact
            If it does not pickle; the message names the artifact, and the part of it where that can be found.
        DatastoreError
            If the datastore cannot be written.
        """
        try:
            pieces, buffers = dump(value)
        except Exception as error:
            raise bad_artifact(f"self.{name}", value, error) from error
        return self._store(type_name(value), pieces, buffers)

    def _store(self, type_name: str, pieces: Sequence[Bytes], buffers: Sequence[memoryview]) -> dict[str, Any]:
        size = sum(map(len, pieces))
        if not buffers and size <= INLINE:
            inline = b2a_base64(b"".join(pieces), newline=False).decode()
            return {"type": type_name, "size": size, "inline": inline}
        kept = [[self._put_buffer(view), view.nbytes] for view in buffers]
        total = size + sum(view.nbytes for view in buffers)
        return {"type": type_name, "size": total, "blob": self.put(pieces), "buffers": kept}

    def put(self, pieces: Sequence[Bytes]) -> str:
        """Store raw bytes, unless they are there already; returns their SHA-256, which is the blob's name."""
        name = _hash(pieces)
        size = sum(piece.nbytes if isinstance(piece, memoryview) else len(piece) for piece in pieces)
        key = self._key(name)
        try:
            there = self.datastore.size(key)
        except FileNotFoundError:
            there = -1
        if there != size:
            self.datastore.put(key, pieces)
        return name

    def _put_buffer(self, view: memoryview) -> str:
        if self._mapped:
            from .pages import untouched

            name = untouched(view, self._mapped)
            if name is not None:
                return name
        return self.put((view,))

    def resave(self, name: str, value: Any, was: Reference) -> Reference:
        """Store a value that was loaded from a reference and may have been changed in place since; it stays that
        reference if it was not."""
        if type(value) in _IMMUTABLE:
            return was
        new = self.save(name, value)
        if self.same(new, was):
            return was
        # A pickle depends on which of its parts were one object; loading may have changed that and nothing else.
        return was if was["size"] < VERIFY and self._equal_again(was, new, name) else new

    def _equal_again(self, was: Reference, new: Reference, name: str) -> bool:
        try:
            again = self.load(was, name)
            pieces, buffers = dump(again)
            if "inline" in new:
                return not buffers and b2a_base64(b"".join(pieces), newline=False).decode() == new["inline"]
            if len(buffers) != len(new["buffers"]) or _hash(pieces) != new["blob"]:
                return False
            return all(_hash((view,)) == known for view, (known, _) in zip(buffers, new["buffers"]))
        except (FlowcError, pickle.PickleError, TypeError, AttributeError, ValueError):
            return False

    @staticmethod
    def same(a: Reference, b: Reference) -> bool:
        """Whether two references hold the same bytes."""
        return (
            a.get("inline") == b.get("inline")
            and a.get("blob") == b.get("blob")
            and (a.get("buffers") == b.get("buffers"))
        )

    def equal(self, a: Reference, b: Reference, name: str) -> bool:
        """Whether two references hold equal values as far as their bytes show, stored in different circumstances
        included. May load both, if they are small."""
        if self.same(a, b):
            return True
        if a["type"] != b["type"] or a["size"] >= VERIFY or b["size"] >= VERIFY:
            return False
        try:
            first, second = (dump(self.load(reference, name)) for reference in (a, b))
        except (FlowcError, pickle.PickleError, TypeError, AttributeError, ValueError):
            return False
        return b"".join(first[0]) == b"".join(second[0]) and list(map(bytes, first[1])) == list(map(bytes, second[1]))

    # Loading ---------------------------------------------------------------------------------------------------------

    def load(self, reference: Reference, name: str) -> Any:
        """The value of a reference; ``name`` is for messages.

        Raises
        ------
        ArtifactUnreadable
            If a blob is missing or its bytes do not match its name, or the value cannot be rebuilt here.
        """
        inline = reference.get("inline")
        if inline is not None:
            return load_pickle(a2b_base64(inline), (), f"self.{name}", reference["type"])
        kept = reference.get("buffers", ())
        size = reference["size"] - sum(nbytes for _, nbytes in kept)
        data = self.blob(reference["blob"], size, f"self.{name}", always=True)
        buffers = [self.blob(blob, nbytes, f"self.{name}") for blob, nbytes in kept]
        return load_pickle(data, buffers, f"self.{name}", reference["type"])

    def blob(self, blob: str, size: int, what: str, *, always: bool = False) -> Bytes:
        """The bytes of a blob, writable without an effect on it; checked against its name if they are not too many, or
        ``always`` is set.

        Raises
        ------
        ArtifactUnreadable
            If it is missing or damaged.
        """
        key = self._key(blob)
        view: Bytes
        try:
            view = bytearray(self.datastore.read(key)) if size <= READ else self.datastore.map(key)
        except FileNotFoundError:
            raise ArtifactUnreadable(
                f"{what} cannot be loaded: its blob {self._place(key)} is missing; run the step that made it again "
                f"(flowc resume RUN --from STEP)"
            ) from None
        have = len(view)
        if have != size:
            self.datastore.set_aside(key)
            raise self._damaged(what, key, f"it has {have} bytes instead of {size}")
        if always or size <= VERIFY or os.environ.get(contract.VERIFY) == "full":
            import hashlib

            actual = hashlib.sha256(view).hexdigest()
            if actual != blob:
                self.datastore.set_aside(key)
                raise self._damaged(what, key, f"its SHA-256 is {actual} instead of {blob}")
        if self._mapped is not None and size > READ:
            from .pages import address_of

            assert isinstance(view, memoryview)
            self._mapped[address_of(view), size] = blob, view
        return view

    def _damaged(self, what: str, key: str, how: str) -> ArtifactUnreadable:
        return ArtifactUnreadable(
            f"{what} cannot be loaded: the blob {self._place(key)} is damaged, {how}; it was renamed to *.damaged, so "
            f"run the step that made it again (flowc resume RUN --from STEP)"
        )

    def _key(self, blob: str) -> str:
        return f"{self.prefix}/{blob[:2]}/{blob}"

    def _place(self, key: str) -> str:
        try:
            return self.datastore.path(key)
        except FlowcError:
            return key

    # Items of a foreach ----------------------------------------------------------------------------------------------

    def save_items(self, name: str, values: Sequence[Any]) -> dict[str, Any]:
        """Store the items of a foreach so that each can be loaded by itself; raises as `save`."""
        entries = []
        for i, value in enumerate(values):
            try:
                pieces, buffers = dump(value)
            except Exception as error:
                raise bad_artifact(f"self.{name}[{i}]", value, error) from error
            entries.append(items.entry(pieces, [(self._put_buffer(view), view.nbytes) for view in buffers]))
        return {"blob": self.put(items.table(entries)), "count": len(entries)}

    def load_item(self, reference: Reference, index: int, name: str) -> Any:
        """One item of a foreach; raises as `load`."""
        what = f"item {index} of self.{name}"
        key = self._key(reference["blob"])
        try:
            start = self._items_ahead.get(reference["blob"])
            data, kept = items.read(self.datastore, key, index, reference["count"], start)
        except FileNotFoundError:
            raise ArtifactUnreadable(f"{what} cannot be loaded: the blob {self._place(key)} is missing") from None
        except ValueError as error:
            raise self._damaged(what, key, str(error)) from None
        return load_pickle(data, [self.blob(blob, nbytes, what) for blob, nbytes in kept], what, "")


def _hash(pieces: Sequence[Bytes]) -> str:
    import hashlib

    hasher = hashlib.sha256()
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest()
