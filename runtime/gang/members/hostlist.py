"""Slurm's host lists, as what describes a gang."""

from __future__ import annotations

from collections.abc import Iterator

from ... import hostlist
from .reading import MembershipError


def expand(text: str) -> Iterator[str]:
    """The host names that a list stands for, in its order.

    Raises
    ------
    MembershipError
        If it is no host list; raised when the first name is asked for.
    """
    try:
        yield from hostlist.expand(text)
    except ValueError as error:
        raise MembershipError(str(error)) from None
