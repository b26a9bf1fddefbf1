"""Last words of a task's process that could not say them anywhere else, as when its disk is full.

All tasks share one pipe; a note is one write of at most the size that the kernel keeps in one piece.
"""

from __future__ import annotations

import os
import struct

_HEAD = struct.Struct("<IHH")
_LIMIT = 4096 - _HEAD.size


def write_note(fd: int, task: int, error: BaseException) -> None:
    """Say why a task's process ends: the error's class and text, cut to what fits."""
    kind = type(error).__name__.encode()[:200]
    text = str(error).encode("utf-8", "backslashreplace")[: _LIMIT - len(kind)]
    try:
        os.write(fd, _HEAD.pack(task, len(kind), len(text)) + kind + text)
    except OSError:
        # Without its note the task has still failed; the report then gives its exit code.
        pass


def read_notes(fd: int) -> dict[int, list[str]]:
    """The notes that have come since the last call: task -> class and text of the error."""
    data = b""
    while True:
        try:
            chunk = os.read(fd, 1 << 16)
        except BlockingIOError:
            break
        if not chunk:
            break
        data += chunk
    notes: dict[int, list[str]] = {}
    at = 0
    while at < len(data):
        task, kind, text = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        parts = data[at : at + kind], data[at + kind : at + kind + text]
        notes[task] = [part.decode("utf-8", "replace") for part in parts]
        at += kind + text
    return notes
