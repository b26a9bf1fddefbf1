"""Rules about ``self.next``."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from ...dsl.flow import FlowSpec, class_artifacts
from ...dsl.parameters import Parameter
from ..diagnostics import Diagnostic, did_you_mean, listed
from ..graph import KEYWORDS, UNKNOWN, Node, Target, Transition
from .flow import Flow


def transitions(flow: Flow) -> Iterator[tuple[Node, Transition]]:
    """Every call of ``self.next`` in a step that has something after it."""
    for node in flow.graph.nodes.values():
        if node.name != flow.graph.last:
            for transition in node.transitions:
                yield node, transition


def next_is_there(flow: Flow) -> Iterator[Diagnostic]:
    """FC104: every step but the last says what follows."""
    loose = [node for node in flow.graph.nodes.values() if not node.transitions and node.name != flow.graph.last]
    if not flow.graph.lasts and len(loose) == 1:
        return  # it is the end that is not called so
    names = list(flow.graph.nodes)
    beyond = flow.graph.beyond_last
    for node in loose:
        if node.name in beyond or not node.source.method.self_name:
            continue  # it is told that the last step leads there, or that the step lacks self
        after = names[node.position + 1 :]
        message = f"step {node.name!r} does not say what follows"
        tip = f"end it with self.next(self.{after[0] if after else flow.graph.last or 'end'})"
        yield Diagnostic("FC104", message, node.span, tip)


def next_is_called_once(flow: Flow) -> Iterator[Diagnostic]:
    """FC105, FC106, FC107: one call, not under a condition, the last statement."""
    choose = 'to choose at run time, write self.next({"yes": self.a, "no": self.b}, condition="answer")'
    for node in flow.graph.nodes.values():
        if node.name == flow.graph.last or not node.transitions:
            continue
        first = node.transitions[0]
        if len(node.transitions) > 1 and any(item.use.place != "inside" for item in node.transitions):
            tip = "call it once, as the last statement; self.next(self.a, self.b) starts several steps"
            message = f"step {node.name!r} calls self.next {_times(len(node.transitions))}"
            yield Diagnostic("FC105", message, node.transitions[1].span, tip)
        elif first.use.place == "inside":
            block = first.use.block
            if block in ("expression", "return"):
                message, tip = (
                    "self.next is not a statement of its own",
                    "write self.next(...) as the last line by itself",
                )
            else:
                message = f"self.next stands inside `{block}`, so what follows is not clear"
                tip = choose if block in ("if", "match", "for", "while", "and/or") else "make it the last statement"
            yield Diagnostic("FC106", message, first.span, tip)
        elif first.use.place == "early":
            message = f"self.next is not the last statement of step {node.name!r}"
            yield Diagnostic("FC107", message, first.span, "move it to the end of the step")


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"


def targets_are_steps(flow: Flow) -> Iterator[Diagnostic]:
    """FC108, FC109, FC140, FC144: a call names steps of this flow, as ``self.<step>``, each once."""
    for _, transition in transitions(flow):
        if transition.starred:
            message = "flowc cannot see which steps these are"
            yield Diagnostic("FC108", message, transition.starred, "write the steps out: self.next(self.a, self.b)")
        elif not transition.targets and not transition.is_switch:
            yield Diagnostic("FC144", "self.next names no step", transition.span, "write self.next(self.<step>)")
        seen: dict[str, Target] = {}
        for target in transition.targets:
            if target.name is None:
                yield _not_a_step(flow, target)
            elif target.name not in flow.graph.nodes:
                yield _unknown_step(flow, target, target.name)
            elif target.name in seen and not transition.is_switch:
                message = f"self.next names step {target.name!r} twice"
                yield Diagnostic("FC140", message, target.span, "to run a step several times, use foreach")
            else:
                seen[target.name] = target


def _not_a_step(flow: Flow, target: Target) -> Diagnostic:
    text = ast.unparse(target.node)
    name = target.node.value if isinstance(target.node, ast.Constant) else text
    tip = "write each step as self.<step>"
    if isinstance(name, str) and name.rpartition(".")[2] in flow.graph.nodes:
        tip = f"write self.{name.rpartition('.')[2]}"
    elif isinstance(target.node, ast.Call):
        tip = "name the step without calling it: self.<step>"
    elif isinstance(target.node, ast.Dict):
        tip = "a switch takes its cases alone: self.next({...}, condition=...)"
    return Diagnostic("FC108", f"{text if len(text) < 60 else 'this'} is not a step", target.span, tip)


def _unknown_step(flow: Flow, target: Target, name: str) -> Diagnostic:
    cls = flow.source.cls
    value = inspect.getattr_static(cls, name, None)
    if callable(value) and not hasattr(FlowSpec, name):
        return Diagnostic("FC109", f"{name!r} is a method but not a step", target.span, f"write @step above def {name}")
    tip = did_you_mean(name, flow.graph.nodes) or f"the flow has {listed(list(flow.graph.nodes)[:12])}"
    return Diagnostic("FC109", f"there is no step {name!r}", target.span, tip)


def keywords_are_known(flow: Flow) -> Iterator[Diagnostic]:
    """FC110: ``foreach``, ``num_parallel`` and ``condition`` are all there are."""
    for _, transition in transitions(flow):
        for name, (_, span) in transition.keywords.items():
            if name not in KEYWORDS:
                tip = did_you_mean(name, KEYWORDS) or f"it has {listed(KEYWORDS)}"
                yield Diagnostic("FC110", f"self.next has no option {name!r}", span, tip)


def keywords_go_together(flow: Flow) -> Iterator[Diagnostic]:
    """FC111: one way to leave a step at a time."""
    for _, transition in transitions(flow):
        given = [name for name in KEYWORDS if name in transition.keywords]
        if not given:
            continue
        _, span = transition.keywords[given[-1]]
        if transition.is_switch:
            if given != ["condition"]:
                wrong = next(name for name in given if name != "condition")
                message = f"a switch cannot have {wrong}="
                yield Diagnostic(
                    "FC111", message, transition.keywords[wrong][1], "split in the step that the case leads to"
                )
        elif "condition" in given:
            message = "condition= belongs to a switch, and this names no cases"
            tip = 'write self.next({"yes": self.a, "no": self.b}, condition="answer")'
            yield Diagnostic("FC111", message, transition.keywords["condition"][1], tip)
        elif len(given) > 1:
            message = "foreach and num_parallel cannot be given together"
            yield Diagnostic("FC111", message, span, "let the foreach lead to a step that opens the gang")
        elif len(transition.targets) > 1:
            tip = f"split into the branches first, and use {given[0]}= in each"
            yield Diagnostic("FC111", f"{given[0]}= leads to one step, not to {len(transition.targets)}", span, tip)


def last_step_leads_nowhere(flow: Flow) -> Iterator[Diagnostic]:
    """FC124: the last step has no ``self.next``."""
    if flow.graph.last is None:
        return
    node = flow.graph.nodes[flow.graph.last]
    if node.transition is not None:
        message = f"the last step {node.name!r} cannot lead anywhere"
        yield Diagnostic(
            "FC124", message, node.transition.span, "delete self.next here, or mark another step with @step(end=True)"
        )


# Names of artifacts -------------------------------------------------------------------------------------------------


def settable(flow: Flow) -> set[str]:
    """Every name that some code of the flow sets on ``self``."""
    names = {name for name in dir(flow.source.cls) if not name.startswith("__")}
    names.update(flow.artifacts.stored)
    for items in flow.settings.values():
        names.update(item.values["var"] for item in items if item.label == "catch" and item.values["var"])
    return names


def suggestions(flow: Flow) -> list[str]:
    """The names that somebody may have meant, most likely first."""
    plain = [name for name in class_artifacts(flow.source.cls) if not name.startswith("_")]
    return [*sorted(flow.artifacts.stored), *flow.source.inputs, *plain]


def foreach_names_an_artifact(flow: Flow) -> Iterator[Diagnostic]:
    """FC112, FC113, FC114: ``foreach`` names something that the flow sets and that can be gone through."""
    known: set[str] | None = None
    for _, transition in transitions(flow):
        if "foreach" not in transition.keywords:
            continue
        expression, span = transition.keywords["foreach"]
        value = transition.values["foreach"]
        if not isinstance(value, str) or not value.isidentifier():
            yield _not_a_name("FC112", "foreach", expression, value, span)
            continue
        if known is None:
            known = settable(flow)
        if value not in known:
            if not flow.artifacts.open:
                tip = did_you_mean(value, suggestions(flow)) or f"set self.{value} before, to the list to go through"
                yield Diagnostic("FC113", f"nothing in the flow sets self.{value}", span, tip)
        else:
            problem = _not_iterable(flow, value)
            if problem:
                yield Diagnostic(
                    "FC114", f"foreach cannot go through {value!r}, which is {problem}", span, "name a list"
                )


def _not_a_name(code: str, keyword: str, expression: ast.expr, value: Any, span: Any) -> Diagnostic:
    name = expression.attr if isinstance(expression, ast.Attribute) else None
    tip = f'write {keyword}="{name}"' if name else f'set self.<name> first and write {keyword}="<name>"'
    shown = repr(value) if value is not UNKNOWN else ast.unparse(expression)
    shown = shown if len(shown) < 60 else "this"
    return Diagnostic(code, f"{keyword} takes the name of an artifact as text, not {shown}", span, tip)


def _not_iterable(flow: Flow, name: str) -> str:
    if name in flow.artifacts.stored:
        return ""
    item = flow.source.inputs.get(name)
    if isinstance(item, Parameter):
        kind = next((p.type for p in flow.parameters if p.name == item.name), "json")
        words = {"int": "a whole number", "float": "a number", "bool": "True or False"}
        return f"a parameter that holds {words[kind]}" if kind in words else ""
    plain = class_artifacts(flow.source.cls)
    if name in plain and (plain[name] is None or isinstance(plain[name], (bool, int, float))):
        return repr(plain[name])
    return ""
