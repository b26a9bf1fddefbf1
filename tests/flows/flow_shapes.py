"""Flows as trees: what a test draws, what `flow_text` writes as source and what `flow_reference` walks.

A tree is a sequence of nodes. Every choice (width of a foreach, size of a gang, case of a switch, rounds of a loop) is
a function of where the task stands, known to the flow's text and to the reference alike: one entry of a tuple, taken by
the sum of the indexes around the task.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Union


@dataclass(frozen=True)
class Task:
    """One plain step."""

    name: str = ""


@dataclass(frozen=True)
class Branch:
    """A split into arms and their join."""

    arms: tuple[Seq, ...]
    name: str = ""
    join: str = ""


@dataclass(frozen=True)
class Foreach:
    """A foreach over ``widths[sum(index) % len(widths)]`` items and its join."""

    body: Seq
    widths: tuple[int, ...] = (3,)
    name: str = ""
    join: str = ""


@dataclass(frozen=True)
class Gang:
    """A step that opens a gang, the gang, and its join."""

    sizes: tuple[int, ...] = (3,)
    name: str = ""
    gang: str = ""
    join: str = ""


@dataclass(frozen=True)
class Switch:
    """A choice between cases, each a sequence (which may be empty); all lead to what follows."""

    cases: tuple[Seq, ...]
    shift: int = 0
    name: str = ""


@dataclass(frozen=True)
class Loop:
    """A sequence and a switch after it, back to its first step or on. With none, a step that repeats itself."""

    body: Seq
    rounds: tuple[int, ...] = (3,)
    name: str = ""


@dataclass(frozen=True)
class While:
    """A switch into a sequence that leads back to it, or on."""

    body: Seq
    rounds: tuple[int, ...] = (2,)
    name: str = ""


Node = Union[Task, Branch, Foreach, Gang, Switch, Loop, While]
Seq = tuple[Node, ...]


def pick(values: tuple[int, ...], index: tuple[int, ...]) -> int:
    """The entry that holds for a task at this index."""
    return values[sum(index) % len(values)]


def chosen(node: Switch, index: tuple[int, ...], counters: dict[str, int]) -> int:
    """Which case of a switch is taken by a task at this index, given the counters of the loops around it."""
    return (sum(index) + sum(counters.values()) + node.shift) % len(node.cases)


def whole(*nodes: Node) -> Seq:
    """A flow: the nodes between a ``start`` and an ``end``, with every step named."""
    return named((Task("start"), *nodes, Task("end")))


def named(seq: Seq) -> Seq:
    """The same tree with a name for every step that has none; names tell the kind of the step."""
    return _named(seq, iter(range(1, 10_000)))


def _named(seq: Seq, numbers: Iterator[int]) -> Seq:
    out: list[Node] = []
    for node in seq:
        n = next(numbers)
        if isinstance(node, Task):
            out.append(replace(node, name=node.name or f"t{n}"))
        elif isinstance(node, Branch):
            arms = tuple(_named(arm, numbers) for arm in node.arms)
            name = node.name or f"split{n}"
            out.append(replace(node, arms=arms, name=name, join=node.join or f"join_{name}"))
        elif isinstance(node, Foreach):
            name = node.name or f"each{n}"
            out.append(replace(node, body=_named(node.body, numbers), name=name, join=node.join or f"join_{name}"))
        elif isinstance(node, Gang):
            name = node.name or f"open{n}"
            out.append(replace(node, name=name, gang=node.gang or f"gang_{name}", join=node.join or f"join_{name}"))
        elif isinstance(node, Switch):
            cases = tuple(_named(case, numbers) for case in node.cases)
            out.append(replace(node, cases=cases, name=node.name or f"choose{n}"))
        elif isinstance(node, Loop):
            out.append(replace(node, body=_named(node.body, numbers), name=node.name or f"again{n}"))
        else:
            out.append(replace(node, body=_named(node.body, numbers), name=node.name or f"while{n}"))
    return tuple(out)


def first_step(seq: Seq, after: str) -> str:
    """Name of the step that a sequence begins with; what comes after it where it is empty."""
    if not seq:
        return after
    node = seq[0]
    return first_step(node.body, node.name) if isinstance(node, Loop) else node.name


SHAPES: dict[str, Seq] = {
    "linear": whole(Task("a"), Task("b")),
    "branch": whole(Branch(((Task("left"),), (Task("right"),)), "split", "join")),
    "branch_of_three": whole(
        Branch(((Task("zulu"),), (Task("alpha"), Task("alpha2")), (Task("mike"),)), "split", "join")
    ),
    "nested_branches": whole(
        Branch(
            ((Branch(((Task("aa"),), (Task("ab"),)), "inner", "inner_join"),), (Task("b"), Task("b2"))), "outer", "join"
        )
    ),
    "foreach": whole(Foreach((Task("work"),), (4,), "fan", "join")),
    "foreach_of_two_steps": whole(Foreach((Task("work"), Task("more")), (3,), "fan", "join")),
    "foreach_none": whole(Foreach((Task("work"),), (0,), "fan", "join")),
    "foreach_one": whole(Foreach((Task("work"),), (1,), "fan", "join")),
    "foreach_dynamic": whole(
        Foreach((Foreach((Task("work"),), (2, 0, 3), "inner", "inner_join"),), (4,), "fan", "join")
    ),
    "nested_foreach": whole(
        Foreach((Foreach((Task("work"),), (3,), "inner", "inner_join"), Task("after")), (2,), "fan", "join")
    ),
    "foreach_in_branch_of_foreach": whole(
        Foreach(
            (Branch(((Foreach((Task("work"),), (2,), "inner", "inner_join"),), (Task("side"),)), "split", "together"),),
            (2,),
            "fan",
            "join",
        )
    ),
    "foreach_in_foreach_in_branch": whole(
        Branch(
            (
                (Foreach((Foreach((Task("work"),), (2, 1), "inner", "inner_join"),), (2,), "fan", "fan_join"),),
                (Task("side"),),
            ),
            "split",
            "join",
        )
    ),
    "branch_in_foreach": whole(
        Foreach((Branch(((Task("left"),), (Task("right"),)), "split", "inner_join"),), (3,), "fan", "join")
    ),
    "gang": whole(Gang((4,), "open", "train", "join")),
    "gang_of_one": whole(Gang((1,), "open", "train", "join")),
    "gang_in_foreach": whole(Foreach((Gang((2, 3), "open", "train", "gang_join"),), (2,), "fan", "join")),
    "gang_in_branch": whole(Branch(((Gang((2,), "open", "train", "gang_join"),), (Task("side"),)), "split", "join")),
    "switch": whole(Switch(((Task("left"),), (Task("right"), Task("right2"))), 1, "choose"), Task("merge")),
    "switch_past": whole(Switch(((), (Task("extra"),)), 0, "choose"), Task("merge")),
    "switch_in_branch": whole(
        Branch(((Switch(((Task("x"),), (Task("y"),)), 1, "choose"),), (Task("side"),)), "split", "join")
    ),
    "switch_in_foreach": whole(Foreach((Switch(((Task("x"),), (Task("y"),)), 0, "choose"),), (4,), "fan", "join")),
    "foreach_in_switch": whole(
        Switch(((Foreach((Task("work"),), (3,), "fan", "join"),), (Task("other"),)), 0, "choose"), Task("merge")
    ),
    "loop": whole(Task("before"), Loop((Task("body"),), (3,), "again"), Task("after")),
    "loop_of_one_step": whole(Loop((), (4,), "again")),
    "loop_while": whole(While((Task("body"),), (2,), "check")),
    "loop_of_foreach": whole(Loop((Foreach((Task("work"),), (2,), "fan", "join"),), (3,), "again"), Task("after")),
    "loop_of_branch": whole(
        Loop((Task("head"), Branch(((Task("left"),), (Task("right"),)), "split", "join")), (2,), "again")
    ),
    "loop_of_switch_in_branch": whole(
        Loop(
            (Branch(((Switch(((Task("x"),), (Task("y"),)), 0, "choose"),), (Task("side"),)), "split", "join"),),
            (3,),
            "again",
        )
    ),
    "loop_of_gang": whole(Loop((Gang((2,), "open", "train", "join"),), (2,), "again")),
    "loop_of_loop": whole(Loop((Task("head"), Loop((Task("inner"),), (2,), "inner_again")), (2,), "again")),
    "foreach_of_loops": whole(Foreach((Loop((Task("body"),), (1, 3, 2), "again"), Task("after")), (3,), "fan", "join")),
    "loop_of_foreach_of_loops": whole(
        Loop((Foreach((Loop((Task("body"),), (1, 2), "inner"),), (2,), "fan", "join"),), (2,), "again")
    ),
}
"""The shapes that the matrix crosses with behaviours, by name."""

CORE = (
    "linear",
    "branch",
    "foreach",
    "nested_foreach",
    "foreach_dynamic",
    "gang",
    "gang_in_foreach",
    "switch_in_branch",
    "loop_of_foreach",
    "loop_of_switch_in_branch",
    "foreach_of_loops",
)
"""The shapes that behaviours are crossed with on every target: what else there is, varies one of them."""

QUICK = ("branch", "foreach", "gang", "switch_in_branch", "loop_of_one_step")
"""The shapes that `make test-fast` runs: one for each kind of region."""

FULL = os.environ.get("FLOWC_MATRIX") == "full"
"""Whether behaviours are crossed with all shapes on all targets."""

CROSSED = tuple(SHAPES) if FULL else (*CORE, "nested_branches", "switch", "loop")
"""The shapes that behaviours are crossed with on this machine."""
