"""What a process reads and goes through before it forks the tasks of a fan-out."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from flowc import FlowSpec, current, step
from flowc.runtime.address import Address
from flowc.runtime.ahead import Ahead
from flowc.runtime.rehearsal import rehearse
from flowc.runtime.task import DONE_CODE, REFUSED_CODE, TaskRequest, run_task
from plans import LOOP_IN_FOREACH, NESTED, End, Foreach, Next, plan, task
from task_lab import Lab

FANNED = plan(
    task("start", Foreach("work", "things")),
    task("work", Next("join"), "start", scope=("start",)),
    task("join", Next("end"), "work", joins="start"),
    task("end", End(), "join"),
)


class F(FlowSpec):
    @step
    def start(self):
        self.things = ["a", {"b": 2}, "c" * 300]
        self.next(self.work, foreach="things")

    @step
    def work(self):
        self.got = self.input
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path, FANNED, F)
    lab.done("start")
    return lab


def work(lab: Lab, item: int, ahead: Ahead) -> int:
    request = TaskRequest(Address("work", (item,)))
    return run_task(F, lab.run, lab.datastore, request, ahead=ahead)


def test_tasks_find_what_was_read_for_them_although_it_is_gone_by_now(lab, capsys):
    ahead = Ahead(lab.run, lab.datastore)
    ahead.look(Address("work", (0,)))
    shutil.rmtree(Path(lab.datastore.root, "F/1/start"))
    shutil.rmtree(Path(lab.datastore.root, "F/blobs"))
    for item in range(3):
        assert work(lab, item, ahead) == DONE_CODE
    assert [lab.value(f"work/{item}", "got") for item in range(3)] == ["a", {"b": 2}, "c" * 300]
    # And without it they do not, so that it was not read after all.
    assert work(lab, 0, Ahead(lab.run, lab.datastore)) == REFUSED_CODE
    assert "no record says that start is done" in capsys.readouterr().err


def test_items_that_are_large_in_all_are_left_to_the_tasks(tmp_path):
    class Large(F):
        @step
        def start(self):
            self.things = [os.urandom(60_000) for _ in range(10)]
            self.next(self.work, foreach="things")

    lab = Lab(tmp_path, FANNED, Large)
    lab.done("start")
    ahead = Ahead(lab.run, lab.datastore)
    ahead.look(Address("work", (9,)))
    assert list(ahead.records) == [Address("start")]
    assert ahead.items == {}
    assert work(lab, 9, ahead) == DONE_CODE
    assert lab.value("work/9", "got") == lab.value("start", "things")[9]


def test_what_cannot_be_read_is_left_to_the_task_to_tell(tmp_path, capsys):
    lab = Lab(tmp_path, FANNED, F)
    ahead = Ahead(lab.run, lab.datastore)
    ahead.look(Address("work", (0,)))
    assert ahead.records == {}
    assert work(lab, 0, ahead) == REFUSED_CODE
    lab.done("start")
    record = Path(lab.datastore.path(f"F/1/{Address('start').key}/0/record.json"))
    record.write_text(record.read_text()[:-20])
    ahead.look(Address("work", (0,)))
    assert ahead.records == {}


def test_a_damaged_item_is_told_whoever_read_it(lab, capsys):
    (blob,) = [path for path in Path(lab.datastore.root, "F/blobs").rglob("*") if path.is_file()]
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    ahead = Ahead(lab.run, lab.datastore)
    ahead.look(Address("work", (2,)))
    assert ahead.items
    assert work(lab, 2, ahead) == 1
    assert "the checksum of item 2 is wrong" in capsys.readouterr().err


def test_only_few_openers_are_kept(tmp_path):
    class Nested(FlowSpec):
        @step
        def start(self):
            self.things = list(range(20))
            self.next(self.outer, foreach="things")

        @step
        def outer(self):
            self.parts = [0]
            self.next(self.inner, foreach="parts")

        @step
        def inner(self):
            pass

    lab = Lab(tmp_path, NESTED, Nested)
    lab.done("start", *(f"outer/{i}" for i in range(20)))
    ahead = Ahead(lab.run, lab.datastore)
    for i in range(20):
        ahead.look(Address("inner", (i, 0)))
        assert Address("outer", (i,)) in ahead.records
        assert len(ahead.records) <= 8 and len(ahead.items) <= 8
    assert ahead.records[Address("outer", (19,))].address == Address("outer", (19,))


def test_in_a_loop_nothing_is_taken_for_known(tmp_path):
    lab = Lab(tmp_path, LOOP_IN_FOREACH, F)
    ahead = Ahead(lab.run, lab.datastore)
    for name, outline in lab.run.outline.steps.items():
        if outline.scope:
            ahead.look(Address(name, (0,) * len(outline.scope)))
    assert ahead.records == {}


def test_a_rehearsal_leaves_everything_as_it_was(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    handler, mask, environment = signal.getsignal(signal.SIGTERM), os.umask(0o027), dict(os.environ)
    try:
        rehearse()
        assert os.umask(mask) == 0o027
    finally:
        os.umask(mask)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert dict(os.environ) == environment
    assert not current.is_running_flow
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no adapting interpreter")
def test_a_rehearsal_goes_through_a_whole_task(monkeypatch):
    from flowc.runtime import record

    committed = []
    commit = record.Records.commit
    monkeypatch.setattr(record.Records, "commit", lambda self, what: (committed.append(what), commit(self, what)))
    rehearse()
    first, *tasks = committed
    assert first.address == Address("start")
    # As often as it takes until the interpreter has adapted a function.
    assert len(tasks) > 8
    assert all(each.done and each.address == Address("work", (0,)) and "result" in each.artifacts for each in tasks)
