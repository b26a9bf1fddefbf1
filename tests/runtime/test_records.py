"""Records: read back as written, and never taken for more than they are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.address import Address
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.record import Failure, Next, Record, Records
from hypothesis import given
from hypothesis import strategies as st
from test_addresses import ADDRESSES

TEXT = st.text(max_size=20)
REFERENCES = st.dictionaries(
    TEXT, st.fixed_dictionaries({"type": TEXT, "size": st.integers(0), "inline": TEXT}), max_size=3
)
NEXTS = st.builds(
    Next,
    st.sampled_from(["next", "branches", "foreach", "gang", "switch", "end"]),
    st.lists(TEXT, max_size=3).map(tuple),
    st.none() | st.integers(0),
    st.integers(1),
    st.none() | st.fixed_dictionaries({"blob": TEXT, "count": st.integers(1)}),
    st.none() | TEXT,
)
RECORDS = st.builds(
    Record,
    ADDRESSES,
    st.integers(0, 99),
    st.sampled_from(["done", "failed"]),
    st.floats(0, 1e10),
    st.floats(0, 1e10),
    REFERENCES,
    st.none() | NEXTS,
    st.none() | st.builds(Failure, TEXT, TEXT, TEXT),
    st.none() | TEXT,
    rank=st.none(),
    size=st.none(),
)


@given(RECORDS)
def test_json_reads_back(record: Record) -> None:
    data = json.loads(json.dumps(record.to_json()))
    assert Record.from_json(data) == record
    assert Record.from_json(data, record.address) == record


@given(RECORDS, st.data())
def test_a_record_cut_off_anywhere_is_none(
    tmp_path_factory: pytest.TempPathFactory, record: Record, data: st.DataObject
) -> None:
    records = Records(FileDatastore(str(tmp_path_factory.getbasetemp() / "cut")), "F", "1")
    records.commit(record)
    assert records.read(record.address, record.attempt) == record
    key = f"F/1/{record.address.key}/{record.attempt}/record.json"
    whole = records.datastore.read(key)
    records.datastore.write(key, whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert records.read(record.address, record.attempt) is None


def record(address: str = "a", attempt: int = 0, state: str = "done", **more: Any) -> Record:
    return Record(Address.parse(address), attempt, state, 1.0, 2.0, **more)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(FileDatastore(str(tmp_path)), "F", "1")


def test_the_place_and_form_on_disk(records: Records, tmp_path: Path) -> None:
    records.commit(
        record("train@2/0.3", 1, next=Next("foreach", ("x",), 2, 1, {"blob": "ab", "count": 2}), rank=3, size=4)
    )
    data = json.loads((tmp_path / "F/1/train@2/0.3/1/record.json").read_text())
    assert data == {
        "version": 1,
        "address": "train@2/0.3",
        "attempt": 1,
        "state": "done",
        "started": 1.0,
        "finished": 2.0,
        "artifacts": {},
        "next": {
            "kind": "foreach",
            "to": ["x"],
            "width": 2,
            "round": 1,
            "items": {"blob": "ab", "count": 2},
            "case": None,
        },
        "failure": None,
        "origin": None,
        "rank": 3,
        "size": 4,
    }


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ([], None),
        (["done"], 0),
        (["failed"], None),
        (["failed", "done"], 1),
        (["done", "failed"], 0),
        (["done", "done"], 1),
        (["failed", "failed", "done", "begun"], 2),
        (["done", "begun"], 0),
        (["begun", "begun"], None),
        (["begun", "done"], 1),
        (["damaged", "done", "damaged"], 1),
        (["done"] * 12, 11),
    ],
)
def test_the_highest_attempt_that_is_done(records: Records, tmp_path: Path, states: list[str], found: int) -> None:
    for attempt, state in enumerate(states):
        folder = tmp_path / f"F/1/a/_/{attempt}"
        folder.mkdir(parents=True)
        if state == "damaged":
            (folder / "record.json").write_text('{"version": 1, "addr')
        elif state != "begun":
            records.commit(record("a", attempt, state))
    got = records.read(Address("a"))
    assert (got and got.attempt) == found
    assert records.attempts(Address("a")) == list(range(len(states)))
    latest = records.latest(Address("a"))
    written = [i for i, state in enumerate(states) if state in ("done", "failed")]
    assert (latest and latest.attempt) == (written[-1] if written else None)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"state": "running"},
        {"address": "b"},
        {"address": 3},
        {"attempt": 7},
        {"artifacts": []},
        {"next": {"kind": "next"}},
        {"next": {"kind": "next", "to": "x"}},
        {"next": 3},
        {"failure": {"type": "x"}},
        {"failure": {"no": "x"}},
    ],
)
def test_what_is_no_record_of_this_task_counts_as_none(records: Records, change: dict[str, Any]) -> None:
    records.commit(record("a"))
    key = "F/1/a/_/0/record.json"
    data = json.loads(records.datastore.read(key))
    records.datastore.write(key, json.dumps({**data, **change}).encode())
    assert records.read(Address("a")) is None and records.read(Address("a"), 0) is None


@pytest.mark.parametrize("text", ["", "[]", "null", "3", "\0\0", '{"version": 1}'])
def test_other_texts_count_as_none(records: Records, text: str) -> None:
    records.datastore.write("F/1/a/_/0/record.json", text.encode())
    assert records.read(Address("a")) is None


@pytest.mark.parametrize(("size", "found"), [(None, 0), (2, 2)])
def test_an_attempt_may_be_missing_in_between_of_a_rank_whose_pod_never_began(
    size: int | None, found: int, records: Records
) -> None:
    for attempt in (0, 2):
        records.commit(record("a/0", attempt, rank=None if size is None else 0, size=size))
    got = records.read(Address("a", (0,)))
    # A task's own attempts follow each other, and where the first one is done it is the only one.
    assert got is not None and got.attempt == found


def test_no_folder_is_listed_where_the_first_attempt_is_done(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    records.commit(record("a"))
    monkeypatch.setattr(os, "listdir", lambda path: pytest.fail(f"listed {path}"))
    assert records.read(Address("a")) is not None


def test_tasks_and_rounds(records: Records) -> None:
    for address in ("a/10", "a/9", "a/2", "b", "c@2/1", "c/1", "c@11/0"):
        records.commit(record(address))
    records.datastore.write("F/1/a/.hidden/0/x", b"")
    assert list(map(str, records.tasks("a"))) == ["a/2", "a/9", "a/10"]
    assert list(map(str, records.tasks("b"))) == ["b"]
    assert list(map(str, records.tasks("c", 2))) == ["c@2/1"]
    assert records.tasks("nothing") == []
    assert [records.rounds(step) for step in ("a", "b", "c", "d")] == [1, 1, 11, 0]


def test_taking_over_a_record(records: Records) -> None:
    other = Records(records.datastore, "F", "2")
    records.commit(record("a", 3))
    found = records.read(Address("a"), 3)
    assert found is not None
    copy = other.clone(found, "1")
    assert (copy.attempt, copy.origin) == (0, "1") and other.read(Address("a")) == copy
    third = Records(records.datastore, "F", "3")
    assert third.clone(copy, "2").origin == "1", "the run that did the work stays named"
