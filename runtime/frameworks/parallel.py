"""``@parallel``: nothing boots; the ranks have one another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Optional

from ...dsl import FlowcError
from ...dsl.current import ParallelInfo
from ..gang import GangHandle
from .base import Site


class FormedParallel(ParallelInfo):
    """``current.parallel`` in a rank of a gang that has formed."""

    gang: GangHandle

    def barrier(self) -> None:
        self.gang.barrier()

    def broadcast(self, value: Any = None, root: int = 0) -> Any:
        return self.gang.broadcast(value, root)

    def gather(self, value: Any, root: int = 0) -> Optional[list[Any]]:
        return self.gang.gather(value, root)

    def allgather(self, value: Any) -> list[Any]:
        return self.gang.allgather(value)


class ControlParallel(ParallelInfo):
    """``current.parallel`` where the body runs on the control rank alone: the facts, and nobody to meet."""

    def _no_gang(self, what: str) -> FlowcError:
        return FlowcError(
            f"current.parallel.{what}: the body of this step runs on the control rank alone, while the others stand by "
            "and would never come; what they have to do, its framework does there"
        )


def parallel_of(gang: GangHandle, control_task_id: str, on_control_only: bool) -> ParallelInfo:
    """What a rank says; the control rank's address is the one at which the others reach it."""
    facts = (gang.members[0].address, gang.size, gang.rank, control_task_id)
    if on_control_only:
        return ControlParallel(*facts)
    info = FormedParallel(*facts)
    info.gang = gang
    return info


class Parallel:
    """``@parallel``."""

    on_control_only = False

    def require(self, options: Mapping[str, Any], calls: Collection[str] = ()) -> None:
        """Nothing."""

    def boot(self, site: Site) -> AbstractContextManager[Mapping[str, Any]]:
        """Nothing."""
        return nullcontext({})

    def stand_by(self, site: Site) -> None:
        """Every rank runs the body."""


FRAMEWORK = Parallel()
