"""Plans of the shapes that the runtime has to understand, written by hand."""

from __future__ import annotations

from typing import Any

from flowc.compiler.plan import Branches, Catch, End, Foreach, Gang, Next, Plan, Step, Switch

__all__ = [
    "BRANCHES",
    "GANG_IN_FOREACH",
    "LINE",
    "LOOP",
    "LOOP_IN_FOREACH",
    "NESTED",
    "Branches",
    "Catch",
    "End",
    "Foreach",
    "Gang",
    "Next",
    "Plan",
    "Step",
    "Switch",
    "plan",
    "task",
]


def task(name: str, leave: Any, *inputs: Any, **more: Any) -> Step:
    """A step; each input is a name or a tuple of alternatives."""
    groups = tuple((group,) if isinstance(group, str) else tuple(group) for group in inputs)
    return Step(name, more.pop("kind", "task"), leave, groups, **more)


def plan(*steps: Step, name: str = "F", **more: Any) -> Plan:
    """A Plan of these steps, in this order."""
    return Plan(name, steps[0].name, steps[-1].name, steps, **more)


LINE = plan(
    task("start", Next("middle")),
    task("middle", Next("end"), "start"),
    task("end", End(), "middle"),
)

BRANCHES = plan(
    task("start", Branches(("a", "b"))),
    task("a", Switch("way", (("x", "x"), ("y", "y"))), "start"),
    task("x", Next("join"), "a"),
    task("y", Next("join"), "a"),
    task("b", Next("join"), "start"),
    task("join", Next("end"), ("x", "y"), "b", joins="start"),
    task("end", End(), "join"),
)

NESTED = plan(
    task("start", Foreach("outer", "things")),
    task("outer", Foreach("inner", "parts"), "start", scope=("start",)),
    task("inner", Next("gather"), "outer", scope=("start", "outer")),
    task("gather", Next("join"), "inner", joins="outer", scope=("start",)),
    task("join", Next("end"), "gather", joins="start"),
    task("end", End(), "join"),
)

GANG_IN_FOREACH = plan(
    task("start", Foreach("open", "things")),
    task("open", Gang("train"), "start", scope=("start",)),
    task("train", Next("gather"), "open", kind="gang", scope=("start", "open")),
    task("gather", Next("join"), "train", joins="open", scope=("start",)),
    task("join", Next("end"), "gather", joins="start"),
    task("end", End(), "join"),
)

LOOP = plan(
    task("start", Next("try_")),
    task("try_", Next("judge"), ("start", "judge"), loop="try_"),
    task("judge", Switch("good", (("yes", "end"), ("no", "try_"))), "try_", loop="try_", repeats=("try_",)),
    task("end", End(), "judge"),
)

LOOP_IN_FOREACH = plan(
    task("start", Foreach("work", "things")),
    task(
        "work",
        Switch("more", (("True", "work"), ("False", "leave"))),
        ("start", "work"),
        scope=("start",),
        loop="work",
        repeats=("work",),
    ),
    task("leave", Next("join"), "work", scope=("start",)),
    task("join", Next("end"), "leave", joins="start"),
    task("end", End(), "join"),
)
