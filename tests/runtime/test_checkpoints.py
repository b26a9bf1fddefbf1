"""``current.checkpoint``: state that outlives an attempt, whole or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from flowc import FlowSpec, current, step
from flowc.compiler.plan import Feature
from flowc.runtime import checkpoint_places
from flowc.runtime.address import Address
from flowc.runtime.checkpoint import CheckpointError, Checkpoints
from flowc.runtime.datastore import DatastoreError, FileDatastore
from flowc.runtime.runs import RunInfo, create_run
from plans import End, plan, task
from task_lab import Lab

PLAN = plan(task("start", End())).to_json()


@pytest.fixture
def store(tmp_path: Path) -> FileDatastore:
    return FileDatastore(str(tmp_path / "store"))


@pytest.fixture
def run(store: FileDatastore) -> RunInfo:
    return create_run(store, PLAN)


def of(store: FileDatastore, run: RunInfo, where: str = "train/0.1", attempt: int = 0, **options: Any) -> Checkpoints:
    return Checkpoints(store, run, Address.parse(where), attempt, options)


def test_files_and_folders(store: FileDatastore, run: RunInfo, tmp_path: Path) -> None:
    points = of(store, run)
    assert points.latest is None and points.load() is None and points.list() == ()
    (tmp_path / "model.pt").write_text("one")
    saved = points.save(str(tmp_path / "model.pt"))
    assert Path(saved).read_text() == "one" and os.path.basename(saved) == "model.pt"
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_text("two")
    points.save(str(tmp_path / "model"), name="best")
    (tmp_path / "model.pt").write_text("three")
    points.save(tmp_path / "model.pt")  # type: ignore[arg-type]
    assert [(p.number, p.name) for p in points.list()] == [(1, ""), (2, "best"), (3, "")]
    assert points.latest is not None and Path(points.latest).read_text() == "three"
    assert Path(points.load() or "").read_text() == "three"
    assert Path(points.load(name="best") or "", "weights").read_text() == "two"
    assert points.load(name="worst") is None
    assert [p.number for p in points.list("best")] == [2]
    assert sorted(store.list("F/1/train/0.1/checkpoints")) == ["000001", "000002-best", "000003"]


def test_loading_to_a_place(store: FileDatastore, run: RunInfo, tmp_path: Path) -> None:
    points = of(store, run)
    (tmp_path / "model.pt").write_text("one")
    points.save(str(tmp_path / "model.pt"), name="file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/x").write_text("two")
    points.save(str(tmp_path / "folder"), name="folder")
    assert points.load(str(tmp_path / "new/deep/copy.pt"), name="file") == str(tmp_path / "new/deep/copy.pt")
    assert points.load(str(tmp_path / "new"), name="file") == str(tmp_path / "new/model.pt")
    assert points.load(str(tmp_path / "new/copy"), name="folder") == str(tmp_path / "new/copy")
    assert points.load(str(tmp_path / "new"), name="folder") == str(tmp_path / "new")
    for path, text in (("deep/copy.pt", "one"), ("model.pt", "one"), ("copy/x", "two"), ("x", "two")):
        assert (tmp_path / "new" / path).read_text() == text
    (tmp_path / "new/copy/x").write_text("changed")
    assert Path(points.load(name="folder") or "", "x").read_text() == "two"


def test_they_belong_to_the_address_and_outlive_the_attempt(store: FileDatastore, run: RunInfo, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    of(store, run).save(str(tmp_path / "f"))
    assert of(store, run, attempt=1).latest is not None
    for other in ("train/0.0", "train@2/0.1", "valid/0.1"):
        assert of(store, run, other).latest is None
    assert of(store, create_run(store, PLAN)).latest is None


def test_a_working_folder(store: FileDatastore, run: RunInfo, tmp_path: Path) -> None:
    first = of(store, run, temp_dir_root=str(tmp_path / "scratch"))
    assert not first.is_loaded and os.listdir(first.directory) == []
    assert first.directory.startswith(str(tmp_path / "scratch"))
    Path(first.directory, "epoch").write_text("1")
    first.save()
    Path(first.directory, "epoch").write_text("2")
    first.save()
    again = of(store, run, attempt=1, temp_dir_root=str(tmp_path / "scratch"))
    assert again.directory != first.directory
    assert Path(again.directory, "epoch").read_text() == "2" and again.is_loaded
    unasked = of(store, run, attempt=1, temp_dir_root=str(tmp_path / "scratch"), load_policy="none")
    assert os.listdir(unasked.directory) == [] and not unasked.is_loaded
    assert unasked.load() is not None, "but it can be asked for"


def test_eager_looks_into_the_run_before(store: FileDatastore, run: RunInfo, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    of(store, run).save(str(tmp_path / "f"))
    resumed = create_run(store, PLAN, origin_run_id=run.run_id)
    assert of(store, resumed).latest is None
    eager = of(store, resumed, load_policy="eager")
    assert eager.latest is not None and Path(eager.latest).read_text() == "old"
    (tmp_path / "f").write_text("new")
    eager.save(str(tmp_path / "f"))
    assert Path(eager.latest).read_text() == "new" and eager.latest.number == 1


@pytest.mark.parametrize("at", ["_copy", "rename"])
def test_a_save_that_is_cut_off_is_never_loaded(store: FileDatastore, run: RunInfo, tmp_path: Path, at: str) -> None:
    (tmp_path / "f").write_text("whole")
    points = of(store, run)
    points.save(str(tmp_path / "f"))
    pid = os.fork()
    if not pid:

        def killed(source: Any, target: Any, **_: Any) -> None:
            if at == "_copy":
                Path(target).write_text("wh")
            os._exit(9)

        setattr(checkpoint_places if at == "_copy" else os, at, killed)
        points.save(str(tmp_path / "f"))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert [p.number for p in points.list()] == [1]
    points.save(str(tmp_path / "f"))
    assert [Path(p).read_text() for p in points.list()] == ["whole", "whole"]
    assert leftovers(store) == 1
    of(store, run, "train/0.2", attempt=1).list()
    assert leftovers(store) == 1, "that of another task"
    assert [p.number for p in of(store, run, attempt=1).list()] == [1, 2]
    assert leftovers(store) == 0


def leftovers(store: FileDatastore, where: str = "F/1/train/0.1") -> int:
    return sum(name.startswith(".") for name in os.listdir(store.path(f"{where}/checkpoints")))


def test_only_what_earlier_attempts_left_is_removed(
    store: FileDatastore, run: RunInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save of an earlier attempt that is not dead after all fails; one of this attempt goes on."""
    (tmp_path / "f").write_text("x")
    real = checkpoint_places._copy

    def copy(source: str, target: str, **more: Any) -> None:
        real(source, target, **more)
        monkeypatch.setattr(checkpoint_places, "_copy", real)
        assert of(store, run, attempt=1).list() == ()

    monkeypatch.setattr(checkpoint_places, "_copy", copy)
    with pytest.raises(DatastoreError):
        of(store, run, attempt=0).save(str(tmp_path / "f"))
    assert of(store, run, attempt=1).list() == () and leftovers(store) == 0
    monkeypatch.setattr(checkpoint_places, "_copy", copy)
    of(store, run, attempt=1).save(str(tmp_path / "f"))
    assert len(of(store, run, attempt=1).list()) == 1 and leftovers(store) == 0


