"""Whether a mapped buffer was written to, asked of the kernel instead of by reading the buffer.

On Linux /proc/self/pagemap says of every page whether it is still the file's or has become a private copy. Where that
cannot be asked, nothing is known and the buffer is hashed.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Mapping
from typing import Optional

_PRESENT_OR_SWAPPED = 0xC0
_FILE_PAGE = 0x20


def address_of(view: memoryview) -> int:
    """Where a writable buffer lies in memory; 0 where that cannot be told."""
    import ctypes

    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(view))
    except (TypeError, ValueError):
        return 0


def untouched(view: memoryview, mapped: Mapping[tuple[int, int], tuple[str, memoryview]]) -> Optional[str]:
    """The name of the blob that a buffer was mapped from and still equals; None if it is another one, was written to,
    or that cannot be told."""
    if view.readonly or not view.nbytes:
        return None
    at = address_of(view)
    known = mapped.get((at, view.nbytes))
    if known is None or not at or not all_file_pages(at, view.nbytes):
        return None
    return known[0]


def all_file_pages(at: int, size: int) -> bool:
    """Whether no page of a private file mapping has been written to; False where the kernel does not say."""
    if not sys.platform.startswith("linux"):
        return False
    page = mmap.PAGESIZE
    first, last = at // page, (at + size - 1) // page
    try:
        fd = os.open("/proc/self/pagemap", os.O_RDONLY)
    except OSError:
        return False
    try:
        position, left = first * 8, (last - first + 1) * 8
        while left:
            entries = os.pread(fd, min(left, 1 << 20), position)
            if not entries or len(entries) % 8:
                return False
            # Bits 63 and 62 (present, swapped) and 61 (page of a file) of an entry are in its last byte.
            for flags in set(entries[7::8]):
                if flags & _PRESENT_OR_SWAPPED and not flags & _FILE_PAGE:
                    return False
            position += len(entries)
            left -= len(entries)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
