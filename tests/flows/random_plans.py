"""Random legal flows, built from nested blocks, together with what a run of them must visit.

The model walks the blocks and never looks at a Plan, so that it can judge what follows the Plan.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from flowc.compiler.plan import Branches, End, Foreach, Gang, Leave, Next, Plan, Step, Switch
from flowc.runtime.address import Address
from flowc.runtime.outline import Outline
from flowc.runtime.record import Next as Onward

KINDS = ("task", "branches", "foreach", "gang", "switch", "loop")


@dataclass
class Block:
    """A part of a flow. ``parts`` are the sequences of blocks inside it."""

    kind: str
    name: str
    parts: list[list[Block]] = field(default_factory=list)


def random_blocks(rng: random.Random, depth: int, counter: list[int]) -> list[Block]:
    """One to three blocks in a row."""
    return [random_block(rng, depth, counter) for _ in range(rng.randint(1, 3 if depth else 2))]


def random_block(rng: random.Random, depth: int, counter: list[int]) -> Block:
    """One block, with blocks inside it down to a depth."""
    counter[0] += 1
    name = f"s{counter[0]}"
    kind = rng.choice(KINDS) if depth else rng.choice(("task", "gang"))
    parts = {"branches": rng.randint(2, 3), "foreach": 1, "switch": 2, "loop": 1}.get(kind, 0)
    return Block(kind, name, [random_blocks(rng, depth - 1, counter) for _ in range(parts)])


# From blocks to a Plan -----------------------------------------------------------------------------------------------


class Lowering:
    """Turns blocks into steps. A composite has a step before it (``name``) and one after it (``name_end``)."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}

    def plan(self, blocks: list[Block]) -> Plan:
        """The whole flow: start, the blocks, end."""
        first, exits = self._row(blocks, (), None, [["start"]])
        self.steps["start"] = Step("start", "task", Next(first))
        self._step("end", End(), tuple(map(tuple, [exits])), (), None)
        self._to(exits, "end")
        order = ["start", *(name for name in self.steps if name not in ("start", "end")), "end"]
        return Plan("Random", "start", "end", tuple(self.steps[name] for name in order))

    def _step(self, name, leave, inputs, scope, loop, joins=None, kind="task"):
        self.steps[name] = Step(name, kind, leave, inputs, joins, scope, loop)

    def _to(self, exits: list[str], target: str) -> None:
        for name in exits:
            step = self.steps[name]
            leave: Leave = Next(target)
            if isinstance(step.leave, Switch):
                leave = Switch(step.leave.on, (*step.leave.cases, ("on", target)))
            self.steps[name] = replace_leave(step, leave)

    def _row(self, blocks, scope, loop, entry) -> tuple[str, list[str]]:
        """Lower blocks in a row; ``entry`` are the inputs of the first. Gives the first step and the last ones."""
        exits: list[str] = []
        for block in blocks:
            if exits:
                self._to(exits, block.name)
                entry = [exits]
            exits = self._block(block, scope, loop, tuple(tuple(group) for group in entry))
        return blocks[0].name, exits

    def _block(self, block: Block, scope, loop, inputs) -> list[str]:
        name, end = block.name, f"{block.name}_end"
        if block.kind == "task":
            self._step(name, End(), inputs, scope, loop)
            return [name]
        if block.kind == "loop":
            loop = loop or name
            self._step(name, Next(block.parts[0][0].name), ((*inputs[0], end),), scope, loop)
            _, exits = self._row(block.parts[0], scope, loop, [[name]])
            self._step(end, Switch("go", (("again", name),)), (tuple(exits),), scope, loop)
            self._to(exits, end)
            step = self.steps[end]
            self.steps[end] = Step(step.name, "task", step.leave, step.inputs, None, scope, loop, (name,))
            return [end]
        inner = (*scope, name) if block.kind in ("foreach", "gang") else scope
        if block.kind == "gang":
            body = f"{name}_body"
            self._step(name, Gang(body), inputs, scope, loop)
            self._step(body, Next(end), ((name,),), inner, loop, kind="gang")
            self._step(end, End(), ((body,),), scope, loop, joins=name)
            return [end]
        firsts = [part[0].name for part in block.parts]
        if block.kind == "branches":
            leave: Leave = Branches(tuple(firsts))
        elif block.kind == "foreach":
            leave = Foreach(firsts[0], "items")
        else:
            leave = Switch("case", tuple((f"case{i}", first) for i, first in enumerate(firsts)))
        self._step(name, leave, inputs, scope, loop)
        ends = [self._row(part, inner, loop, [[name]])[1] for part in block.parts]
        for exits in ends:
            self._to(exits, end)
        if block.kind == "switch":
            self._step(end, End(), (tuple(step for exits in ends for step in exits),), scope, loop)
        else:
            self._step(end, End(), tuple(tuple(exits) for exits in ends), scope, loop, joins=name)
        return [end]