def test_a_checkpoint_is_on_disk_before_it_can_be_seen(
    store: FileDatastore, run: RunInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model/deep").mkdir(parents=True)
    (tmp_path / "model/a").write_text("a")
    (tmp_path / "model/deep/b").write_text("b")
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        done.append(re.sub(r".*/checkpoints/?[^/]*", "checkpoints", path))
        fsync(descriptor)

    def renamed(source: Any, target: Any) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    points = of(store, run)
    points.save(str(tmp_path / "model"))
    at = "checkpoints/model"
    assert set(done[:2]) == {f"{at}/a", f"{at}/deep/b"}
    # The last one is the folder that the entry was renamed in.
    assert done[2:] == [f"{at}/deep", at, "checkpoints", "rename", "checkpoints"]
    done.clear()
    points.save(str(tmp_path / "model/a"))
    assert done == ["checkpoints/a", "checkpoints", "rename", "checkpoints"]


def test_one_whose_place_another_takes_meanwhile_is_left_out(
    store: FileDatastore, run: RunInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    points = of(store, run)
    points.save(str(tmp_path / "f"))
    names = store.list
    monkeypatch.setattr(store, "list", lambda prefix: (*names(prefix), "000002"))
    assert [each.number for each in points.list()] == [1]


def test_a_file_system_that_cannot_sync_folders_will_do(
    store: FileDatastore, run: RunInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    points = of(store, run)
    points.save(str(tmp_path / "f"))
    assert len(points.list()) == 1
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.write(-1, b""))  # as on a disk that fails
    with pytest.raises(DatastoreError):
        points.save(str(tmp_path / "f"))
    assert len(points.list()) == 1


def test_two_attempts_that_save_at_once(
    store: FileDatastore, run: RunInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    points, other = of(store, run), of(store, run)
    real = os.rename

    def rename(source: Any, target: Any) -> None:
        monkeypatch.setattr(os, "rename", real)
        other.save(str(tmp_path / "f"))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    points.save(str(tmp_path / "f"))
    assert [p.number for p in points.list()] == [1, 2]


def test_what_cannot_be_saved(
    store: FileDatastore, run: RunInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = of(store, run)
    (tmp_path / "f").write_text("x")
    with pytest.raises(CheckpointError, match="there is no such file"):
        points.save(str(tmp_path / "absent"))
    for name in ("a/b", ".x", "", "a b"):
        with pytest.raises(CheckpointError, match="cannot name a checkpoint"):
            points.save(str(tmp_path / "f"), name=name)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(DatastoreError, match="is full"):
        points.save(str(tmp_path / "f"))
    assert os.listdir(store.path("F/1/train/0.1/checkpoints")) == []


def test_a_step_that_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folders: list[str] = []

    class F(FlowSpec):
        @step
        def start(self):
            folders.append(current.checkpoint.directory)
            state = Path(current.checkpoint.directory, "epoch")
            self.began_at = int(state.read_text()) if current.checkpoint.is_loaded else 0
            for epoch in range(self.began_at, 5):
                if epoch == 3 and current.retry_count == 0:
                    raise RuntimeError("out of luck")
                state.write_text(str(epoch + 1))
                current.checkpoint.save(name=f"epoch-{epoch}")

    shape = plan(task("start", End(), features=(Feature("checkpoint"),)))
    lab = Lab(tmp_path, shape, F)
    lab.failed("start", 0)
    lab.task("start", 1)
    assert lab.value("start", "began_at") == 3
    assert len(set(folders)) == 2 and not any(map(os.path.exists, folders)), "working folders go with the attempt"
