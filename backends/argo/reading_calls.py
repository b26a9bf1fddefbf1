"""What the DAG templates call, in which order and with which arguments, compared with the Plan.

The order is read by `ways`; what is handed on is an index, the size of a gang, and how an attempt ended. Nothing here
is shared with what writes the templates, so that a mistake there is seen here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...compiler.plan import Gang, Plan, Step, Switch
from ...runtime import contract
from .reading_containers import container_of, variables_of
from .ways import NoWay, Ways

_INDEX = "{{inputs.parameters.index}}"
_FAILED = re.compile(r"([A-Za-z][A-Za-z0-9-]*)\.Failed \|\| \1\.Errored")
_SUCCEEDED = re.compile(r"([A-Za-z][A-Za-z0-9-]*)(?:\.Succeeded)?\b(?!\.)")
_FIELDS = {"name", "template", "depends", "when", "withSequence", "arguments"}


def call_problems(plan: Plan, spec: Mapping[str, Any]) -> Iterator[str]:
    """What the DAG templates say otherwise than the Plan. Every template that runs a step must be known to run one."""
    by_name = {item["name"]: item for item in spec["templates"]}
    main, ending = _reached(spec["entrypoint"], by_name), _reached(spec.get("onExit", ""), by_name)
    for name in by_name:
        if name not in main | ending:
            yield f"nothing calls template {name}"
    dags = {name: by_name[name]["dag"]["tasks"] for name in by_name if name in main and "dag" in by_name[name]}
    step_of: dict[str, str] = {}
    catching = set()
    for name, item in by_name.items():
        container = container_of(item)
        if container is not None and container["args"][0] == "step":
            step_of[name] = container["args"][1]
            if contract.CAUGHT in variables_of(container):
                catching.add(name)
    switches = {step.name: len(step.leave.targets) for step in plan.steps if isinstance(step.leave, Switch)}
    gangs = frozenset(name for name in step_of if "resource" in by_name[name])
    try:
        ways = Ways(dags, step_of, switches, gangs)
        yield from _ways(plan, ways, spec["entrypoint"])
        calls = _Calls(plan, ways, frozenset(catching))
        for name in dags:
            for problem in calls.of_dag(name, by_name[name]):
                yield f"template {name}: {problem}"
    except NoWay as error:
        yield str(error)


def _reached(first: str, by_name: Mapping[str, Any]) -> set[str]:
    """The names of a template and of all that it calls."""
    seen: set[str] = set()
    todo = [first]
    while todo:
        name = todo.pop()
        if name in by_name and name not in seen:
            seen.add(name)
            todo += [task["template"] for task in by_name[name].get("dag", {}).get("tasks", ())]
    return seen


def _ways(plan: Plan, ways: Ways, entry: str) -> Iterator[str]:
    kinds = {"branches": "next"}
    meant = {
        (step.name, target, kinds.get(step.leave.kind, step.leave.kind))
        for step in plan.steps
        for target in step.leave.targets
    }
    there = ways.all()
    if ways.first(entry) != plan.first:
        yield f"the Workflow begins with {ways.first(entry)}, not with {plan.first}"
    if ways.ends(entry) != {plan.last}:
        yield f"the Workflow ends with {', '.join(sorted(ways.ends(entry)))}, not with {plan.last}"
    for source, target, kind in sorted(meant - there):
        yield f"nothing leads from {source} to {target} ({kind})"
    for source, target, kind in sorted(there - meant):
        yield f"something leads from {source} to {target} ({kind}), and the flow has no such way"


@dataclass(frozen=True)
class _Calls:
    """What the tasks of DAG templates are given; ``catching`` are the templates that go on after a failure."""

    plan: Plan
    ways: Ways
    catching: frozenset[str]

    def of_dag(self, name: str, template: Mapping[str, Any]) -> Iterator[str]:
        tasks = template["dag"]["tasks"]
        depth = self._depth(name)
        if template.get("inputs", {}) != ({"parameters": [{"name": "index"}]} if depth else {}):
            yield f"its inputs are {template.get('inputs')}, not {'an index' if depth else 'none'}"
        named = {task["name"]: task for task in tasks}
        for task in tasks:
            for problem in [*self._of_task(task, named, depth), *self._order(task, named, name)]:
                yield f"task {task['name']}: {problem}"
        caught = [self._catches(task, named) for task in tasks]
        for task in tasks:
            step = self.ways.step_of.get(task["template"])
            wanted = task["template"] not in self.catching and step is not None and self.plan[step].catch is not None
            times = caught.count(task["name"])
            if times != wanted:
                yield f"task {task['name']}: what goes on after its failure is called {times} times"

    def _depth(self, template: str) -> int:
        """How many numbers the index has that a template is given."""
        step = self.plan[self.ways.first(template)]
        return len(step.scope) - (step.kind == "gang" and template not in self.ways.dags)

    def _catches(self, task: Mapping[str, Any], named: Mapping[str, Any]) -> str:
        """The task after whose failure a task goes on; empty where it is none of those."""
        match = _FAILED.fullmatch(task.get("depends", ""))
        if match is None or match[1] not in named or task["template"] not in self.catching:
            return ""
        failed = named[match[1]]["template"]
        own = self.ways.step_of[task["template"]]
        return match[1] if failed not in self.catching and self.ways.step_of.get(failed) == own else ""

    def _of_task(self, task: Mapping[str, Any], named: Mapping[str, Any], depth: int) -> Iterator[str]:
        more = sorted(set(task) - _FIELDS)
        if more:
            yield f"it also says {', '.join(more)}"
        if task["template"] in self.catching and not self._catches(task, named):
            yield "it goes on after a failure of something else than its own step"
        step = self.plan[self.ways.first(task["template"])]
        inner = self._depth(task["template"])
        index = _INDEX if depth else ""
        repeated = "withSequence" in task
        if inner != depth + repeated:
            yield f"an index of {depth + repeated} numbers reaches {step.name}, which has {inner}"
            return
        if repeated:
            index = f"{index}.{{{{item}}}}".removeprefix(".")
            yield from self._count(step, task["withSequence"], task, named)
        meant = {"index": index} if index else {}
        given = {item["name"]: item.get("value") for item in task.get("arguments", {}).get("parameters", ())}
        if step.kind == "gang" and task["template"] not in self.catching:
            yield from self._size(step, given.pop("size", None), task, named)
        if task["template"] in self.catching:
            meant["status"] = f"{{{{tasks.{self._catches(task, named)}.status}}}}"
        for name in sorted({*meant, *given}):
            if given.get(name) != meant.get(name):
                yield f"its {name} is {given.get(name)!r}, not {meant.get(name)!r}"

    def _order(self, task: Mapping[str, Any], named: Mapping[str, Any], dag: str) -> Iterator[str]:
        """Whether a task waits for every branch that it joins, and for one of the cases of a switch, not for all."""
        if not task.get("depends") or task["template"] in self.catching:
            return
        inputs = self.plan[self.ways.first(task["template"])].inputs
        groups = self.ways.groups(task, named, dag)
        if task.get("when") or not inputs:
            good = len(groups) == 1
        else:
            of_each = [[group for group in groups if group <= set(wanted)] for wanted in inputs]
            good = len(groups) == len(inputs) and all(len(each) == 1 for each in of_each)
        if not good:
            yield f"it waits for {task['depends']}, and branches are joined by &&, the cases of a switch by ||"

    def _count(
        self, step: Step, sequence: Mapping[str, Any], task: Mapping[str, Any], named: Mapping[str, Any]
    ) -> Iterator[str]:
        opener = step.scope[-1]
        if sequence not in [{"count": width} for width in self._widths(opener, task, named)]:
            yield f"it runs {step.name} as often as {dict(sequence)} says, not as {opener} finds items"

    def _size(self, step: Step, size: object, task: Mapping[str, Any], named: Mapping[str, Any]) -> Iterator[str]:
        opener = step.scope[-1]
        leave = self.plan[opener].leave
        if isinstance(leave, Gang) and leave.size is not None:
            if size != str(leave.size):
                yield f"its gang has the size {size!r}, not {leave.size}"
        elif size not in self._widths(opener, task, named):
            yield f"its gang has the size {size!r}, not the width that {opener} tells"

    def _widths(self, opener: str, task: Mapping[str, Any], named: Mapping[str, Any]) -> list[str]:
        """What stands for the width that a step tells, from the tasks that run it just before."""
        before = [name for name in _SUCCEEDED.findall(task.get("depends", "")) if name in named]
        return [
            f"{{{{tasks.{name}.outputs.parameters.width}}}}"
            for name in before
            if self.ways.step_of.get(named[name]["template"]) == opener
        ]
