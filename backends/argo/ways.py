"""The ways between steps, read from DAG templates alone: what ``depends``, ``when`` and calls say follows what.

Nothing here is shared with what writes the templates, so that a mistake there is seen here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

_TERM = re.compile(r"([A-Za-z][A-Za-z0-9-]*)(?:\.([A-Z][a-z]+))?")
_TOKEN = re.compile(r"&&|\|\||[()]|[^\s()&|]+")
_WHEN = re.compile(r"'\{\{tasks\.([A-Za-z0-9-]+)\.outputs\.parameters\.to\}\}' == '([a-z0-9_]+)'")

Way = tuple[str, str, str]
"""From a step to a step, and how: ``next``, ``switch``, ``foreach`` or ``gang``."""


class NoWay(ValueError):
    """A template that cannot be read."""


class Ways:
    """The ways through DAG templates.

    Parameters
    ----------
    dags : mapping
        The tasks of each DAG template by its name.
    step_of : mapping
        The step that each other template runs.
    ways : mapping
        How many steps each switch may lead to.
    gangs : set of str
        The templates that run gangs.
    """

    def __init__(
        self,
        dags: Mapping[str, list[dict[str, Any]]],
        step_of: Mapping[str, str],
        ways: Mapping[str, int],
        gangs: frozenset[str],
    ) -> None:
        self.dags = dags
        self.step_of = step_of
        self.switches = ways
        self.gangs = gangs
        self._cases = {name: Counter(_chooser(task) for task in tasks) for name, tasks in dags.items()}
        self._ends: dict[str, frozenset[str]] = dict.fromkeys(dags, frozenset())
        changed = True
        while changed:
            changed = False
            for name in dags:
                ends = frozenset(self._dag_ends(name))
                changed |= ends != self._ends[name]
                self._ends[name] = ends

    def first(self, template: str) -> str:
        """The step that a template begins with.

        Raises
        ------
        NoWay
            If it is not clear.
        """
        seen = set()
        while template in self.dags:
            heads = [task for task in self.dags[template] if not task.get("depends")]
            if len(heads) != 1 or template in seen:
                raise NoWay(f"template {template} does not begin with one task")
            seen.add(template)
            template = heads[0]["template"]
        if template not in self.step_of:
            raise NoWay(f"there is no template {template} that runs a step")
        return self.step_of[template]

    def ends(self, template: str) -> frozenset[str]:
        """The steps that a template may end with."""
        if template in self.dags:
            return self._ends[template]
        return frozenset([self.step_of[template]]) if template in self.step_of else frozenset()

    def all(self) -> set[Way]:
        """Every way.

        Raises
        ------
        NoWay
            If a task does not say what it follows.
        """
        return {way for name in self.dags for way in self._of_dag(name)}

    def groups(self, task: Mapping[str, Any], named: Mapping[str, Any], dag: str) -> set[frozenset[str]]:
        """What a task waits for: of every group of steps one must be done. ``named`` are the tasks beside it.

        Raises
        ------
        NoWay
            If ``depends`` cannot be read.
        """
        tokens = _TOKEN.findall(task.get("depends", ""))[::-1]

        def either() -> set[frozenset[str]]:
            found = both()
            while tokens and tokens[-1] == "||":
                tokens.pop()
                found = {one | other for other in both() for one in found}
            return found

        def both() -> set[frozenset[str]]:
            found = single()
            while tokens and tokens[-1] == "&&":
                tokens.pop()
                found = found | single()
            return found

        def single() -> set[frozenset[str]]:
            name = tokens.pop() if tokens else ""
            if name == "(":
                found = either()
                if not tokens or tokens.pop() != ")":
                    raise NoWay(f"{task['depends']!r} cannot be read")
                return found
            return {frozenset(self._before(name, named, dag))}

        found = either()
        if tokens:
            raise NoWay(f"{task['depends']!r} cannot be read")
        return found

    def _of_dag(self, dag: str) -> Iterator[Way]:
        tasks = self.dags[dag]
        named = {task["name"]: task for task in tasks}
        for task in tasks:
            if not task.get("depends") or _catches(task):
                continue
            target = self.first(task["template"])
            when = _WHEN.fullmatch(task.get("when", ""))
            if task.get("when") and when is None:
                raise NoWay(f"task {task['name']} has the condition {task['when']!r}")
            if when is not None:
                if when[1] not in named or when[2] != target:
                    raise NoWay(f"task {task['name']} runs {target}, and its condition speaks of {when[2]}")
                yield self.step_of[named[when[1]]["template"]], target, "switch"
                continue
            kind = "foreach" if "withSequence" in task else "gang" if task["template"] in self.gangs else ""
            for before in self._before(task["depends"], named, dag):
                yield before, target, kind or ("switch" if before in self.switches else "next")

    def _before(self, depends: str, named: Mapping[str, Any], dag: str) -> Iterator[str]:
        for name, state in _TERM.findall(depends):
            if name not in named:
                raise NoWay(f"there is no task {name} to depend on")
            if state == "Skipped":
                when = _WHEN.fullmatch(named[name].get("when", ""))
                if when is None or when[1] not in named:
                    raise NoWay(f"task {name} is never skipped")
                yield self.step_of[named[when[1]]["template"]]
            elif state in ("", "Succeeded"):
                yield from self._task_ends(named[name], dag)
            else:
                raise NoWay(f"{depends!r} waits for {name}.{state}")

    def _dag_ends(self, dag: str) -> Iterator[str]:
        used: set[str] = set()
        skipped: set[str] = set()
        first_case: dict[str, str] = {}
        for task in self.dags[dag]:
            first_case.setdefault(_chooser(task), task["name"])
            if not _catches(task):
                for name, state in _TERM.findall(task.get("depends", "")):
                    used.add(name)
                    if state == "Skipped":
                        skipped.add(name)
        for task in self.dags[dag]:
            if task["name"] not in used and not _catches(task):
                yield from self._task_ends(task, dag)
            # A case that leads straight out of the template has no task.
            cases, step = self._cases[dag][task["name"]], self.step_of.get(task["template"], "")
            if 0 < cases < self.switches.get(step, 0) and first_case[task["name"]] not in skipped:
                yield step

    def _task_ends(self, task: Mapping[str, Any], dag: str) -> Iterator[str]:
        """The steps that a task may end with; a switch whose cases are tasks beside it does not end there."""
        if not self._cases[dag][task["name"]]:
            yield from self.ends(task["template"])


def _chooser(task: Mapping[str, Any]) -> str:
    """The task whose choice another one waits for; empty if it waits for none."""
    when = _WHEN.fullmatch(task.get("when", ""))
    return when[1] if when else ""


def _catches(task: Mapping[str, Any]) -> bool:
    return {state for _, state in _TERM.findall(task.get("depends", ""))} == {"Failed", "Errored"}
