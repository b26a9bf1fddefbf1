"""The structure of a flow: order, cycles, and which splits lie around each step.

Every fan-out opens a frame and a join closes it. Frames are handed along the edges in topological order, each one
object, so that comparing the surroundings of two steps takes no time and the whole takes time that grows linearly with
the flow. What does not fit is kept as a `Misfit`; the checks put it into words. Where something upstream is wrong
already, the frame is unknown and nothing further is said: one cause, one error.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Union

from .graph import FlowGraph, Node
from .plan import Branches, Foreach, Gang, Next, Switch


@dataclass(eq=False)
class Frame:
    """One fan-out around a step: the step that opened it, and the first step of the branch."""

    parent: Frame | None
    opener: str
    branch: str
    indexed: bool

    def __iter__(self) -> Iterator[Frame]:
        """From the innermost frame outwards."""
        frame: Frame | None = self
        while frame is not None:
            yield frame
            frame = frame.parent


class _Lost:
    """The surroundings of a step cannot be told, because something before it is wrong."""


LOST = _Lost()
Around = Union[Frame, None, _Lost]
"""The innermost frame around a step; None where there is none."""


@dataclass(eq=False)
class Misfit:
    """A place where splits and joins do not fit: what, the step, and the other steps that play a part."""

    kind: str
    step: str
    others: tuple[str, ...] = ()
    split: str = ""


@dataclass(eq=False)
class Structure:
    """What is known of a graph beyond its edges.

    Attributes
    ----------
    order : tuple of str
        All steps that the first one leads to, parents first, back edges aside.
    back_edges : set of (str, str)
        The edges on which a depth-first walk from the first step comes back to a step it is still in.
    cycles : list of list of str
        Groups of steps that lead back to themselves.
    unreached : tuple of str
        Steps that the first one does not lead to.
    """

    order: tuple[str, ...] = ()
    back_edges: frozenset[tuple[str, str]] = frozenset()
    cycles: list[list[str]] = field(default_factory=list)
    unreached: tuple[str, ...] = ()
    around: dict[str, Around] = field(default_factory=dict)
    joins: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    loops: dict[str, str] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)
    closed_by: dict[str, str] = field(default_factory=dict)

    def scope(self, step: str) -> tuple[str, ...]:
        """The openers of the foreach splits and gangs around a step, outermost first."""
        frame = self.around.get(step)
        if not isinstance(frame, Frame):
            return ()
        return tuple(reversed([item.opener for item in frame if item.indexed]))


def analyse(graph: FlowGraph) -> Structure:
    """Work the structure out. Without one clear first step there is none."""
    if graph.first is None:
        return Structure()
    out = Structure()
    reached, out.back_edges = _walk(graph, graph.first)
    out.unreached = tuple(name for name in graph.nodes if name not in reached)
    out.order = _order(graph, reached, out.back_edges)
    if out.back_edges:
        _find_cycles(graph, out)
    _hand_along(graph, out)
    return out


def _walk(graph: FlowGraph, first: str) -> tuple[set[str], frozenset[tuple[str, str]]]:
    reached, active = {first}, {first}
    back: set[tuple[str, str]] = set()
    stack = [(first, iter(graph.nodes[first].edges))]
    while stack:
        name, targets = stack[-1]
        for target in targets:
            if target in active:
                back.add((name, target))
            elif target not in reached:
                reached.add(target)
                active.add(target)
                stack.append((target, iter(graph.nodes[target].edges)))
                break
        else:
            active.discard(name)
            stack.pop()
    return reached, frozenset(back)


def _order(graph: FlowGraph, reached: set[str], back: frozenset[tuple[str, str]]) -> tuple[str, ...]:
    """Parents first; where that leaves a choice, as in the source."""
    waiting = {
        name: sum(parent in reached and (parent, name) not in back for parent in graph.parents[name])
        for name in reached
    }
    ready = [graph.nodes[name].position for name, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    names, order = list(graph.nodes), []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        for target in graph.nodes[name].edges:
            if (name, target) not in back:
                waiting[target] -= 1
                if waiting[target] == 0:
                    heapq.heappush(ready, graph.nodes[target].position)
    return tuple(order)


def _find_cycles(graph: FlowGraph, out: Structure) -> None:
    import networkx as nx

    whole = nx.DiGraph((name, target) for name in out.order for target in graph.nodes[name].edges)
    place = {name: position for position, name in enumerate(out.order)}
    for group in nx.strongly_connected_components(whole):
        members = sorted(group, key=place.__getitem__)
        if len(members) > 1 or whole.has_edge(members[0], members[0]):
            out.cycles.append(members)
            out.loops.update(dict.fromkeys(members, members[0]))
    out.cycles.sort(key=lambda members: place[members[0]])


def endless_cycle(graph: FlowGraph, members: list[str]) -> list[str] | None:
    """A cycle among the members that no switch lies on, as the steps in turn; None where every one has a switch."""
    import networkx as nx

    inside = set(members)
    fixed = nx.DiGraph(
        (name, target)
        for name in members
        if not isinstance(graph.nodes[name].leave, Switch)
        for target in graph.nodes[name].edges
        if target in inside
    )
    try:
        edges = nx.find_cycle(fixed, source=[name for name in members if name in fixed])
    except nx.NetworkXNoCycle:
        return None
    return [edge[0] for edge in edges]


def no_way_out(graph: FlowGraph, out: Structure) -> list[str]:
    """The steps that are reached but do not lead to the last one."""
    if graph.last is None:
        return []
    leads = {graph.last}
    todo = [graph.last]
    while todo:
        for parent in graph.parents[todo.pop()]:
            if parent not in leads:
                leads.add(parent)
                todo.append(parent)
    return [name for name in out.order if name not in leads]


# Frames -------------------------------------------------------------------------------------------------------------


def _hand_along(graph: FlowGraph, out: Structure) -> None:
    arriving: dict[str, list[tuple[str, Around]]] = {name: [] for name in out.order}
    again: dict[str, list[str]] = {}
    for parent, target in sorted(out.back_edges, key=lambda edge: graph.nodes[edge[0]].position):
        again.setdefault(target, []).append(parent)
    for name in out.order:
        node = graph.nodes[name]
        here = out.around[name] = _surroundings(graph, node, arriving[name], again.get(name, []), out)
        if node.leave is None:
            frames: Mapping[str, Around] = dict.fromkeys(node.edges, LOST)
        else:
            frames = _opened(graph, node, here)
        for target in node.edges:
            if (name, target) not in out.back_edges:
                arriving[target].append((name, frames[target]))
            elif target in out.around:
                _check_back_edge(node, target, frames[target], out)

    last = out.around.get(graph.last or "")
    if isinstance(last, Frame):
        blamed = {misfit.split for misfit in out.misfits}
        for frame in last:
            if frame.opener not in blamed:
                out.misfits.append(Misfit("never joined", frame.opener, (frame.branch,), frame.opener))


def is_gang(graph: FlowGraph, name: str, around: Around) -> bool:
    """Whether a step is run by all ranks of a gang."""
    return isinstance(around, Frame) and around.branch == name and isinstance(graph.nodes[around.opener].leave, Gang)


def _opened(graph: FlowGraph, node: Node, here: Around) -> dict[str, Around]:
    """What lies around each target of a step."""
    if isinstance(here, _Lost):
        return dict.fromkeys(node.edges, here)
    if is_gang(graph, node.name, here):
        # Nothing but a join may follow a gang; a rule of its own says so.
        fits = isinstance(node.leave, Next) and graph.nodes[node.leave.to].is_join
        return dict.fromkeys(node.edges, here if fits else LOST)
    if isinstance(node.leave, (Branches, Foreach, Gang)):
        indexed = not isinstance(node.leave, Branches)
        return {target: Frame(here, node.name, target, indexed) for target in node.edges}
    return dict.fromkeys(node.edges, here)


def _surroundings(
    graph: FlowGraph, node: Node, arriving: list[tuple[str, Around]], again: list[str], out: Structure
) -> Around:
    if node.name == graph.first:
        out.inputs[node.name] = ()
        out.misfits.extend(Misfit("into first", parent, (node.name,)) for parent in again)
        return LOST if node.is_join else None
    known = [(parent, frame) for parent, frame in arriving if not isinstance(frame, _Lost)]
    if node.is_join:
        return _close(graph, node, arriving, known, out)
    out.inputs[node.name] = (tuple([parent for parent, _ in arriving] + again),)
    if not known:
        return LOST
    frame = known[0][1]
    for parent, other in known[1:]:
        if other is not frame:
            split = _common_split(frame, other)
            out.misfits.append(Misfit("meet", node.name, (known[0][0], parent), split))
            return LOST
    return frame


def _common_split(one: Around, other: Around) -> str:
    """The innermost split whose branches both lie in; empty where one lies outside of all."""
    openers = [frame.opener for frame in one] if isinstance(one, Frame) else []
    others = {frame.opener for frame in other} if isinstance(other, Frame) else set()
    return next((opener for opener in openers if opener in others), "")


def _close(
    graph: FlowGraph,
    node: Node,
    arriving: list[tuple[str, Around]],
    known: Sequence[tuple[str, Frame | None]],
    out: Structure,
) -> Around:
    outside = [parent for parent, frame in known if frame is None]
    frames = [(parent, frame) for parent, frame in known if isinstance(frame, Frame)]
    if outside and not frames:
        out.misfits.append(Misfit("nothing to join", node.name, tuple(outside)))
        # As if it were no join: what follows is not to blame.
        out.inputs[node.name] = (tuple(outside),)
        return None
    if not frames:
        return LOST
    openers = list(dict.fromkeys(frame.opener for _, frame in frames))
    if len(openers) > 1 or outside:
        parents = tuple(parent for parent, _ in known)
        out.misfits.append(Misfit("two splits", node.name, parents, " ".join(openers)))
        return LOST
    opener, outer = openers[0], frames[0][1].parent
    if any(frame.parent is not outer for _, frame in frames):
        out.misfits.append(Misfit("two splits", node.name, tuple(parent for parent, _ in known), opener))
        return LOST
    straight = [parent for parent, _ in frames if parent == opener]
    if straight:
        out.misfits.append(Misfit("straight", opener, (node.name,), opener))
    groups: dict[str, list[str]] = {target: [] for target in graph.nodes[opener].edges}
    for parent, frame in frames:
        groups[frame.branch].append(parent)
    missing = tuple(branch for branch, parents in groups.items() if not parents)
    if missing and len(known) == len(arriving) and not _strays(graph, missing, out):
        out.misfits.append(Misfit("missing branch", node.name, missing, opener))
        return LOST
    if opener in out.closed_by:
        out.misfits.append(Misfit("two joins", node.name, (out.closed_by[opener],), opener))
        return LOST
    out.joins[node.name] = opener
    out.closed_by[opener] = node.name
    out.inputs[node.name] = tuple(tuple(parents) for parents in groups.values() if parents)
    return outer


def _strays(graph: FlowGraph, branches: tuple[str, ...], out: Structure) -> bool:
    """Whether a branch may still come to the join once what is wrong on its way has been mended."""
    seen, todo = set(branches), list(branches)
    while todo:
        name = todo.pop()
        if graph.nodes[name].broken or isinstance(out.around.get(name), _Lost):
            return True
        for target in graph.nodes[name].edges:
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return False


def _check_back_edge(node: Node, target: str, frame: Around, out: Structure) -> None:
    there = out.around[target]
    if isinstance(frame, _Lost) or isinstance(there, _Lost):
        return
    if target in out.joins or frame is not there:
        split = frame.opener if isinstance(frame, Frame) else ""
        out.misfits.append(Misfit("back", node.name, (target,), split))
