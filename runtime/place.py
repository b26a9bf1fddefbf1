"""Where a task stands in its gang."""

from __future__ import annotations

from typing import NamedTuple, Optional

from .address import Address
from .outline import ContractError


class GangPlace(NamedTuple):
    """One rank of a gang: its number from 0, the world size, and where the control rank listens."""

    rank: int
    size: int
    main: str = "127.0.0.1"
    port: int = 0


def place_of(address: Address, told: Optional[GangPlace]) -> GangPlace:
    """The place of a gang's task: what it was told, or that of a gang of one.

    Raises
    ------
    ContractError
        If that is not the place that its address says.
    """
    rank = address.index[-1]
    if told is None:
        if rank != 0:
            raise ContractError(f"{address} is rank {rank} of a gang, and nothing says how large the gang is")
        return GangPlace(0, 1)
    if told.rank != rank:
        raise ContractError(f"{address} is rank {rank} of its gang, but was started as rank {told.rank}")
    return told
