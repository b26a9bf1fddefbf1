"""flowc's own variables, which the local backend sets and which anybody may set by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from ... import contract
from .reading import Claim, MembershipError, number


def claim(env: Mapping[str, str]) -> Optional[Claim]:
    """Size and rank as FLOWC_GANG_SIZE and FLOWC_GANG_RANK say; None if neither is set."""
    size, rank = number(env, contract.GANG_SIZE), number(env, contract.GANG_RANK)
    if size is None and rank is None:
        return None
    if size is not None and rank is not None and rank >= size:
        raise MembershipError(f"{contract.GANG_RANK}={rank} is no rank of a gang of {contract.GANG_SIZE}={size}")
    return Claim("local", size, rank, env.get(contract.GANG_MAIN) or "127.0.0.1")
