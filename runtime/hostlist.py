"""Slurm's host lists, ``n[1-4,7],login,rack[0-1]n[01-16]``, without Slurm's programs.

The form: https://slurm.schedmd.com/scontrol.html, "show hostnames". Several bracketed parts make every combination,
the last one running fastest; a width (``01``) is kept.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\],\s]+)")
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_MOST = 1_000_000


def expand(text: str) -> Iterator[str]:
    """The host names that a list stands for, in its order.

    Raises
    ------
    ValueError
        If it is no host list, or a range of it has a million names or more; not before that part is asked for.
    """
    at, end = 0, len(text)
    while at < end:
        parts: list[list[str]] = []
        while at < end and text[at] != ",":
            match = _PART.match(text, at)
            if match is None:
                raise _wrong(text)
            parts.append([match[2]] if match[2] is not None else list(_numbers(match[1], text)))
            at = match.end()
        if not parts:
            raise _wrong(text)
        at += 1
        for names in itertools.product(*parts):
            yield "".join(names)
    if not text or text.endswith(","):
        raise _wrong(text)


def _numbers(ranges: str, text: str) -> Iterator[str]:
    for each in ranges.split(","):
        match = _RANGE.fullmatch(each)
        if match is None:
            raise _wrong(text)
        first, last = match[1], match[2] or match[1]
        if not 0 <= int(last) - int(first) < _MOST:
            raise _wrong(text)
        for value in range(int(first), int(last) + 1):
            yield str(value).zfill(len(first))


def _wrong(text: str) -> ValueError:
    return ValueError(f"{text!r} is no list of hosts as Slurm writes it: n[1-4],login")
