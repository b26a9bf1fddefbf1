"""What a flow must do, worked out by walking its tree; knows nothing of the compiler or the runtime."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from flow_shapes import Branch, Foreach, Gang, Loop, Node, Seq, Switch, Task, While, chosen, pick

HERITAGE = {"set": "in start", "list": [1, 2, 3]}
LOST = "lost"


@dataclass
class Visit:
    """One task that must run, and what it must see."""

    step: str
    index: tuple[int, ...]
    round: int
    here: str
    came: tuple[str, ...]
    parents: tuple[str, ...]
    """Addresses of the tasks before it, in the order in which a join sees them."""
    frames: tuple[tuple[int, int, Any], ...]
    """(index, width, item) of every foreach and gang around it."""
    heritage: Any
    gang: tuple[int, int] | None = None
    """Rank and size."""

    @property
    def address(self) -> str:
        folder = self.step if self.round == 1 else f"{self.step}@{self.round}"
        return folder + ("/" + ".".join(map(str, self.index)) if self.index else "")


@dataclass
class State:
    """What one task hands to the next."""

    visit: Visit | None = None
    round: int = 1
    counters: dict[str, int] = field(default_factory=dict)


def fingerprint(step: str, index: tuple[int, ...], came: tuple[str, ...]) -> str:
    """A word for a task and everything that led to it."""
    place = ".".join(map(str, index)) or "_"
    return f"{step}/{place}#{hashlib.sha1(repr(came).encode()).hexdigest()[:8]}"


class Reference:
    """Every visit of a flow, by address, in an order in which they may happen."""

    def __init__(self, seq: Seq) -> None:
        self.visits: dict[str, Visit] = {}
        self.loops = 0
        self._run(seq, State(), ())

    def _visit(
        self, step: str, before: list[State], frames: tuple[Any, ...], *, join: bool = False, gang: Any = None
    ) -> State:
        parents = [state.visit for state in before if state.visit is not None]
        came = tuple(parent.here for parent in parents)
        index = tuple(frame[0] for frame in frames)
        # A task inside a loop goes on in the round of what led to it, a join in the highest; outside, there are none.
        round_ = max((state.round for state in before), default=1) if self.loops else 1
        heritage = (parents[0].heritage if parents else LOST) if join or step != "start" else HERITAGE
        visit = Visit(
            step,
            index,
            round_,
            fingerprint(step, index, came),
            came,
            tuple(p.address for p in parents),
            frames,
            heritage,
            gang,
        )
        assert visit.address not in self.visits, f"the reference visits {visit.address} twice"
        self.visits[visit.address] = visit
        return State(visit, round_, dict(before[0].counters) if before else {})

    def _run(self, seq: Seq, state: State, frames: tuple[Any, ...]) -> State:
        for node in seq:
            state = self._node(node, state, frames)
        return state

    def _node(self, node: Node, state: State, frames: tuple[Any, ...]) -> State:
        index = tuple(frame[0] for frame in frames)
        if isinstance(node, Task):
            return self._visit(node.name, [state], frames)
        if isinstance(node, Branch):
            opened = self._visit(node.name, [state], frames)
            ends = [self._run(arm, opened, frames) for arm in node.arms]
            return self._visit(node.join, ends, frames, join=True)
        if isinstance(node, Foreach):
            opened = self._visit(node.name, [state], frames)
            width = pick(node.widths, index)
            ends = []
            for i in range(width):
                inner = (*frames, (i, width, (node.name, index, i)))
                ends.append(self._run(node.body, opened, inner))
            return self._visit(node.join, ends, frames, join=True)
        if isinstance(node, Gang):
            opened = self._visit(node.name, [state], frames)
            size = pick(node.sizes, index)
            ends = [self._visit(node.gang, [opened], (*frames, (i, size, i)), gang=(i, size)) for i in range(size)]
            return self._visit(node.join, ends, frames, join=True)
        if isinstance(node, Switch):
            opened = self._visit(node.name, [state], frames)
            return self._run(node.cases[chosen(node, index, opened.counters)], opened, frames)
        return self._loop(node, state, frames)

    def _loop(self, node: Loop | While, state: State, frames: tuple[Any, ...]) -> State:
        rounds = pick(node.rounds, tuple(frame[0] for frame in frames))
        outermost = self.loops == 0
        self.loops += 1
        state = State(state.visit, 1 if outermost else state.round, dict(state.counters))
        for n in range(1, rounds + 1):
            if isinstance(node, While):
                state = self._visit(node.name, [state], frames)
                state.counters[node.name] = n
                state = self._run(node.body, state, frames)
            else:
                state = self._run(node.body, state, frames)
                state = self._visit(node.name, [state], frames)
                state.counters[node.name] = n
            if n < rounds or isinstance(node, While):
                state.round += 1
        if isinstance(node, While):
            state = self._visit(node.name, [state], frames)
        state.counters.pop(node.name, None)
        self.loops -= 1
        if outermost:
            state.round = 1
        return state
