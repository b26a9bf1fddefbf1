"""The blob that holds the items of a foreach one by one, so that a task reads its own item and no other.

Layout, numbers little-endian: 8 bytes magic; u64 count; count + 1 u64 offsets of the entries from the end of the table.
An entry: u32 CRC-32 of what follows in it; u32 number of buffers; for each 32 bytes SHA-256 and u64 length; the pickle.
The CRC stands in for the blob's hash, which could be checked only by reading all items.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Optional

from .datastore.base import Bytes, Datastore

MAGIC = b"flowcit1"
_HEAD = struct.Struct("<8sQ")
_TWO = struct.Struct("<QQ")
_START = struct.Struct("<II")
_BUFFER = struct.Struct("<32sQ")
_FIRST_READ = 32 * 1024


def entry(pieces: Sequence[Bytes], buffers: Sequence[tuple[str, int]]) -> bytes:
    """One item: its pickle, and the blobs of its large buffers with their lengths."""
    rest = b"".join((*(_BUFFER.pack(bytes.fromhex(blob), size) for blob, size in buffers), *pieces))
    count = len(buffers)
    return _START.pack(zlib.crc32(rest, count), count) + rest


def table(entries: Sequence[bytes]) -> list[bytes]:
    """The blob of all items, in pieces."""
    offsets = [0]
    for item in entries:
        offsets.append(offsets[-1] + len(item))
    return [_HEAD.pack(MAGIC, len(entries)) + struct.pack(f"<{len(offsets)}Q", *offsets), *_joined(entries)]


def _joined(entries: Sequence[bytes]) -> Iterator[bytes]:
    # Few large writes instead of one for each item.
    batch: list[bytes] = []
    size = 0
    for item in entries:
        batch.append(item)
        size += len(item)
        if size > 1024 * 1024:
            yield b"".join(batch)
            batch, size = [], 0
    if batch:
        yield b"".join(batch)


def read(
    datastore: Datastore, key: str, index: int, count: int, start: Optional[bytes] = None
) -> tuple[bytes, list[tuple[str, int]]]:
    """The pickle of one item, and the blobs of its large buffers with their lengths.

    ``start`` is the beginning of the blob, or all of it, where it has been read already.

    Raises
    ------
    FileNotFoundError
        If there is no such blob.
    ValueError
        If it is damaged; the text says how.
    """
    if start is None:
        start = datastore.read_part(key, 0, _FIRST_READ)
    magic, there = _HEAD.unpack_from(start) if len(start) >= _HEAD.size else (b"", 0)
    if magic != MAGIC or there != count:
        raise ValueError("it does not begin as the items of a foreach do")
    at = _HEAD.size + 8 * index
    place = start[at : at + 16] if at + 16 <= len(start) else datastore.read_part(key, at, 16)
    if len(place) < 16:
        raise ValueError("it is too short")
    begin, end = _TWO.unpack(place)
    base = _HEAD.size + 8 * (count + 1)
    if end - begin < _START.size:
        raise ValueError(f"its table is wrong at item {index}")
    inside = base + end <= len(start)
    data = start[base + begin : base + end] if inside else datastore.read_part(key, base + begin, end - begin)
    if len(data) != end - begin:
        raise ValueError("it is too short")
    crc, buffers = _START.unpack_from(data)
    if zlib.crc32(data[_START.size :], buffers) != crc:
        raise ValueError(f"the checksum of item {index} is wrong")
    kept = []
    at = _START.size
    for _ in range(buffers):
        digest, size = _BUFFER.unpack_from(data, at)
        kept.append((digest.hex(), size))
        at += _BUFFER.size
    return data[at:], kept
