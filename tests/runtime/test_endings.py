"""How the end of a run is written down from its records: what is not done, and what is said of it."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime import gang_report
from flowc.runtime.address import Address
from flowc.runtime.datastore import Datastore, FileDatastore, open_datastore
from flowc.runtime.ending import Told, _undone, end, first_failure
from flowc.runtime.gang.failure import GangFailure
from flowc.runtime.record import Failure, Next, Record, Records
from flowc.runtime.runs import RunInfo, RunStatus, create_run, read_status, write_status
from plans import End, Foreach, Gang, plan, task
from plans import Next as Onward
from s3_server import s3_server

PLAN = plan(
    task("start", Foreach("work", over="things")),
    task("work", Onward("gather"), "start", scope=("start",)),
    task("gather", Gang("train", size=3), "work", joins="start"),
    task("train", Onward("end"), "gather", scope=("gather",), kind="gang"),
    task("end", End(), "train", joins="gather"),
    name="F",
)


def run_of(store: Datastore) -> RunInfo:
    return create_run(store, PLAN.to_json(), run_id="1", target="argo")


def record(address: str, attempt: int = 0, failure: str = "", finished: float = 2.0) -> Record:
    why = Failure("ValueError", failure) if failure else None
    onward = None if failure else Next("next", ("end",))
    return Record(Address.parse(address), attempt, "failed" if failure else "done", 1.0, finished, {}, onward, why)


def one_by_one(run: RunInfo, records: Records) -> Iterator[tuple[Address, int, Any]]:
    """What is not done, as the records say it task by task."""
    for step in run.outline.steps:
        for round in range(1, records.rounds(step) + 1):
            for address in records.tasks(step, round):
                attempts = records.attempts(address)
                if attempts and records.read(address) is None:
                    yield address, attempts[-1], records.read(address, attempts[-1])


@pytest.mark.parametrize("seed", range(8))
def test_what_is_not_done_is_what_the_records_say_one_by_one(tmp_path: Path, seed: int) -> None:
    store = FileDatastore(str(tmp_path))
    run, chance = run_of(store), random.Random(seed)
    records = run.records(store)
    for step in ("work", "work@2", "work@10", "start@3"):
        for index in range(12):
            address = Address.parse(f"{step}/{index}")
            for attempt in chance.sample(range(12), chance.randrange(4)):
                folder = f"{tmp_path}/{records.folder(address, attempt)}"
                left = chance.choice(["done", "failed", "damaged", "logs", "hidden", "nothing"])
                if left in ("done", "failed"):
                    records.commit(record(str(address), attempt, "bad" if left == "failed" else ""))
                Path(folder).mkdir(parents=True, exist_ok=True)
                files = {"damaged": "record.json", "logs": "stdout.log", "hidden": ".record.json.1.tmp"}
                if left in files:
                    Path(folder, files[left]).write_text("{")
    store.write("F/1/work/3/checkpoints/000001/0/record.json", b"x")
    store.write("F/1/elsewhere/3/0/record.json", b"x")
    store.write("F/1/work/notes/0/record.json", b"x")
    found = [(each.address, each.attempt, each.record) for each in _undone(run, records)]
    assert found == list(one_by_one(run, records)) and found


class Counted(FileDatastore):
    """A datastore that counts what it is asked."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.asked: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if name in ("read", "read_part", "size", "exists", "list", "walk"):
            self.asked[name] += 1
        return super().__getattribute__(name)


def thousand(store: Datastore, count: int = 1000) -> RunInfo:
    run = run_of(store)
    for index in range(count):
        failure = f"bad {index}" if index in (17, count // 2, count - 1) else ""
        run.records(store).commit(record(f"work/{index}", 0, failure, 100.0 - index / count))
        store.write(f"F/1/work/{index}/0/stderr.log", b"oh\n")
    return run


def test_of_many_tasks_each_record_is_read_once(tmp_path: Path) -> None:
    store = Counted(str(tmp_path))
    run = thousand(store)
    store.asked.clear()
    failure = first_failure(store, run, ())
    assert (failure.address, failure.message) == ("work/999", "bad 999")
    assert store.asked == {"walk": 1, "read": 1000}


def test_of_many_that_left_nothing_only_one_is_asked_for_its_last_lines(tmp_path: Path) -> None:
    store = Counted(str(tmp_path))
    run = run_of(store)
    for index in range(500):
        store.write(f"F/1/work/{index}/0/stderr.log", b"oh %d\n" % index)
    store.asked.clear()
    failure = first_failure(store, run, ())
    assert (failure.address, failure.last_lines) == ("work/0", ("oh 0",))
    assert store.asked == {"walk": 1}


def test_a_gang_that_left_nothing_is_told_by_its_last_jobset(tmp_path: Path) -> None:
    """Argo counts the JobSets, which may have begun more than one attempt each."""
    store = FileDatastore(str(tmp_path))
    run = run_of(store)
    for attempt in range(4):
        store.write(f"F/1/train/0/{attempt}/stderr.log", b"")
    said = [
        Told(f"train({number})", f"JobSet {number}", f"2024-01-01T00:00:0{number}Z", "train") for number in range(3)
    ]
    failure = first_failure(store, run, tuple(said))
    assert (failure.address, failure.attempt, failure.message) == ("train/0", 3, "JobSet 2")


def test_a_gang_is_told_by_the_rank_that_failed_first(tmp_path: Path) -> None:
    store = Counted(str(tmp_path))
    run = run_of(store)
    records = run.records(store)
    report = GangFailure(1, "host", 3, None, (), "exited with code 3")
    for rank in (0, 2):
        gang_report.write(records, Address("train", (rank,)), 1, report)
    store.write("F/1/train/1/1/stderr.log", b"oh\n")
    failure = first_failure(store, run, ())
    assert (failure.address, failure.attempt, failure.rank, failure.exit_code) == ("train/1", 1, 1, 3)
    assert failure.last_lines == ("oh",)
    records.commit(record("train/1", 1, "why"))
    failure = first_failure(store, run, ())
    assert (failure.address, failure.message, failure.last_lines) == ("train/1", "why", ("oh",))


@pytest.mark.slow
def test_the_requests_for_many_tasks_in_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    boto3 = pytest.importorskip("boto3")
    with s3_server() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="endings")
        store: Any = open_datastore("s3://endings/some")
        run = thousand(store, 100)
        requests: list[str] = []
        ask = type(store)._ask
        monkeypatch.setattr(
            type(store), "_ask", lambda self, *all, **values: (requests.append(all[2]), ask(self, *all, **values))[1]
        )
        failure = first_failure(store, run, ())
    assert (failure.address, failure.last_lines) == ("work/99", ("oh",))
    assert Counter(requests) == {"list_objects_v2": 1, "get_object": 101, "head_object": 2}


