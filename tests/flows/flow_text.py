"""Writes the source of a flow that a tree describes, with a behaviour put into some of its steps.

Every step leaves facts behind: artifacts about where it stands and what it saw, two lines in its logs, and two lines in
a trace file that all tasks of a run append to.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field

from flow_shapes import Branch, Foreach, Gang, Loop, Node, Seq, Switch, Task, While, first_step

PREAMBLE = """
import hashlib
import json
import os
import sys
import time

from {dsl} import FlowSpec, JSONType, Parameter, catch, current, environment, parallel, retry, step, timeout


def trace(self, event, **more):
    line = json.dumps({{"event": event, "here": getattr(self, "here", None), "retry": current.retry_count, **more}})
    handle = os.open(os.path.join(self.lab, "trace"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, line.encode() + b"\\n")
    os.close(handle)


def mended(self):
    return os.path.exists(os.path.join(self.lab, "mended"))


def begin(self, step, inputs=None):
    if inputs is not None:
        came = tuple(i.here for i in inputs)
        self.heritage = inputs[0].heritage if len(inputs) else "lost"
        self.counters = dict(inputs[0].counters) if len(inputs) else {{}}
    elif step == "start":
        came = ()
        self.heritage = {{"set": "in start", "list": [1, 2, 3]}}
        self.counters = {{}}
    else:
        came = (self.here,)
    self.frames = tuple(self.foreach_stack())
    self.stack = tuple(frame[0] for frame in self.frames)
    place = ".".join(map(str, self.stack)) or "_"
    self.came = came
    self.here = "%s/%s#%s" % (step, place, hashlib.sha1(repr(came).encode()).hexdigest()[:8])
    self.item = self.input
    self.at = self.index
    self.attempt = current.retry_count
    self.facts = (current.flow_name, str(current.run_id), current.step_name, current.is_running_flow)
    self.gang = (current.parallel.node_index, current.parallel.num_nodes) if current.is_parallel else None
    print("out", self.here, current.retry_count)
    print("err", self.here, current.retry_count, file=sys.stderr)
    trace(self, "begin", pid=os.getpid())


def pick(values, index):
    return values[sum(index) % len(values)]
"""


@dataclass
class StepText:
    """One step while its source is put together."""

    name: str
    leave: list[str] = field(default_factory=list)
    join: bool = False
    gang: bool = False
    decorators: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    """Decorators between ``@step`` and the function."""
    body: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The method's source."""
        lines = [*self.decorators, *(["@parallel"] if self.gang else []), "@step", *self.below]
        lines += [f"def {self.name}(self, inputs):" if self.join else f"def {self.name}(self):"]
        body = [f"begin(self, {self.name!r}{', inputs' if self.join else ''})", *self.body, "trace(self, 'end')"]
        return "\n".join([*lines, *(textwrap.indent(line, "    ") for line in [*body, *self.leave])])


class FlowText:
    """The source of a flow: `steps` may be changed by a behaviour before `text` is asked for."""

    def __init__(self, seq: Seq, name: str = "ShapeFlow", dsl: str = "flowc") -> None:
        self.name = name
        self.dsl = dsl
        self.steps: dict[str, StepText] = {}
        self.attributes: list[str] = ['lab = Parameter("lab", default="")']
        self._emit(seq, "")

    def put(
        self, step: str, decorators: Iterable[str] = (), body: Iterable[str] = (), below: Iterable[str] = ()
    ) -> FlowText:
        """Add decorators and statements (run after the step's facts are noted) to one step."""
        self.steps[step].decorators.extend(decorators)
        self.steps[step].below.extend(below)
        self.steps[step].body.extend(body)
        return self

    def gangs(self) -> list[str]:
        """Names of the gang steps."""
        return [step.name for step in self.steps.values() if step.gang]

    def catchable(self) -> list[str]:
        """Names of the steps that may carry ``@catch``: one way on, and no gang."""
        return [
            step.name
            for step in self.steps.values()
            if not step.gang
            and not any("foreach=" in s or "num_parallel=" in s or "condition=" in s for s in step.leave)
        ]

    def text(self) -> str:
        """The whole file."""
        parts = [textwrap.indent("\n".join(self.attributes), "    ")]
        parts += [textwrap.indent(step.text(), "    ") for step in self.steps.values()]
        flow = f"class {self.name}(FlowSpec):\n" + "\n\n".join(parts)
        main = f'if __name__ == "__main__":\n    {self.name}()\n'
        return PREAMBLE.format(dsl=self.dsl).lstrip() + "\n\n" + flow + "\n\n\n" + main

    def _step(self, name: str, *leave: str, join: bool = False, gang: bool = False) -> None:
        assert name not in self.steps, name
        self.steps[name] = StepText(name, list(leave), join, gang)

    def _emit(self, seq: Seq, after: str) -> None:
        for at, node in enumerate(seq):
            self._node(node, first_step(seq[at + 1 :], after))

    def _node(self, node: Node, after: str) -> None:
        to = f"self.next(self.{after})" if after else ""
        if isinstance(node, Task):
            self._step(node.name, *([to] if to else []))
        elif isinstance(node, Branch):
            self._step(node.name, f"self.next({', '.join(f'self.{first_step(arm, node.join)}' for arm in node.arms)})")
            for arm in node.arms:
                self._emit(arm, node.join)
            self._step(node.join, to, join=True)
        elif isinstance(node, Foreach):
            self._step(
                node.name,
                f"self.todo = [({node.name!r}, self.stack, i) for i in range(pick({node.widths!r}, self.stack))]",
                f"self.next(self.{first_step(node.body, node.join)}, foreach='todo')",
            )
            self._emit(node.body, node.join)
            self._step(node.join, to, join=True)
        elif isinstance(node, Gang):
            literal = len(node.sizes) == 1
            size = [] if literal else [f"self.size = pick({node.sizes!r}, self.stack)"]
            ranks = str(node.sizes[0]) if literal else "self.size"
            self._step(node.name, *size, f"self.next(self.{node.gang}, num_parallel={ranks})")
            self._step(node.gang, f"self.next(self.{node.join})", gang=True)
            self._step(node.join, to, join=True)
        elif isinstance(node, Switch):
            cases = ", ".join(f"'c{i}': self.{first_step(case, after)}" for i, case in enumerate(node.cases))
            self._step(
                node.name,
                f"n = sum(self.stack) + sum(self.counters.values()) + {node.shift}",
                f"self.case = 'c%d' % (n % {len(node.cases)})",
                f"self.next({{{cases}}}, condition='case')",
            )
            for case in node.cases:
                self._emit(case, after)
        elif isinstance(node, Loop):
            self._emit(node.body, node.name)
            again = first_step(node.body, node.name)
            self._step(
                node.name,
                f"n = self.counters.get({node.name!r}, 0) + 1",
                f"more = n < pick({node.rounds!r}, self.stack)",
                f"self.counters = {{**self.counters, {node.name!r}: n}}",
                f"if not more:\n    self.counters = {{k: v for k, v in self.counters.items() if k != {node.name!r}}}",
                "self.case = 'again' if more else 'done'",
                f"self.next({{'again': self.{again}, 'done': self.{after}}}, condition='case')",
            )
        elif isinstance(node, While):
            self._step(
                node.name,
                f"n = self.counters.get({node.name!r}, 0)",
                f"go = n < pick({node.rounds!r}, self.stack)",
                f"self.counters = {{**self.counters, {node.name!r}: n + 1}}",
                f"if not go:\n    self.counters = {{k: v for k, v in self.counters.items() if k != {node.name!r}}}",
                "self.case = 'go' if go else 'done'",
                f"self.next({{'go': self.{first_step(node.body, node.name)}, 'done': self.{after}}}, condition='case')",
            )
            self._emit(node.body, node.name)
