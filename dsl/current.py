"""``current``: what a step may know about the run it is part of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Optional

from .errors import FlowcError


class ParallelInfo(NamedTuple):
    """``current.parallel``: where this task stands in its gang, and the few things its ranks do together.

    Every rank makes the same calls in the same order. Values are pickled, at most 64 MiB each.
    """

    main_ip: str
    num_nodes: int
    node_index: int
    control_task_id: Optional[str]

    def barrier(self) -> None:
        """Wait until every rank is here."""
        raise self._no_gang("barrier")

    def broadcast(self, value: Any = None, root: int = 0) -> Any:
        """Give every rank the value of the rank ``root``; what other ranks pass is ignored."""
        raise self._no_gang("broadcast")

    def gather(self, value: Any, root: int = 0) -> Optional[list[Any]]:
        """Give the rank ``root`` the values of all ranks, in rank order; the others get None."""
        raise self._no_gang("gather")

    def allgather(self, value: Any) -> list[Any]:
        """Give every rank the values of all ranks, in rank order."""
        raise self._no_gang("allgather")

    def __reduce__(self) -> Any:
        # The facts can be kept as an artifact, a gang that is behind them cannot.
        return ParallelInfo, tuple(self)

    def _no_gang(self, what: str) -> FlowcError:
        return FlowcError(f"current.parallel.{what} works only in a rank of a gang that has formed")


_NEEDS = {
    "parallel": "a step that num_parallel leads to",
    "torch": "a step with @torchrun",
    "deepspeed": "a step with @deepspeed",
    "mpi": "a step with @mpi",
    "dask": "a step with @dask",
    "ray_storage_path": "a step with @metaflow_ray",
    "checkpoint": "a step with @checkpoint",
    "card": "a step with @card",
    "project_name": "a flow with @project",
    "branch_name": "a flow with @project",
    "is_production": "a flow with @project",
    "trigger": "a run started by an event",
}


class Current:
    """Facts about the running task, each an attribute: ``flow_name``, ``run_id``, ``step_name``, ``task_id``,
    ``retry_count``, ``origin_run_id``, ``pathspec``, ``namespace``, ``username``, ``tags``, ``tempdir``,
    ``is_parallel``, ``parallel``, ``graph`` and, in steps that ask for them, ``torch``, ``deepspeed``, ``mpi``,
    ``dask``, ``checkpoint``.

    Outside a task only ``is_running_flow`` can be asked.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    @property
    def is_running_flow(self) -> bool:
        """Whether this process is running a step."""
        return bool(self._values)

    @property
    def is_parallel(self) -> bool:
        """Whether this task is a rank of a gang."""
        return "parallel" in self._values

    def get(self, name: str, default: Any = None) -> Any:
        """A fact, or the default where it is not known here."""
        return self._values.get(name, default)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            pass
        where = _NEEDS.get(name)
        if where is not None:
            raise AttributeError(f"current.{name} is only there in {where}")
        if not self._values:
            raise AttributeError(f"current.{name} is only there while a step runs")
        raise AttributeError(f"current has no {name!r}; it has {', '.join(sorted(self._values))}")


current = Current()


def set_current(values: Mapping[str, Any]) -> None:
    """Add facts about the running task; called by the runtime only."""
    current._values.update(values)


def swap_current(values: dict[str, Any]) -> dict[str, Any]:
    """Let these be the facts from now on, and return those before; called by the runtime only."""
    before = current._values
    current._values = values
    return before


@contextmanager
def current_values(values: Mapping[str, Any]) -> Iterator[None]:
    """Facts for the length of a ``with`` block; for the runtime and for tests of step bodies."""
    before = dict(current._values)
    current._values.update(values)
    try:
        yield
    finally:
        current._values = before
