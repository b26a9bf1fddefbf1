"""Checks of a DAG template: its tasks, what they wait for, and what they hand to the templates that they call."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from ...compiler.diagnostics import did_you_mean, listed
from .verify_languages import NotRead, check_when, read_depends, replace_tags
from .verify_references import Scope, TaskFacts, check_texts
from .verify_report import Node, Report, unique

RESULTS = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed")
"""What a ``depends`` may ask of a task: https://argo-workflows.readthedocs.io/en/latest/enhanced-depends-logic/"""

_OF_LOOPS = ("AnySucceeded", "AllFailed")
_LOOPS = ("withItems", "withParam", "withSequence")
_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_FIELDS = ("arguments", "when", "withItems", "withParam", "withSequence", "hooks", "onExit", "continueOn", "inline")


class Callee(Protocol):
    """What a task must know of the template that it calls."""

    @property
    def required(self) -> frozenset[str]: ...

    @property
    def inputs(self) -> frozenset[str]: ...

    @property
    def facts(self) -> TaskFacts: ...


@dataclass(frozen=True)
class _Task:
    node: Node
    path: str
    after: tuple[str, ...]


def check_dag(dag: Node, path: str, scope: Scope, templates: Mapping[str, Callee], report: Report) -> Scope:
    """Check a DAG; gives the scope in which its outputs stand, where every task is known."""
    tasks: dict[str, _Task] = {}
    nodes = list(report.items(dag.get("tasks"), f"{path}.tasks"))
    unique((str(node.get("name")) for _, node in nodes), f"{path}.tasks", "task", report)
    names = frozenset(str(node.get("name")) for _, node in nodes)
    repeated = frozenset(str(node.get("name")) for _, node in nodes if any(node.get(loop) for loop in _LOOPS))
    if not nodes:
        report.add(f"{path}.tasks", "the DAG has no tasks", "give it one")
    _check_mixture(nodes, path, report)
    for place, node in nodes:
        name = report.text(node.get("name"), f"{place}.name")
        if not _NAME.fullmatch(name):
            report.add(f"{place}.name", f"{name!r} cannot be the name of a task", "use letters, digits and -")
        tasks[str(node.get("name"))] = _Task(node, place, _after(node, place, names, repeated, report))
    facts = {name: _facts(task, templates) for name, task in tasks.items()}
    _check_order(tasks, path, report)
    for name, task in tasks.items():
        _check_task(task, scope.but(tasks=_Before(name, tasks, facts), all_tasks=names), templates, report)
    check_texts(dag.get("target"), f"{path}.target", scope, report)
    return scope.but(tasks=facts, all_tasks=names)


def _check_mixture(nodes: list[tuple[str, Node]], path: str, report: Report) -> None:
    new = any(node.get("depends") is not None for _, node in nodes)
    old = any(node.get("dependencies") is not None for _, node in nodes)
    if new and old:
        report.add(f"{path}.tasks", "the DAG has both depends and dependencies", "write depends everywhere")


def _after(node: Node, path: str, names: frozenset[str], repeated: frozenset[str], report: Report) -> tuple[str, ...]:
    """The tasks that a task waits for."""
    found = [(str(name), None) for name in report.sequence(node.get("dependencies"), f"{path}.dependencies")]
    place = f"{path}.{'dependencies' if found else 'depends'}"
    wanted: list[tuple[str, str | None]] = [*found]
    text = report.text(node.get("depends"), f"{path}.depends")
    if text.strip():
        try:
            wanted = read_depends(text)
        except NotRead as error:
            report.add(place, f"it cannot be read: {error}", "join tasks by && and ||, as in 'a && (b || c.Skipped)'")
    for name, result in wanted:
        if name not in names:
            report.add(place, f"there is no task {name!r}", did_you_mean(name, names) or "name a task of this DAG")
        if result is not None and result not in RESULTS:
            near = did_you_mean(result, RESULTS)
            report.add(place, f"a task has no result {result!r}", near or f"take {listed(RESULTS, 'or')}")
        if result in _OF_LOOPS and name in names - repeated:
            message = f"{result} is asked of {name!r}, which is not repeated"
            report.add(place, message, f"write {name}.{result.removeprefix('Any').removeprefix('All')}")
    return tuple(dict.fromkeys(name for name, _ in wanted if name in names))


def _facts(task: _Task, templates: Mapping[str, Callee]) -> TaskFacts:
    callee = templates.get(str(task.node.get("template")))
    return callee.facts if callee is not None else TaskFacts()


