"""Walks DAG templates as Argo would and tells which tasks run; every step does at once what its tree says.

Only what concerns the order and the choice of tasks is modelled: ``depends``, ``when``, sequences, calls. The tests of
the lab execute the commands of the templates; this is for many flows in little time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from flowc.backends.argo.dag import MAIN, Drawing

Index = tuple[int, ...]
Outputs = dict[str, str]
Act = Callable[[str, Index], Outputs]
"""What a step gives to Argo: its ``to`` or ``width``; raises `StepFailed`."""

_STATES = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned")


class StepFailed(Exception):
    """A step that fails for good."""


class Walker:
    """One run."""

    def __init__(self, drawing: Drawing, act: Act) -> None:
        self.act = act
        self.dags = {dag.name: dag for dag in drawing.dags}
        self.steps = {template: step for step, template in drawing.of_step.items()}
        self.gangs = {step.name for step in drawing.plan.steps if step.kind == "gang"}
        self.caught = {template: step for step, template in drawing.caught.items()}
        self.ran: list[tuple[str, Index]] = []
        self.recorded: list[tuple[str, Index]] = []
        self.deepest = 0
        self.state = self._dag(MAIN, {}, 1)

    def _template(self, name: str, inputs: Mapping[str, str], depth: int) -> tuple[str, Outputs]:
        self.deepest = max(self.deepest, depth)
        index = tuple(int(part) for part in inputs.get("index", "").split(".") if part)
        if name in self.dags:
            assert set(inputs) == ({"index"} if self.dags[name].indexed else set())
            return self._dag(name, inputs, depth + 1), {}
        if name in self.caught:
            assert inputs["status"] in ("Failed", "Error")
            self.recorded.append((self.caught[name], index))
            return "Succeeded", {}
        step = self.steps[name]
        try:
            if step in self.gangs:
                self.ran += [(step, (*index, rank)) for rank in range(int(inputs["size"]))]
                return "Succeeded", {}
            self.ran.append((step, index))
            return "Succeeded", self.act(step, index)
        except StepFailed:
            return "Failed", {}

    def _dag(self, name: str, inputs: Mapping[str, str], depth: int) -> str:
        states: dict[str, str] = {}
        outputs: dict[str, Outputs] = {}
        tasks = self.dags[name].tasks
        for task in tasks:
            # The tasks stand in an order in which each comes after all that it depends on.
            if task.depends and not _holds(task.depends, states):
                states[task.name] = "Omitted"
                continue
            scope = _scope(inputs, states, outputs)
            if task.when and not _equal(_filled(task.when, scope)):
                states[task.name] = "Skipped"
                continue
            if task.count:
                assert not task.when
                ends = [
                    self._template(task.template, _arguments(task.arguments, {**scope, "item": str(item)}), depth)[0]
                    for item in range(int(_filled(task.count, scope)))
                ]
                states[task.name] = "Skipped" if not ends else "Failed" if "Failed" in ends else "Succeeded"
                continue
            states[task.name], outputs[task.name] = self._template(
                task.template, _arguments(task.arguments, scope), depth
            )
        return _phase(tasks, states)


def _phase(tasks: list[Any], states: Mapping[str, str]) -> str:
    """A DAG ends as its leaves do; one that never came about ends as what it waited for."""
    words = {task.name: set(re.findall(r"[A-Za-z0-9-]+(?=[.\s)]|$)", task.depends)) & set(states) for task in tasks}
    leaves = set(states) - set().union(*words.values())
    inherited: dict[str, str] = {}
    for task in tasks:
        above = {inherited[name] for name in words[task.name]}
        own = states[task.name]
        inherited[task.name] = own if own in ("Succeeded", "Failed") else "Failed" if "Failed" in above else "Succeeded"
    return "Failed" if any(inherited[name] == "Failed" for name in leaves) else "Succeeded"


def _scope(inputs: Mapping[str, str], states: Mapping[str, str], outputs: Mapping[str, Outputs]) -> dict[str, str]:
    scope = {f"inputs.parameters.{name}": value for name, value in inputs.items()}
    scope.update({f"tasks.{name}.status": state for name, state in states.items()})
    for name, values in outputs.items():
        scope.update({f"tasks.{name}.outputs.parameters.{key}": value for key, value in values.items()})
    return scope


def _filled(text: str, scope: Mapping[str, str]) -> str:
    return re.sub(r"\{\{([^{}]+)\}\}", lambda match: scope[match[1]], text)


def _arguments(arguments: Mapping[str, str], scope: Mapping[str, str]) -> dict[str, str]:
    return {name: _filled(text, scope) for name, text in arguments.items()}


def _equal(text: str) -> bool:
    match = re.fullmatch(r"'([a-z0-9_]+)' == '([a-z0-9_]+)'", text)
    assert match, text
    return match[1] == match[2]


def _holds(depends: str, states: Mapping[str, str]) -> bool:
    def word(match: re.Match[str]) -> str:
        name, _, state = match[0].partition(".")
        assert not state or state in _STATES
        wanted = (state,) if state else ("Succeeded", "Skipped", "Daemoned")
        return str(states[name] in wanted)

    text = re.sub(r"[A-Za-z][A-Za-z0-9-]*(\.[A-Z][a-z]+)?", word, depends)
    assert re.fullmatch(r"(True|False|[ ()]|&&|\|\|)+", text), depends
    return bool(eval(text.replace("&&", " and ").replace("||", " or ")))
