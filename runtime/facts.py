"""What ``current`` says while a step runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from ..dsl.current import ParallelInfo
from . import contract
from .address import Address
from .datastore.base import Datastore
from .outline import Outline, StepOutline
from .place import GangPlace
from .runs import RunInfo


class Graph(Mapping[str, Any]):
    """``current.graph``: the flow as plain values, made when it is asked for.

    It has ``name``, ``doc``, ``file``, ``start_step``, ``end_step`` and ``steps`` by name, each with ``name``,
    ``type``, ``next``, ``foreach_artifact``, ``condition``, ``matching_join``, ``doc``, ``line``.
    """

    def __init__(self, run: RunInfo) -> None:
        self._run = run
        self._data: Optional[dict[str, Any]] = None

    def _values(self) -> dict[str, Any]:
        if self._data is None:
            self._data = _graph(self._run)
        return self._data

    def __getitem__(self, key: str) -> Any:
        return self._values()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def __repr__(self) -> str:
        return repr(self._values())


def _graph(run: RunInfo) -> dict[str, Any]:
    outline = run.outline
    planned = {step["name"]: step for step in run.plan["steps"]}
    steps = {
        name: {
            "name": name,
            "type": _type(outline, step),
            "next": list(step.targets),
            "foreach_artifact": step.over,
            "condition": step.on,
            "matching_join": outline.joined_by(name),
            "doc": planned[name].get("doc", ""),
            "line": (planned[name].get("span") or {}).get("line"),
        }
        for name, step in outline.steps.items()
    }
    return {
        "name": outline.name,
        "doc": run.plan.get("doc", ""),
        "file": run.source.get("file", ""),
        "start_step": outline.first,
        "end_step": outline.last,
        "steps": steps,
    }


def _type(outline: Outline, step: StepOutline) -> str:
    if step.name == outline.first:
        return "start"
    if step.leave_kind == "end":
        return "end"
    if step.joins is not None:
        return "join"
    kinds = {"next": "linear", "branches": "split-static", "foreach": "split-foreach", "gang": "split-parallel"}
    return kinds.get(step.leave_kind, f"split-{step.leave_kind}")


class NoCard:
    """``current.card``: takes everything and draws nothing yet."""

    def append(self, *args: Any, **kwargs: Any) -> None:
        """Take a component."""

    extend = clear = refresh = append

    def __getitem__(self, key: Any) -> NoCard:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.append


def facts_of_run(run: RunInfo) -> dict[str, Any]:
    """What ``current`` says in every task of a run; worked out once a process."""
    values: Optional[dict[str, Any]] = run.worked_out.get("facts")
    if values is None:
        values = run.worked_out["facts"] = {
            "flow_name": run.flow,
            "run_id": run.run_id,
            "username": run.user,
            "namespace": f"user:{run.user}",
            "tags": frozenset(run.tags),
            "origin_run_id": run.origin_run_id,
            "tempdir": os.environ.get(contract.SCRATCH) or os.environ.get("TMPDIR") or "/tmp",  # noqa: S108 (a default)
            "graph": Graph(run),
            "trigger": None,
        }
        if run.outline.project is not None:
            values.update(_project(run, run.outline.project))
    return values


def facts(
    run: RunInfo, datastore: Datastore, step: StepOutline, address: Address, attempt: int, gang: Optional[GangPlace]
) -> dict[str, Any]:
    """The values of ``current`` for one attempt of a task."""
    task_id = address.task_id
    values = {
        **facts_of_run(run),
        "step_name": step.name,
        "task_id": task_id,
        "retry_count": attempt,
        "pathspec": f"{run.prefix}/{address.folder}/{task_id}",
    }
    if gang is not None:
        control = Address(address.step, (*address.index[:-1], 0), address.round)
        values["parallel"] = ParallelInfo(gang.main, gang.size, gang.rank, control.task_id)
    if "checkpoint" in step.features:
        from .checkpoint import Checkpoints  # with what it needs to copy files, larger than all the rest

        values["checkpoint"] = Checkpoints(datastore, run, address, attempt, step.features["checkpoint"])
    if "card" in step.features:
        values["card"] = NoCard()
    return values


def _project(run: RunInfo, project: str) -> dict[str, Any]:
    options: Mapping[str, Any] = {}
    for feature in run.plan.get("features", ()):
        if feature["name"] == "project":
            options = feature.get("options", {})
    production = bool(options.get("production"))
    branch = options.get("branch")
    if production:
        name = f"prod.{branch}" if branch else "prod"
    else:
        name = f"test.{branch}" if branch else f"user.{run.user}"
    return {
        "project_name": project,
        "branch_name": name,
        "project_flow_name": f"{project}.{name}.{run.flow}",
        "is_production": production,
        "is_user_branch": not production and not branch,
    }
