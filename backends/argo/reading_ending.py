"""What runs once a run has ended, compared with the Plan: the record of its end, and the deletion of its JobSets.

Nothing here is shared with what writes the templates, so that a mistake there is seen here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...runtime import contract
from .reading_containers import RUN, Manifests, deletes, variable_problems

_FAILURES = "{{=sprig.trunc(60000, workflow.failures)}}"
"""What the record is told of the failures: one variable holds 128 KiB at most."""

_RECORDED = 3
"""How often the end of a run is tried to be recorded."""


def ending_problems(made: Manifests, first: Mapping[str, Any]) -> Iterator[str]:
    """Whether the exit handler records the end, and deletes the JobSets where the flow may leave some."""
    by_name = {item["name"]: item for item in made.spec["templates"]}
    name = made.spec.get("onExit")
    if name not in by_name:
        yield f"the exit handler is {name}, and nothing records the end of a run"
        return
    called = [by_name[name]]
    if "dag" in by_name[name]:
        tasks = by_name[name]["dag"]["tasks"]
        called = [by_name.get(task["template"], {}) for task in tasks]
        yield from _tries(tasks, by_name)
    records = [item for item in called if _records(item)]
    deleting = [item for item in called if deletes(item)]
    gangs = any(step.kind == "gang" for step in made.plan.steps)
    if not records or len(records) + len(deleting) != len(called) or any(item != records[0] for item in records):
        yield f"the exit handler {name} does not record the end of a run, in one way and beside the deletion of JobSets"
    if len(deleting) != gangs:
        often = {0: "no", 1: "the"}.get(len(deleting), f"{len(deleting)} times the")
        yield f"the exit handler {name} deletes {often} JobSets, and the flow has {_some(gangs)}"
    for item in records[:1]:
        for problem in _record(made, item, first):
            yield f"template {item['name']}: {problem}"
    for item in deleting:
        flags = [flag for flag in item["resource"].get("flags", ()) if flag != "--ignore-not-found"]
        if flags != ["jobset", "--selector", f"flowc/run={RUN}"]:
            yield f"template {item['name']}: it deletes {' '.join(flags)}, not the JobSets with flowc/run={RUN}"


def _records(item: Mapping[str, Any]) -> bool:
    return bool(item.get("container", {}).get("args", [""])[0] == "end")


def _tries(tasks: list[dict[str, Any]], by_name: Mapping[str, Any]) -> Iterator[str]:
    """Whether every task of the exit handler runs whatever happens; to record the end again, once that has failed."""
    before = ""
    tries = 0
    for task in tasks:
        depends = None
        if _records(by_name.get(task["template"], {})):
            depends = f"{before}.Failed || {before}.Errored" if before else None
            before = task["name"]
            tries += 1
        if set(task) - {"depends"} != {"name", "template"} or task.get("depends") != depends:
            when = "whatever happens" if depends is None else f"where {depends}"
            yield f"task {task['name']} of the exit handler does not run {when}"
    if tries not in (0, _RECORDED):
        yield f"the exit handler tries {tries} times to record the end of a run, not {_RECORDED}"


def _some(there: bool) -> str:
    return "gangs" if there else "no gangs"


def _record(made: Manifests, item: Mapping[str, Any], first: Mapping[str, Any]) -> Iterator[str]:
    """Whether the end is recorded with what the first step has to reach the datastore, and to load the flow."""
    container, other = item["container"], first.get("container", {})
    step = made.plan[made.plan.first]
    keys = ("image", "command", "envFrom", "securityContext", "volumeMounts", "workingDir")
    fields = [key for key in keys if container.get(key) != other.get(key)]
    fields += [key for key in ("serviceAccountName", "volumes") if item.get(key) != first.get(key)]
    for field in fields:
        yield f"its {field} is not that of step {step.name}"
    if container["args"] != ["end", "--status", "{{workflow.status}}"]:
        yield f"its arguments are {container['args']}"
    yield from variable_problems(made, step, container, {contract.FAILURES: _FAILURES})
