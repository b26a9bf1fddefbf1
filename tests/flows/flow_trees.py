"""Random legal flows for hypothesis: a tree as in `flow_shapes`, small enough to run in a blink."""

from __future__ import annotations

from flow_reference import Reference
from flow_shapes import Branch, Foreach, Gang, Loop, Node, Seq, Switch, Task, While, whole
from hypothesis import strategies as st

MOST_TASKS = 60


@st.composite
def sequences(draw: st.DrawFn, depth: int, looped: bool, least: int = 1) -> Seq:
    """A sequence of up to three nodes."""
    count = draw(st.integers(least, 3 if depth > 1 else 2))
    return tuple(draw(nodes(depth, looped)) for _ in range(count))


@st.composite
def nodes(draw: st.DrawFn, depth: int, looped: bool) -> Node:
    """One node; ``looped``: a loop is around it, where a foreach over nothing would lose the loop's counter."""
    kinds = ["task", "gang"] if depth <= 0 else ["task", "branch", "foreach", "gang", "switch", "loop", "while"]
    kind = draw(st.sampled_from(kinds))
    if kind == "branch":
        arms = draw(st.integers(2, 3))
        return Branch(tuple(draw(sequences(depth - 1, looped)) for _ in range(arms)))
    if kind == "foreach":
        widths = draw(st.lists(st.integers(1 if looped else 0, 3), min_size=1, max_size=3))
        return Foreach(draw(sequences(depth - 1, looped)), tuple(widths))
    if kind == "gang":
        return Gang(tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))))
    if kind == "switch":
        cases = [draw(sequences(depth - 1, looped, 0)) for _ in range(draw(st.integers(2, 3)))]
        # Two cases may lead to one step, but a switch needs more than one place to go to.
        if not any(cases):
            cases[0] = (Task(),)
        return Switch(tuple(cases), draw(st.integers(0, 2)))
    if kind == "loop":
        rounds = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
        return Loop(draw(sequences(depth - 1, True, 0)), tuple(rounds))
    if kind == "while":
        return While(draw(sequences(depth - 1, True)), tuple(draw(st.lists(st.integers(0, 2), min_size=1, max_size=2))))
    return Task()


@st.composite
def flows(draw: st.DrawFn, depth: int = 3) -> Seq:
    """A whole flow, of no more than `MOST_TASKS` tasks."""
    seq = whole(*draw(sequences(draw(st.integers(1, depth)), False)))
    while len(Reference(seq).visits) > MOST_TASKS and len(seq) > 2:
        seq = (seq[0], *seq[1:-2], seq[-1])
    return seq
