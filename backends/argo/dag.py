"""From the Plan to Argo's DAG templates.

A region is everything on the ways from one step to another, the latter left out; it is one template, made when it is
first needed. A template is a walk through its region:

- what follows a switch begins where all its cases have met; until there each case is a branch under ``when``,
- the branches of a static split are walked beside each other up to their join,
- the body of a foreach is a region of its own, started once for each item,
- a way that comes to a step the template has already, or into a circle, is the call of another region, which for a
  loop is the template itself.

So a ``when`` only ever speaks of a task of the same template that has succeeded before, and nothing but a width and the
choice of a switch is handed on. What the tasks need beyond that they find by their address.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...compiler.plan import Branches, End, Foreach, Gang, Next, Plan, Step, Switch
from .names import Names
from .paths import END, Paths

MAIN = "main"
"""The template that a Workflow begins with."""

INDEX = "{{inputs.parameters.index}}"
_INLINE = 12
"""How deep cases and branches are nested in one template before a region of their own is made of them."""


@dataclass
class Task:
    """A task of a DAG template, in Argo's words.

    ``count`` makes it a sequence of tasks; ``step`` is the step that it runs, empty where it calls a region.
    """

    name: str
    template: str
    depends: str = ""
    when: str = ""
    count: str = ""
    arguments: dict[str, str] = field(default_factory=dict)
    step: str = ""


@dataclass
class Dag:
    """A DAG template: what runs between ``head`` and ``stop``."""

    name: str
    head: str
    stop: str
    indexed: bool
    tasks: list[Task] = field(default_factory=list)
    names: Names = field(default_factory=Names)
    seen: set[str] = field(default_factory=set)

    def add(self, task: Task) -> Task:
        self.tasks.append(task)
        return task


class Drawing:
    """The templates of a flow.

    Attributes
    ----------
    of_step : dict of str to str
        The template that runs each step.
    caught : dict of str to str
        The template that goes on for each step with @catch, once no attempt is left.
    dags : list of Dag
        The DAG templates, `MAIN` first.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.paths = Paths(plan)
        self.names = Names(frozenset([MAIN, "on-exit", "record-end", "delete-jobsets"]))
        self.of_step = {step.name: self.names.new(step.name) for step in plan.steps}
        self.caught = {step.name: self.names.new(f"{step.name}-caught") for step in plan.steps if step.catch}
        self.dags: list[Dag] = []
        self._regions: dict[tuple[str, str], str] = {}
        self._waiting: deque[Dag] = deque()
        self._begin(MAIN, plan.first, END)
        while self._waiting:
            dag = self._waiting.popleft()
            self._walk(dag, dag.head, dag.stop, "", "", 0)

    def _begin(self, name: str, head: str, stop: str) -> None:
        dag = Dag(name, head, stop, bool(self.paths.steps[head].scope))
        self._regions[head, stop] = name
        self.dags.append(dag)
        self._waiting.append(dag)

    def _region(self, head: str, stop: str, wanted: str) -> str:
        """The name of the template that runs from one step to another: of a single plain step its own."""
        step = self.paths.steps[head]
        if isinstance(step.leave, Next) and step.leave.to == stop and step.catch is None:
            return self.of_step[head]
        if (head, stop) not in self._regions:
            self._begin(self.names.new(wanted), head, stop)
        return self._regions[head, stop]

    # A walk ----------------------------------------------------------------------------------------------------------

    def _walk(self, dag: Dag, head: str, stop: str, after: str, when: str, depth: int) -> str:
        """Add the tasks from one step to another. Returns the condition under which they are done.

        Parameters
        ----------
        after, when : str
            ``depends`` and ``when`` of the first task.
        """
        at = head
        while at != stop:
            step = self.paths.steps[at]
            if at in dag.seen:
                return self._call(dag, at, stop, after, when)
            circle = self.paths.circle(at, stop, dag.seen) if at in self.paths.again else set()
            if circle:
                beyond = self.paths.beyond(at, circle)
                if (at, beyond) != (dag.head, dag.stop):
                    after, when, at = self._call(dag, at, beyond, after, when, "loop"), "", beyond
                    continue
            done = self._run(dag, step, after, when)
            after, at = self._leave(dag, step, done, depth)
            when = ""
        return after

    def _leave(self, dag: Dag, step: Step, done: str, depth: int) -> tuple[str, str]:
        """Add what a step opens. Returns the condition under which that is done, and the step that comes then."""
        leave, task = step.leave, dag.tasks[-1]
        if isinstance(leave, End):
            return done, END
        if isinstance(leave, Next):
            return done, leave.to
        if isinstance(leave, Switch):
            return self._cases(dag, step, task, done, depth), self.paths.meets[step.name]
        join = self.paths.join_of[step.name]
        if isinstance(leave, Branches):
            ends = [self._branch(dag, target, join, done, "", depth) for target in leave.to]
            return " && ".join(ends), join
        if isinstance(leave, Gang):
            return self._gang(dag, step, leave, task, done), join
        return self._foreach(dag, step, leave, task, join, done), join

    def _branch(self, dag: Dag, head: str, stop: str, after: str, when: str, depth: int) -> str:
        if depth < _INLINE:
            return self._walk(dag, head, stop, after, when, depth + 1)
        return self._call(dag, head, stop, after, when)

    def _cases(self, dag: Dag, step: Step, task: Task, done: str, depth: int) -> str:
        meet = self.paths.meets[step.name]
        targets = step.leave.targets
        ways = {target: self.paths.reach(target, meet) for target in targets if target != meet}
        ends, first = [], []
        for target, way in ways.items():
            when = f"'{{{{tasks.{task.name}.outputs.parameters.to}}}}' == '{target}'"
            others = set().union(dag.seen, *(other for name, other in ways.items() if name != target))
            number = len(dag.tasks)
            if way & others:
                ends.append(self._call(dag, target, meet, done, when))
            else:
                ends.append(self._branch(dag, target, meet, done, when, depth))
            first.append(dag.tasks[number].name)
        if meet in targets:
            # Chosen where none of the others was; if the step has failed, they are omitted, not skipped.
            ends.append(" && ".join(f"{name}.Skipped" for name in first) if first else done)
        return _any(ends)

    def _run(self, dag: Dag, step: Step, after: str, when: str) -> str:
        dag.seen.add(step.name)
        arguments = {"index": INDEX} if step.scope else {}
        name = dag.names.new(step.name)
        dag.add(Task(name, self.of_step[step.name], after, when, "", arguments, step.name))
        if step.catch is None:
            return f"{name}.Succeeded"
        status = {**arguments, "status": f"{{{{tasks.{name}.status}}}}"}
        caught = dag.names.new(f"{step.name}-caught")
        template = self.caught[step.name]
        dag.add(Task(caught, template, f"{name}.Failed || {name}.Errored", "", "", status, step.name))
        return f"({name}.Succeeded || {caught}.Succeeded)"

    def _call(self, dag: Dag, head: str, stop: str, after: str, when: str, kind: str = "") -> str:
        template = self._region(head, stop, f"{head}-{kind}" if kind else f"{head}-to-{stop or 'end'}")
        arguments = {"index": INDEX} if self.paths.steps[head].scope else {}
        single = head if template == self.of_step[head] else ""
        name = dag.names.new(template)
        dag.add(Task(name, template, after, when, "", arguments, single))
        return f"{name}.Succeeded"

    def _foreach(self, dag: Dag, step: Step, leave: Foreach, task: Task, join: str, done: str) -> str:
        template = self._region(leave.to, join, f"{step.name}-body")
        single = leave.to if template == self.of_step[leave.to] else ""
        index = f"{INDEX}.{{{{item}}}}" if step.scope else "{{item}}"
        count = f"{{{{tasks.{task.name}.outputs.parameters.width}}}}"
        name = dag.names.new(template)
        dag.add(Task(name, template, done, "", count, {"index": index}, single))
        # Without items the task is skipped, and what depends on the bare name goes on.
        return name

    def _gang(self, dag: Dag, step: Step, leave: Gang, task: Task, done: str) -> str:
        size = str(leave.size) if leave.size is not None else f"{{{{tasks.{task.name}.outputs.parameters.width}}}}"
        arguments = {**({"index": INDEX} if step.scope else {}), "size": size}
        name = dag.names.new(leave.to)
        dag.add(Task(name, self.of_step[leave.to], done, "", "", arguments, leave.to))
        return f"{name}.Succeeded"


def _any(conditions: list[str]) -> str:
    if len(conditions) == 1:
        return conditions[0]
    return "(" + " || ".join(f"({item})" if " && " in item else item for item in conditions) + ")"


def dag_template(dag: Dag) -> dict[str, object]:
    """A DAG template as Argo reads it."""
    out: dict[str, object] = {"name": dag.name}
    if dag.indexed:
        out["inputs"] = {"parameters": [{"name": "index"}]}
    out["dag"] = {"tasks": [dict(_task(task)) for task in dag.tasks]}
    return out


def _task(task: Task) -> Iterator[tuple[str, object]]:
    yield "name", task.name
    yield "template", task.template
    if task.depends:
        yield "depends", task.depends
    if task.when:
        yield "when", task.when
    if task.count:
        yield "withSequence", {"count": task.count}
    if task.arguments:
        yield "arguments", {"parameters": [{"name": name, "value": text} for name, text in task.arguments.items()]}
