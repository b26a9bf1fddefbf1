"""Going through a task a few times in the process that tasks are then forked from.

A forked process copies every page of memory that it writes to, and that is most of what a small task costs. The first
times that the interpreter runs a function, it also writes down what it has learned about it: in the code, in the types
and in the cache of their attributes. Learned before the fork, it need not be learned by every task.
"""

from __future__ import annotations

import sys
from _thread import _count as thread_count
from collections.abc import Sequence
from typing import Any

from ..dsl import FlowSpec, step
from .address import Address
from .ahead import Ahead
from .artifacts import ArtifactStore
from .datastore.base import Bytes
from .datastore.file import FileDatastore
from .record import DONE, Next, Record
from .runs import RunInfo
from .task import TaskRequest, run_task

_TIMES = 12
"""From Python 3.11 on the interpreter adapts a function after it has been called eight times."""


class Rehearsal(FlowSpec):
    """The flow whose tasks are gone through."""

    @step
    def start(self) -> None:
        self.items = [0]
        self.next(self.work, foreach="items")

    @step
    def work(self) -> None:
        self.result = self.input
        self.next(self.end)

    @step
    def end(self, inputs: Any) -> None:
        pass


_PLAN = {
    "version": 1,
    "name": "Rehearsal",
    "first": "start",
    "last": "end",
    "steps": [
        {"name": "start", "kind": "task", "leave": {"kind": "foreach", "over": "items", "to": ["work"]}},
        {
            "name": "work",
            "kind": "task",
            "leave": {"kind": "next", "to": ["end"]},
            "inputs": [["start"]],
            "scope": ["start"],
        },
        {"name": "end", "kind": "task", "leave": {"kind": "end"}, "inputs": [["work"]], "joins": "start"},
    ],
}


class _Nowhere(FileDatastore):
    """A datastore that keeps what is written to it in memory."""

    def __init__(self) -> None:
        super().__init__("/")
        self._kept: dict[str, bytes] = {}

    def read(self, key: str) -> bytes:
        try:
            return self._kept[key]
        except KeyError:
            raise FileNotFoundError(key) from None

    def size(self, key: str) -> int:
        return len(self.read(key))

    def exists(self, key: str) -> bool:
        return key in self._kept

    def put(self, key: str, pieces: Sequence[Bytes], mode: int = 0o666) -> None:
        self._kept[key] = b"".join(pieces)


def rehearse() -> None:
    """Go through a task; nothing is written, and nothing is left of it but what the interpreter keeps for itself."""
    run = RunInfo("Rehearsal", "1", _PLAN)
    datastore = _Nowhere()
    items = ArtifactStore(datastore, run.flow).save_items("items", [0])
    start = Record(Address("start"), 0, DONE, 0.0, 0.0, {}, Next("foreach", ("work",), 1, 1, items))
    run.records(datastore).commit(start)
    ahead = Ahead(run, datastore)
    request = TaskRequest(Address("work", (0,)))
    ahead.look(request.address)

    # What the interpreter calls in a forked process: it forgets all other threads, so not where there are some.
    after_fork = None if thread_count() else getattr(sys.modules.get("threading"), "_after_fork", None)
    for _ in range(_TIMES):
        if after_fork is not None:
            after_fork()
        run_task(Rehearsal, run, datastore, request, ahead=ahead)