def _check_order(tasks: Mapping[str, _Task], path: str, report: Report) -> None:
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter({name: task.after for name, task in tasks.items()}).prepare()
    except CycleError as error:
        round = " -> ".join(reversed(error.args[1]))
        report.add(f"{path}.tasks", f"tasks wait for each other: {round}", "a loop is a template that calls itself")


class _Before(Mapping[str, TaskFacts]):
    """The facts of the tasks that have ended before one begins. Few are ever asked for, mostly those just before."""

    def __init__(self, name: str, tasks: Mapping[str, _Task], facts: Mapping[str, TaskFacts]) -> None:
        self._name = name
        self._tasks = tasks
        self._facts = facts

    def __iter__(self) -> Iterator[str]:
        seen: set[str] = set()
        todo = deque(self._tasks[self._name].after)
        while todo:
            name = todo.popleft()
            if name not in seen:
                seen.add(name)
                yield name
                todo.extend(self._tasks[name].after)

    def __getitem__(self, name: str) -> TaskFacts:
        if name in self._facts and any(other == name for other in self):
            return self._facts[name]
        raise KeyError(name)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _check_task(task: _Task, scope: Scope, templates: Mapping[str, Callee], report: Report) -> None:
    node, path = task.node, task.path
    loops = [loop for loop in _LOOPS if node.get(loop) is not None]
    if len(loops) > 1:
        report.add(path, f"the task has {listed(loops)}", "keep one of them")
    _check_loop(node, path, scope, report)
    inner = scope.but(loops=bool(loops))
    name = node.get("template")
    callee = templates.get(str(name))
    if callee is None:
        if node.get("templateRef") is not None or node.get("inline") is not None:
            report.add(path, "the task calls no template of this file", "call one by name")
        else:
            near = did_you_mean(str(name), templates)
            report.add(f"{path}.template", f"there is no template {name!r}", near or "name one of the templates")
    else:
        _check_arguments(node, path, str(name), callee, report)
    when = report.text(node.get("when"), f"{path}.when")
    if when:
        try:
            check_when(replace_tags(when, "1"))
        except NotRead as error:
            report.add(
                f"{path}.when", f"it cannot be read: {error}", "compare quoted texts, as in \"'{{...}}' == 'a'\""
            )
    for field in _FIELDS:
        if field not in _LOOPS:
            check_texts(node.get(field), f"{path}.{field}", inner, report)


def _check_loop(node: Node, path: str, scope: Scope, report: Report) -> None:
    # An item is known in the task that is repeated, not in what says how often.
    for loop in _LOOPS:
        check_texts(node.get(loop), f"{path}.{loop}", scope, report)
    if node.get("withParam") is not None:
        text = report.text(node["withParam"], f"{path}.withParam")
        if "{{" not in text:
            try:
                good = isinstance(json.loads(text), list)
            except ValueError:
                good = False
            if not good:
                report.add(f"{path}.withParam", f"{text!r} is no list in JSON", "write one, or a tag that gives one")
    sequence = report.mapping(node.get("withSequence"), f"{path}.withSequence")
    if node.get("withSequence") is not None and ("count" in sequence) == ("end" in sequence):
        report.add(f"{path}.withSequence", "it takes either count or end", "write count")
    for key in ("count", "start", "end"):
        value = sequence.get(key)
        if value is not None and not (isinstance(value, str) and re.fullmatch(r"-?[0-9]+|\{\{.*\}\}", value)):
            report.add(f"{path}.withSequence.{key}", f"{value!r} is no number", "write it as text, as in '3', or a tag")


def _check_arguments(node: Node, path: str, name: str, callee: Callee, report: Report) -> None:
    arguments = report.mapping(node.get("arguments"), f"{path}.arguments")
    place = f"{path}.arguments.parameters"
    given = []
    for at, parameter in report.items(arguments.get("parameters"), place):
        argument = report.text(parameter.get("name"), f"{at}.name")
        given.append(argument)
        report.text(parameter.get("value"), f"{at}.value")
        if parameter.get("value") is None and parameter.get("valueFrom") is None:
            report.add(at, f"argument {argument!r} has no value", "give it one")
        if argument not in callee.inputs:
            near = did_you_mean(argument, callee.inputs)
            report.add(f"{at}.name", f"template {name!r} has no input {argument!r}", near or "leave it out")
    unique(given, place, "argument", report)
    missing = sorted(callee.required - set(given))
    if missing:
        report.add(place, f"template {name!r} needs {listed(missing)}", "give it as an argument")