def replace_leave(step: Step, leave: Leave) -> Step:
    """The step, left in another way."""
    return Step(step.name, step.kind, leave, step.inputs, step.joins, step.scope, step.loop, step.repeats)


# The model -----------------------------------------------------------------------------------------------------------


Decide = Callable[[Address, int], int]
"""A number below the second argument for a task: the case of a switch, the width of a fan-out, whether to go round."""


class Model:
    """Walks blocks and collects every address to be visited, with those that must come before each join."""

    def __init__(self, decide: Decide) -> None:
        self.visits: list[Address] = []
        self.before: dict[Address, list[Address]] = {}
        self._decide = decide

    def run(self, blocks: list[Block]) -> None:
        """Walk a whole flow."""
        self._visit("start", (), 1)
        self._row(blocks, (), 1, False)
        self._visit("end", (), 1)

    def _visit(self, name: str, index: tuple[int, ...], round: int) -> Address:
        address = Address(name, index, round)
        self.visits.append(address)
        return address

    def _row(self, blocks: list[Block], index: tuple[int, ...], round: int, looping: bool) -> tuple[int, Address]:
        for block in blocks:
            round, last = self._block(block, index, round, looping)
        return round, last

    def _block(self, block: Block, index: tuple[int, ...], round: int, looping: bool) -> tuple[int, Address]:
        if block.kind == "loop":
            while True:
                self._visit(block.name, index, round)
                round, _ = self._row(block.parts[0], index, round, True)
                last = self._visit(f"{block.name}_end", index, round)
                if not goes_round(self._decide, last):
                    return round if looping else 1, last
                round += 1
        opener = self._visit(block.name, index, round)
        if block.kind == "task":
            return round, opener
        if block.kind == "switch":
            part = block.parts[self._decide(opener, len(block.parts))]
            round, _ = self._row(part, index, round, looping)
            return round, self._visit(f"{block.name}_end", index, round)
        if block.kind == "branches":
            results = [self._row(part, index, round, looping) for part in block.parts]
        elif block.kind == "foreach":
            width = self._decide(opener, 4)
            results = [self._row(block.parts[0], (*index, i), round, looping) for i in range(width)]
        else:
            width = 1 + self._decide(opener, 3)
            results = [(round, self._visit(f"{block.name}_body", (*index, i), round)) for i in range(width)]
        round = max((result[0] for result in results), default=round)
        join = self._visit(f"{block.name}_end", index, round)
        self.before[join] = [result[1] for result in results]
        return round, join


def goes_round(decide: Decide, address: Address) -> bool:
    """Whether a loop is gone through again after this task."""
    return address.round < 5 and decide(address, 2) == 1


def next_of(outline: Outline, address: Address, decide: Decide) -> Onward:
    """What a task of a random flow commits."""
    step = outline[address.step]
    targets, width = step.targets, None
    if step.leave_kind == "switch":
        if "again" in dict(step.cases):
            targets = (dict(step.cases)["again" if goes_round(decide, address) else "on"],)
        else:
            targets = (step.cases[decide(address, len(step.cases))][1],)
    elif step.leave_kind == "foreach":
        width = decide(address, 4)
    elif step.leave_kind == "gang":
        width = 1 + decide(address, 3)
    rounds = {outline.child_round(address.step, address.round, target) for target in targets}
    assert len(rounds) <= 1
    return Onward(step.leave_kind, targets, width, rounds.pop() if rounds else 1)
