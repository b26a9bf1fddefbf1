"""Runs: numbered without clashes, found by what users write, and in the state that they are in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flowc.compiler.plan import End, Plan
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.parameters import IncludedFile
from flowc.runtime.runs import (
    LOST,
    RunError,
    RunInfo,
    RunStatus,
    create_run,
    find_run,
    hold_lock,
    is_alive,
    list_flows,
    list_runs,
    read_run,
    read_status,
    user_name,
    write_status,
)
from plans import LINE, plan, task


@pytest.fixture
def store(tmp_path: Path) -> FileDatastore:
    return FileDatastore(str(tmp_path / "store"))


def flow(name: str) -> Plan:
    return plan(task("start", End()), name=name)


def test_numbers(store: FileDatastore) -> None:
    assert [create_run(store, LINE.to_json()).run_id for _ in range(3)] == ["1", "2", "3"]
    store.create_folder("F/7")
    store.write("F/blobs/ab/x", b"")
    assert create_run(store, LINE.to_json()).run_id == "8"
    assert create_run(store, LINE.to_json(), run_id="nightly").run_id == "nightly"
    assert list_runs(store, "F") == ["1", "2", "3", "8", "nightly"], "7 was cut off before it started"


def test_runs_that_start_at_once_do_not_clash(store: FileDatastore) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: create_run(store, LINE.to_json()).run_id, range(24)))
    assert sorted(map(int, ids)) == list(range(1, 25))


@pytest.mark.parametrize("run_id", ["", ".x", "a/b", "../x", "blobs"])
def test_ids_that_cannot_be(store: FileDatastore, run_id: str) -> None:
    with pytest.raises(RunError, match="cannot be the id"):
        create_run(store, LINE.to_json(), run_id=run_id)


def test_an_id_that_is_taken(store: FileDatastore) -> None:
    create_run(store, LINE.to_json(), run_id="x")
    with pytest.raises(RunError, match="there is a run F/x already"):
        create_run(store, LINE.to_json(), run_id="x")


def test_what_is_kept(store: FileDatastore) -> None:
    parameters = {"n": 3, "text": IncludedFile("/somewhere", b"content")}
    made = create_run(
        store, LINE.to_json(), parameters, file="/home/me/flow.py", tags=["a", "b"], user="me", origin_run_id="4"
    )
    read = read_run(store, "F", "1")
    assert read == made and read.outline.first == "start" and read.prefix == "F/1"
    assert read.source == {"file": "flow.py", "folder": "/home/me"}
    assert (read.tags, read.user, read.origin_run_id, read.created > 1e9) == (("a", "b"), "me", "4", True)
    file = read.parameters["text"]["file"]
    assert read.parameters["n"] == 3 and store.read(f"F/blobs/{file['blob'][:2]}/{file['blob']}") == b"content"
    data = json.loads(store.read("F/1/run.json"))
    assert data["version"] == 1 and data["plan"] == LINE.to_json() and "worked_out" not in data


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"version": 9}', "version 9, this flowc reads version 1"),
        ('{"version": 1, "flow": "F"}', "lacks"),
    ],
)
def test_a_run_that_cannot_be_read(store: FileDatastore, text: str, said: str) -> None:
    store.write("F/1/run.json", text.encode())
    with pytest.raises(RunError, match=said):
        read_run(store, "F", "1")


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("F/2", "F/2"), ("F", "F/10"), ("G", "G/night"), ("10", "F/10"), ("night", "G/night"), ("F/2/", "F/2")],
)
def test_finding(store: FileDatastore, text: str, prefix: str) -> None:
    for run_id in ("1", "2", "10"):
        create_run(store, flow("F").to_json(), run_id=run_id)
    create_run(store, flow("G").to_json(), run_id="1")
    create_run(store, flow("G").to_json(), run_id="night")
    assert find_run(text, store).prefix == prefix
    assert list_flows(store) == ["F", "G"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1", "for several flows; say which: Flow/1, Glow/1"),
        ("Flow/9", "no run Flow/9 in .*; there is 1, 2"),
        ("9", "no run 9 in .*flowc runs"),
        ("Flwo", "did you mean Flow"),
        ("Xylophone", "there are Flow, Glow"),
        ("Flwo/1", "did you mean Flow"),
        ("Flow/3", "cut off before it started"),
        ("3", "cut off before it started"),
        ("", "no run"),
    ],
)
def test_not_finding(store: FileDatastore, text: str, said: str) -> None:
    for name, run_id in (("Flow", "1"), ("Flow", "2"), ("Glow", "1")):
        create_run(store, flow(name).to_json(), run_id=run_id)
    store.create_folder("Flow/3")
    with pytest.raises(RunError, match=said):
        find_run(text, store)


def test_not_finding_in_an_empty_store(store: FileDatastore) -> None:
    for text in ("1", "F", "F/1"):
        with pytest.raises(RunError, match=r"there are no runs in .*right datastore\?"):
            find_run(text, store)
    assert list_flows(store) == []


# Status ---------------------------------------------------------------------------------------------------------------


def test_status(store: FileDatastore) -> None:
    run = create_run(store, LINE.to_json())
    assert read_status(store, run).state == LOST, "nobody runs it, and nobody said how it ended"
    begun = RunStatus.begun()
    assert (begun.state, begun.pid) == ("running", os.getpid()) and begun.host
    write_status(store, run, begun)
    assert read_status(store, run).state == LOST and read_status(store, run).pid == os.getpid()
    lock = hold_lock(store, run)
    assert read_status(store, run) == begun and is_alive(store, run)
    with pytest.raises(RunError, match="being run by another process"):
        hold_lock(store, run)
    os.close(lock)
    assert not is_alive(store, run)
    done = RunStatus("failed", 1.0, 2.0, 3, "h", {"address": "a", "last_lines": ["x"]})
    write_status(store, run, done)
    assert read_status(store, run) == done


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "done", "more": 1}'])
def test_a_damaged_status_is_lost(store: FileDatastore, text: str) -> None:
    run = create_run(store, LINE.to_json())
    store.write(f"{run.prefix}/status.json", text.encode())
    assert read_status(store, run).state == LOST


def test_a_lock_goes_with_its_process(store: FileDatastore) -> None:
    run = create_run(store, LINE.to_json())
    script = """
import os, signal, sys
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.runs import hold_lock, read_run
store = FileDatastore(sys.argv[1])
hold_lock(store, read_run(store, "F", "1"))
print("held", flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", script, store.root], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        assert is_alive(store, run)
        child.kill()
    assert not is_alive(store, run)


def test_asking_does_not_keep_anybody_from_the_lock(store: FileDatastore) -> None:
    run = create_run(store, LINE.to_json())
    os.close(hold_lock(store, run))
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(is_alive, store, run) for _ in range(200)]
        for _ in range(20):
            os.close(hold_lock(store, run))
        for each in asking:
            each.result()


def test_who_starts_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLOWC_USER", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    assert user_name()
    monkeypatch.setenv("USER", "ann")
    assert user_name() == "ann"
    monkeypatch.setenv("FLOWC_USER", "bob")
    assert user_name() == "bob"


def test_a_plan_of_another_form(store: FileDatastore) -> None:
    run = RunInfo("F", "1", {"version": 3})
    with pytest.raises(ValueError, match="form 3"):
        run.outline