# Ending again ---------------------------------------------------------------------------------------------------------


def ended(store: Datastore, status: str) -> RunStatus:
    assert end(store, "F", "1", lambda: pytest.fail("nothing is to be loaded"), status) == 0
    return read_status(store, run_of_id(store))


def run_of_id(store: Datastore) -> RunInfo:
    from flowc.runtime.runs import read_run

    return read_run(store, "F", "1")


@pytest.fixture
def failed(tmp_path: Path) -> Datastore:
    """A run of which two tasks failed, and whose end is written down."""
    store = FileDatastore(str(tmp_path))
    run = run_of(store)
    write_status(store, run, RunStatus("running", 5.0))
    run.records(store).commit(record("work/0", 0, "first", finished=10.0))
    run.records(store).commit(record("work/1", 0, "second", finished=11.0))
    status = ended(store, "Failed")
    assert status.failure is not None and status.failure["message"] == "first"
    return store


def test_a_failed_run_that_is_retried_and_succeeds_is_done(failed: Datastore, capsys: Any) -> None:
    began = time.time()
    status = ended(failed, "Succeeded")
    assert (status.state, status.started, status.failure) == ("done", 5.0, None)
    assert status.finished is not None and status.finished >= began
    assert "run F/1 is done" in capsys.readouterr().out
    assert ended(failed, "Failed") == status and "has ended as done" in capsys.readouterr().out


def test_a_failed_run_that_is_retried_and_fails_says_on_what(failed: Datastore) -> None:
    run_of_id(failed).records(failed).commit(record("work/0", 0, finished=12.0))
    status = ended(failed, "Error")
    assert (status.state, status.started) == ("failed", 5.0) and status.failure is not None
    assert (status.failure["address"], status.failure["message"]) == ("work/1", "second")


@pytest.mark.parametrize(("word", "state"), [("Succeeded", "done"), ("Failed", "failed")])
def test_an_interrupted_run_that_is_retried(failed: Datastore, word: str, state: str) -> None:
    write_status(failed, run_of_id(failed), RunStatus("interrupted", 5.0, 9.0, failure={"type": "Interrupted"}))
    status = ended(failed, word)
    assert (status.state, status.started) == (state, 5.0)
    assert (status.failure or {}).get("message") == (None if word == "Succeeded" else "first")


def test_of_what_argo_tells_only_what_was_the_end_counts(tmp_path: Path) -> None:
    store = FileDatastore(str(tmp_path))
    run = run_of(store)
    for address in ("start", "work/0", "work/1"):
        run.records(store).commit(record(address, 1))
    said = (
        Told("work(0:0)(0)", "Error (exit code 1)", "2024-01-01T00:00:01Z", "work"),  # another attempt followed
        Told("work-body", "child failed", "2024-01-01T00:00:02Z", "start-body"),
        Told("gather", "ImagePullBackOff: no such image", "2024-01-01T00:00:03Z", "gather"),
        Told("main", "child failed", "2024-01-01T00:00:04Z", "main"),
    )
    assert first_failure(store, run, said).message == "gather: ImagePullBackOff: no such image"
    assert "exit code 1" in first_failure(store, run, said[:1]).message


PODS = (
    Told("work(0:0)(0)", "Error (exit code 1)", "2024-01-01T00:00:01Z", "work"),
    Told("work(1:1)(0)", "Error (exit code 2)", "2024-01-01T00:00:01Z", "work"),
    Told("work(1:1)(1)", "Error (exit code 139)", "2024-01-01T00:00:01Z", "work"),
    Told("work(1:1)", "No more retries left", "2024-01-01T00:00:01Z", "work"),
    Told("work", "child failed", "2024-01-01T00:00:01Z", "work"),
)


@pytest.mark.parametrize("order", list(permutations(range(len(PODS))))[::7])
def test_a_task_that_left_nothing_is_told_by_its_own_last_attempt(order: tuple[int, ...], tmp_path: Path) -> None:
    """Times of Argo's are whole seconds, and its list has no order."""
    store = FileDatastore(str(tmp_path))
    run = run_of(store)
    for address in ("start", "work/0"):
        run.records(store).commit(record(address, 1))
    store.write("F/1/work/1/1/stderr.log", b"")
    failure = first_failure(store, run, tuple(PODS[at] for at in order))
    assert (failure.address, failure.attempt, failure.signal) == ("work/1", 1, "SIGSEGV")
