"""Rules about the structure as a whole: reachability, cycles, splits and joins."""

from __future__ import annotations

from collections.abc import Iterator

from ..diagnostics import Diagnostic, listed
from ..graph import FlowGraph
from ..plan import Branches, Gang, Switch
from ..structure import Misfit, endless_cycle, no_way_out
from .flow import Flow


def every_step_is_reached(flow: Flow) -> Iterator[Diagnostic]:
    """FC125: every step is led to from the first one."""
    graph, structure = flow.graph, flow.structure
    # A step whose own way on is not clear may be the one that leads there.
    if any(_unclear(graph, name) for name in graph.nodes) or graph.first is None:
        return
    endless = bool(structure.cycles) and bool(no_way_out(graph, structure))
    unreached = [name for name in structure.unreached if not (endless and name == graph.last)]
    told = {name for start in graph.beyond_last if start in graph.nodes for name in _onwards(graph, start)}
    heads = [name for name in unreached if not graph.parents[name]]
    for name in [*heads, *unreached]:
        if name in told:
            continue
        told.update(_onwards(graph, name))
        node = graph.nodes[name]
        yield Diagnostic("FC125", f"no step leads to {name!r}", node.span, f"name it in a self.next, as self.{name}")


def _unclear(graph: FlowGraph, name: str) -> bool:
    node = graph.nodes[name]
    if node.transition is None:
        return node.name != graph.last
    return (
        any(
            transition.starred or not transition.targets or any(t.name not in graph.nodes for t in transition.targets)
            for transition in node.transitions
        )
        and node.name != graph.last
    )


def _onwards(graph: FlowGraph, name: str) -> set[str]:
    seen, todo = {name}, [name]
    while todo:
        for target in graph.nodes[todo.pop()].edges:
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def cycles_can_be_left(flow: Flow) -> Iterator[Diagnostic]:
    """FC126, FC127: a way back needs a switch, and the switch a way out."""
    graph, structure = flow.graph, flow.structure
    if not structure.cycles:
        return
    stuck = set(no_way_out(graph, structure))
    for members in structure.cycles:
        cycle = endless_cycle(graph, members)
        if cycle:
            shown = " -> ".join([*cycle, cycle[0]])
            node = graph.nodes[cycle[-1]]
            if any(graph.nodes[name].leave is None for name in cycle):
                continue
            tip = "choose with a switch whether to go back: self.next({...}, condition=...)"
            yield Diagnostic("FC126", f"the steps go round for ever: {shown}", node.next_span, tip)
        elif stuck.issuperset(members) and not any(graph.nodes[name].broken for name in _onwards(graph, members[0])):
            chooser = next(name for name in members if isinstance(graph.nodes[name].leave, Switch))
            message = f"no case leads out of the loop of {listed(members)}"
            yield Diagnostic("FC127", message, graph.nodes[chooser].next_span, "add a case that leads on to the end")


def splits_and_joins_balance(flow: Flow) -> Iterator[Diagnostic]:
    """FC128 to FC134, FC145, FC146: every split is joined by one join, the inner before the outer."""
    for misfit in flow.structure.misfits:
        item = _WORDS[misfit.kind](flow.graph, misfit)
        if item is not None:
            yield item


def _split(graph: FlowGraph, name: str) -> str:
    leave = graph.nodes[name].leave
    if isinstance(leave, Branches):
        return f"split {name!r}"
    return f"gang of {name!r}" if isinstance(leave, Gang) else f"foreach of {name!r}"


def _meet(graph: FlowGraph, misfit: Misfit) -> Diagnostic:
    one, other = misfit.others
    name = misfit.step
    if misfit.split:
        where = f"from {one!r} and {other!r}, which run at once in {_split(graph, misfit.split)}"
    else:
        where = f"from {one!r} and {other!r}, which do not lie in the same splits"
    tip = f"make it a join, def {name}(self, inputs)"
    if name == graph.last or not misfit.split:
        tip = "join the branches in a step before it, def join(self, inputs)"
    return Diagnostic("FC129", f"step {name!r} is no join but is reached {where}", graph.nodes[name].span, tip)


def _nothing(graph: FlowGraph, misfit: Misfit) -> Diagnostic | None:
    if misfit.step == graph.last:
        return None
    message = f"step {misfit.step!r} is a join, but no split is open where {listed(misfit.others)} leads to it"
    tip = f"write def {misfit.step}(self), or split before"
    return Diagnostic("FC130", message, graph.nodes[misfit.step].span, tip)


def _two_splits(graph: FlowGraph, misfit: Misfit) -> Diagnostic:
    splits = misfit.split.split()
    shown = (
        listed([_split(graph, name) for name in splits]) if len(splits) > 1 else f"more than {_split(graph, splits[0])}"
    )
    message = f"step {misfit.step!r} joins {shown}: {listed(misfit.others)} lead to it"
    return Diagnostic(
        "FC131", message, graph.nodes[misfit.step].span, "give each split a join of its own, the inner first"
    )


def _missing(graph: FlowGraph, misfit: Misfit) -> Diagnostic:
    branches = listed([repr(name) for name in misfit.others])
    message = f"step {misfit.step!r} does not join all of {_split(graph, misfit.split)}: {branches} goes elsewhere"
    return Diagnostic(
        "FC132", message, graph.nodes[misfit.step].span, f"let {branches} lead to {misfit.step!r} as well"
    )


def _straight(graph: FlowGraph, misfit: Misfit) -> Diagnostic:
    message = f"{_split(graph, misfit.split)} leads straight to its join {misfit.others[0]!r}"
    return Diagnostic("FC133", message, graph.nodes[misfit.step].next_span, "put a step between the two")


def _never(graph: FlowGraph, misfit: Misfit) -> Diagnostic | None:
    if isinstance(graph.nodes[misfit.split].leave, Gang):
        return None  # FC118 says it of the gang
    message = f"{_split(graph, misfit.split)} is never joined before the flow ends"
    tip = "let its branches lead to one join step, def join(self, inputs)"
    return Diagnostic("FC128", message, graph.nodes[misfit.split].next_span, tip)


def _back(graph: FlowGraph, misfit: Misfit) -> Diagnostic:
    target = misfit.others[0]
    message = f"step {misfit.step!r} goes back to {target!r}, which does not lie in the same splits"
    tip = "go back only to steps between the same split and join"
    return Diagnostic("FC134", message, graph.nodes[misfit.step].next_span, tip)


def _two_joins(graph: FlowGraph, misfit: Misfit) -> Diagnostic:
    message = f"{_split(graph, misfit.split)} is joined by {misfit.others[0]!r} and again by {misfit.step!r}"
    return Diagnostic("FC145", message, graph.nodes[misfit.step].span, "let all its branches lead to one join")


def _into_first(graph: FlowGraph, misfit: Misfit) -> Diagnostic:
    message = f"step {misfit.step!r} goes back to the first step"
    return Diagnostic("FC146", message, graph.nodes[misfit.step].next_span, "go back to a step after the first one")


_WORDS = {
    "meet": _meet,
    "nothing to join": _nothing,
    "two splits": _two_splits,
    "missing branch": _missing,
    "straight": _straight,
    "never joined": _never,
    "back": _back,
    "two joins": _two_joins,
    "into first": _into_first,
}
