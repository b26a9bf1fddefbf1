"""What a program leaves in ``current.checkpoint.directory`` is saved while the step waits for the program's end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flowc.dsl.current import current_values
from flowc.runtime import checkpoint_places, checkpoint_watch
from flowc.runtime.address import Address
from flowc.runtime.checkpoint import Checkpoints
from flowc.runtime.checkpoint_watch import is_being_written, quiet_time, saved_while_it_runs, state_of
from flowc.runtime.datastore import Datastore, FileDatastore
from flowc.runtime.runs import RunInfo


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLOWC_SCRATCH", str(tmp_path / "scratch"))
    for name, seconds in {"LOOK": 0.02, "APART": 0.1, "QUIET": 0.2, "QUIET_IF_SMALL": 0.2}.items():
        monkeypatch.setattr(checkpoint_watch, name, seconds)


@pytest.fixture
def store(tmp_path: Path) -> FileDatastore:
    return FileDatastore(str(tmp_path / "store"))


def of(store: Datastore, attempt: int = 0) -> Checkpoints:
    return Checkpoints(store, RunInfo("F", "1", {}), Address.parse("train/0.1"), attempt, {})


def until(holds: Callable[[], Any], limit: float = 10.0) -> None:
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def saved(store: Datastore, name: str = "state") -> str:
    """A file of the newest checkpoint; empty if it is not there."""
    try:
        newest = of(store).latest
        return "" if newest is None else Path(newest, name).read_text()
    except (FileNotFoundError, NotADirectoryError):  # not in it, or another has just taken its place
        return ""


def test_what_is_left_alone_is_saved_and_each_takes_the_place_of_the_one_before(store: FileDatastore) -> None:
    points = of(store)
    state, threads = Path(points.directory, "state"), threading.active_count()
    with current_values({"checkpoint": points}), saved_while_it_runs():
        time.sleep(0.3)
        assert points.list() == (), "an empty folder is no state"
        for text in ("one", "two", "three"):
            state.write_text(text)
            until(lambda text=text: saved(store) == text)
            until(lambda: len(points.list()) == 1)
        newest = points.latest
    assert newest is not None and newest.number == 3
    # The step saves at the end, and nothing has changed since: it is the same one.
    assert points.save() == newest.path and [each.number for each in points.list()] == [3]
    state.write_text("four")
    points.save()
    assert [Path(each, "state").read_text() for each in points.list()] == ["three", "four"]
    assert threading.active_count() == threads


def test_the_last_save_takes_the_place_of_the_one_that_was_made_meanwhile(store: FileDatastore) -> None:
    points = of(store)
    state = Path(points.directory, "state")
    with current_values({"checkpoint": points}), saved_while_it_runs():
        state.write_text("one")
        until(lambda: saved(store))
    state.write_text("two")
    points.save()
    assert [Path(each, "state").read_text() for each in points.list()] == ["two"]
    with current_values({"checkpoint": points}), saved_while_it_runs():
        time.sleep(0.4)
        assert len(points.list()) == 1, "it has just been saved"
    points.save(name="best")
    assert [each.name for each in points.list()] == ["", "best"]


def test_what_the_step_saves_itself_between_two_programs_stays(store: FileDatastore, tmp_path: Path) -> None:
    points = of(store)
    state = Path(points.directory, "state")
    (tmp_path / "metrics").write_text("good")
    for text in ("one", "two"):
        with current_values({"checkpoint": points}), saved_while_it_runs():
            state.write_text(text)
            until(lambda text=text: saved(store) == text)
        if text == "one":
            points.save(str(tmp_path / "metrics"))
    assert [os.path.basename(each.path) for each in points.list()] == ["checkpoint", "metrics", "checkpoint"]


def test_what_the_step_began_with_is_not_saved_again(store: FileDatastore) -> None:
    points = of(store)
    Path(points.directory, "state").write_text("one")
    points.save()
    again = of(store, 1)
    assert again.is_loaded
    with current_values({"checkpoint": again}), saved_while_it_runs():
        time.sleep(0.5)
    assert [each.number for each in again.list()] == [1]


def test_a_folder_that_changes_is_not_saved_before_it_is_quiet(store: FileDatastore) -> None:
    points = of(store)
    with current_values({"checkpoint": points}), saved_while_it_runs():
        for number in range(60):
            Path(points.directory, f"part-{number % 3}").write_text(str(number))
            time.sleep(0.01)
        assert points.list() == ()
        until(lambda: saved(store, "part-2") == "59")
        Path(points.directory, "state.tmp").write_text("half of it")
        time.sleep(0.5)
        assert saved(store, "part-2") == "59" and len(points.list()) == 1
        os.rename(os.path.join(points.directory, "state.tmp"), os.path.join(points.directory, "state"))
        until(lambda: len(points.list()) == 1 and saved(store, "state") == "half of it")


def test_how_long_it_must_be_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"QUIET_IF_SMALL": 0.5, "QUIET": 5.0}.items():
        monkeypatch.setattr(checkpoint_watch, name, seconds)
    file = (1, 10, 0, 0)
    assert quiet_time({"folder": (), "folder/state.pt": file}) == 0.5
    assert quiet_time({"state.pt": (1, 1 << 30, 0, 0), "config": file}) == 5.0
    now = time.time_ns()
    for name in ("state.tmp", "state.pt.part", ".state.pt", ".new/state.pt"):
        assert is_being_written({"state.pt": file, name: (1, 10, now - 30 * 10**9, 0)})
        # A process that was killed has left it.
        assert not is_being_written({"state.pt": (1, 10, now, 0), name: (1, 10, now - 90 * 10**9, 0)})


@pytest.mark.parametrize("when", ["copy", "sync"])
def test_a_state_that_changes_while_it_is_copied_is_never_seen(
    store: FileDatastore, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    points = of(store)
    state = Path(points.directory, "state")
    seen: set[str] = set()
    changes = []
    name = "_copy" if when == "copy" else "_sync_folders"
    real = getattr(checkpoint_places, name)

    def slow(*given: Any, **more: Any) -> None:
        real(*given, **more)
        if not changes:
            state.write_text("two")
            changes.append("two")

    monkeypatch.setattr(checkpoint_places, name, slow)
    with current_values({"checkpoint": points}), saved_while_it_runs():
        state.write_text("one")
        until(lambda: seen.add(saved(store)) or "two" in seen)
    assert "one" not in seen
    assert os.listdir(store.path("F/1/train/0.1/checkpoints")) == ["000001"]


@pytest.mark.parametrize("changes", [False, True])
def test_a_saving_that_has_begun_is_finished_at_the_end_unless_the_folder_has_changed(
    store: FileDatastore, monkeypatch: pytest.MonkeyPatch, changes: bool
) -> None:
    points = of(store)
    state = Path(points.directory, "state")
    monkeypatch.setattr(checkpoint_places, "_CHUNK", 1)
    copied, go_on = threading.Event(), threading.Event()
    chunks = []

    class Check:
        def __init__(self, watch: Any, real: Any) -> None:
            self.real = real

        def __call__(self, is_whole: bool) -> None:
            copied.set()
            go_on.wait(10.0)
            chunks.append(is_whole)
            self.real(is_whole)

    real = points.save_running
    monkeypatch.setattr(points, "save_running", lambda state, check: real(state, Check(None, check)))
    with current_values({"checkpoint": points}), saved_while_it_runs():
        state.write_text("x" * 50)
        assert copied.wait(10.0)
        if changes:
            state.write_text("y")
        threading.Timer(0.2, go_on.set).start()
    assert (len(points.list()) == 0) is changes
    assert (len(chunks) < 5) is changes
    points.save()
    assert len(points.list()) == 1 and Path(points.list()[0], "state").read_text() == state.read_text()


def test_it_never_fails_the_step(
    store: FileDatastore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = of(store)
    state = Path(points.directory, "state")
    real = os.rename

    def full(source: Any, target: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with current_values({"checkpoint": points}), saved_while_it_runs():
        state.write_text("one")
        time.sleep(0.6)
        monkeypatch.setattr(os, "rename", real)
        until(lambda: saved(store) == "one")
    said = capsys.readouterr().err
    assert said.count("could not be saved while the program runs") == 1 and "is full" in said


def test_a_folder_that_is_never_quiet_is_told_once(
    store: FileDatastore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint_watch, "TELL_AFTER", 0.3)
    points = of(store)
    with current_values({"checkpoint": points}), saved_while_it_runs():
        for number in range(60):
            Path(points.directory, "log").write_text(str(number))
            time.sleep(0.02)
    assert capsys.readouterr().err.count("changes all the time") == 1
    assert points.list() == ()


def test_without_a_folder_or_checkpoints_nothing_happens(store: FileDatastore) -> None:
    threads = threading.active_count()
    with current_values({}), saved_while_it_runs():
        assert threading.active_count() == threads
    points = of(store)
    with current_values({"checkpoint": points}), saved_while_it_runs():
        time.sleep(0.1)
    assert points.folder is None


def test_a_state_is_told_from_every_other(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep/file"
    file.write_text("a")
    states = [state_of(str(tmp_path))]
    times = file.stat()
    time.sleep(0.01)
    file.write_text("b")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    states.append(state_of(str(tmp_path)))
    other = tmp_path / "deep/other"
    other.write_text("b")
    other.rename(file)
    states.append(state_of(str(tmp_path)))
    (tmp_path / "deep/none").mkdir()
    states.append(state_of(str(tmp_path)))
    os.symlink("nowhere", tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    states.append(state_of(str(tmp_path)))
    assert all(one != other for at, one in enumerate(states) for other in states[:at])
    assert state_of(str(tmp_path)) == states[-1]
