"""The round in which a step is due, worked out from records, is the one that a scheduler that follows the run gives."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from flow_shapes import SHAPES
from flow_text import FlowText
from flowc.compiler import compile_flow
from flowc.runtime.address import Address
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.frontier import Family, Frontier
from flowc.runtime.outline import Outline
from flowc.runtime.record import DONE, Next, Record, Records
from flowc.runtime.rounds import due_round

LOOPS = [name for name in SHAPES if "loop" in name]


def onward(outline: Outline, address: Address, draw: random.Random) -> Next:
    """Where a task leads, by lot; every loop comes to its end sooner or later."""
    step = outline[address.step]
    to, width, case = step.targets, None, None
    if step.leave_kind == "switch":
        out = [name for name in to if name not in step.repeats] or list(to)
        back = list(step.repeats) if address.round == 1 else list(to)
        name = draw.choice(out if address.round > 3 or not back else back)
        to, case = (name,), "x"
    elif step.opens_fan_out:
        width = draw.choice([0, 1, 2, 3]) if step.leave_kind == "foreach" else 2
    round = outline.child_round(step.name, address.round, to[0]) if to else 1
    return Next(step.leave_kind, to, width, round, None, case)


@pytest.mark.parametrize("shape", LOOPS)
@pytest.mark.parametrize("seed", range(2))
def test_due_rounds(shape: str, seed: int, tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(FlowText(SHAPES[shape]).text())
    plan = compile_flow(str(tmp_path / "flow.py")).plan
    assert plan is not None
    outline = Outline.from_plan(plan.to_json())
    store: Any = FileDatastore(str(tmp_path / "store"))
    records = Records(store, plan.name, "1")
    draw = random.Random(f"{shape}{seed}")
    frontier = Frontier(outline)
    ready: list[Family] = [frontier.begin()]
    seen = 0
    while ready:
        family = ready.pop(draw.randrange(len(ready)))
        for address in family.addresses():
            assert due_round(outline, records, address.step, address.index) == address.round, address
            seen += address.round > 1
        for address in family.addresses():
            next = onward(outline, address, draw)
            records.commit(Record(address, 0, DONE, 1.0, 2.0, {}, next))
            ready += frontier.done(address, next)
    assert frontier.ended and (seen or shape == "loop_while")
