"""Where a task stands in its gang."""

from __future__ import annotations

from typing import NamedTuple


class GangPlace(NamedTuple):
    """One rank of a gang: its number from 0, the world size, and where the control rank listens."""

    rank: int
    size: int
    main: str = "127.0.0.1"
    port: int = 0
