"""What the schedulers' modules have in common: a claim, and reading numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from ...outline import ContractError


class MembershipError(ContractError):
    """The variables that describe a gang are incomplete, wrong or contradict each other."""


@dataclass(frozen=True)
class Claim:
    """What one source says; None where it says nothing.

    Parameters
    ----------
    source : str
        Its name.
    size, rank : int or None
        World size and rank.
    main : str
        Host name or address of the control rank; empty where only the control rank itself is meant.
    spare : str
        An address of the control rank, for where nobody can resolve ``main``.
    restarts : int
        How often the scheduler has restarted the gang in place.
    group : str
        What it restarts so, by name; empty where it never does.
    """

    source: str
    size: Optional[int]
    rank: Optional[int]
    main: str = ""
    restarts: int = 0
    spare: str = ""
    group: str = ""


def number(env: Mapping[str, str], name: str) -> Optional[int]:
    """The whole number of a variable; None if it is not set or empty.

    Raises
    ------
    MembershipError
        If it is something else.
    """
    text = env.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise MembershipError(f"{name}={text!r} is not a whole number of 0 or more")
    return int(text)


def needed(env: Mapping[str, str], name: str, beside: str) -> int:
    """The whole number of a variable that must be there because another one is.

    Raises
    ------
    MembershipError
        If it is not set or no number.
    """
    value = number(env, name)
    if value is None:
        raise MembershipError(f"{beside} is set but {name} is not: the gang's variables are incomplete")
    return value
