"""``@parallel``: nothing boots; the ranks have one another."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Optional

from ...dsl.current import ParallelInfo
from ..gang import GangHandle
from .base import Site


class FormedParallel(ParallelInfo):
    """``current.parallel`` in a rank of a gang that has formed."""

    gang: GangHandle

    @classmethod
    def of(cls, gang: GangHandle, control_task_id: str) -> FormedParallel:
        """What a rank says; the control rank's address is the one at which the others reach it."""
        info = cls(gang.members[0].address, gang.size, gang.rank, control_task_id)
        info.gang = gang
        return info

    def __reduce__(self) -> Any:
        # The facts can be kept as an artifact, the gang cannot.
        return ParallelInfo, tuple(self)

    def barrier(self) -> None:
        self.gang.barrier()

    def broadcast(self, value: Any = None, root: int = 0) -> Any:
        return self.gang.broadcast(value, root)

    def gather(self, value: Any, root: int = 0) -> Optional[list[Any]]:
        return self.gang.gather(value, root)

    def allgather(self, value: Any) -> list[Any]:
        return self.gang.allgather(value)


class Parallel:
    """``@parallel``."""

    on_control_only = False

    def require(self, options: Mapping[str, Any]) -> None:
        """Nothing."""

    def boot(self, site: Site) -> AbstractContextManager[Mapping[str, Any]]:
        """Nothing."""
        return nullcontext({})

    def stand_by(self, site: Site) -> None:
        """Every rank runs the body."""


FRAMEWORK = Parallel()
