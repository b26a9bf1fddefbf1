"""Where DeepSpeed's operators are compiled: apart from all other attempts, and only once for all that end well."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.frameworks import torch_extensions
from flowc.runtime.frameworks.base import Site
from flowc.runtime.gang import Member


class Gang:
    """A gang of which each rank has said already where its folder is."""

    def __init__(self, rank: int, folders: list[Path], addresses: list[str]) -> None:
        self.rank = rank
        self.members = [Member(number, at, at) for number, at in enumerate(addresses)]
        self.folders = folders

    def allgather(self, value: Any) -> list[Any]:
        return [value if rank == self.rank else str(f / "torch-extensions") for rank, f in enumerate(self.folders)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(torch_extensions.VARIABLE, raising=False)


def attempt(tmp_path: Path, name: str, rank: int = 0, addresses: tuple[str, ...] = ("a",)) -> Any:
    folders = [tmp_path / f"{name}-{number}" for number in range(len(addresses))]
    folders[rank].mkdir(exist_ok=True)
    gang: Any = Gang(rank, folders, list(addresses))
    return torch_extensions.extensions(Site(gang, {}, str(folders[rank])))


def compile_one(folder: str, text: str, name: str = "comm") -> Path:
    place = Path(folder) / name
    place.mkdir(exist_ok=True)
    (place / f"{name}.so").write_text(text)
    (place / "build.ninja").write_text("how")
    return place


def test_what_one_attempt_compiled_the_next_one_has_and_may_change(tmp_path: Path) -> None:
    with attempt(tmp_path, "first") as where:
        assert os.listdir(where["TORCH_EXTENSIONS_DIR"]) == []
        made = compile_one(where["TORCH_EXTENSIONS_DIR"], "one")
        times = made.joinpath("comm.so").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "first-0")
    with attempt(tmp_path, "second") as where:
        found = Path(where["TORCH_EXTENSIONS_DIR"], "comm")
        # The times are what ninja goes by.
        assert (found / "comm.so").read_text() == "one" and (found / "comm.so").stat().st_mtime_ns == times
        compile_one(where["TORCH_EXTENSIONS_DIR"], "two")
        with attempt(tmp_path, "beside") as beside:  # at the same time
            assert Path(beside["TORCH_EXTENSIONS_DIR"], "comm", "comm.so").read_text() == "one"
    with attempt(tmp_path, "third") as where:
        assert Path(where["TORCH_EXTENSIONS_DIR"], "comm", "comm.so").read_text() == "two"
    (store,) = (tmp_path / "cache/flowc/torch-extensions").iterdir()
    assert [path.name for path in store.iterdir()] == ["comm"]


def test_what_a_killed_process_was_at_is_not_handed_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError), attempt(tmp_path, "first") as where:
        compile_one(where["TORCH_EXTENSIONS_DIR"], "whole", "whole")
        compile_one(where["TORCH_EXTENSIONS_DIR"], "half", "half").joinpath("lock").touch()
        raise ValueError("it failed")
    with attempt(tmp_path, "second") as where:
        assert os.listdir(where["TORCH_EXTENSIONS_DIR"]) == ["whole"]


def test_the_ranks_of_a_host_share_a_folder(tmp_path: Path) -> None:
    addresses = ("a", "b", "a", "b")
    with ExitStack() as ranks:
        found = [ranks.enter_context(attempt(tmp_path, "gang", rank, addresses)) for rank in range(4)]
        own = [str(tmp_path / f"gang-{rank}" / "torch-extensions") for rank in (0, 1, 0, 1)]
        assert [where["TORCH_EXTENSIONS_DIR"] for where in found] == own
        compile_one(own[0], "a")
    with attempt(tmp_path, "next") as where:
        assert os.listdir(where["TORCH_EXTENSIONS_DIR"]) == ["comm"]


def test_what_the_user_says_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", "/where/the/user/wants/it")
    with attempt(tmp_path, "first") as where:
        assert where == {}
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("which", ["flowc", "flowc/torch-extensions"])
def test_a_store_that_others_could_write_to_is_not_used(which: str, tmp_path: Path) -> None:
    with attempt(tmp_path, "first") as where:
        compile_one(where["TORCH_EXTENSIONS_DIR"], "one")
    (tmp_path / "cache" / which).chmod(0o777)
    with attempt(tmp_path, "second") as where:
        assert os.listdir(where["TORCH_EXTENSIONS_DIR"]) == []


def test_without_a_place_to_keep_them_they_are_compiled_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such/place")
    with attempt(tmp_path, "first") as where:
        compile_one(where["TORCH_EXTENSIONS_DIR"], "one")
