"""Where DeepSpeed's operators are compiled: apart from all other attempts, and only once for all that end well."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
from contextlib import ExitStack
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, NoReturn

import pytest
from flowc.runtime.frameworks import deepspeed, torch_extensions
from flowc.runtime.frameworks.base import FrameworkMissing, Site
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


@pytest.mark.parametrize("relative", [False, True])
def test_who_has_no_home_keeps_nothing_in_the_current_folder(
    relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache" if relative else "")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert torch_extensions.own_store() is None and list(tmp_path.iterdir()) == []


# Without a compiler ---------------------------------------------------------------------------------------------------


@pytest.fixture
def _nothing_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None))


@pytest.mark.usefixtures("_nothing_on_the_path")
def test_a_node_without_gpu_and_compiler_is_told_before_the_gang_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FrameworkMissing, match=r"there is no C\+\+ compiler c\+\+ .*`apt-get install g\+\+`"):
        deepspeed.FRAMEWORK.require({})
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(FrameworkMissing, match=r"no C\+\+ compiler no-such-compiler"):
        deepspeed.FRAMEWORK.require({})


@pytest.mark.usefixtures("_nothing_on_the_path")
@pytest.mark.parametrize("has", ["gpu", "compiler", "compiled", "own folder", "installed"])
def test_who_has_no_need_to_compile_needs_no_compiler(
    has: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = "deepspeed_shm_comm"
    if has == "gpu":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    elif has == "compiler":
        (tmp_path / "bin" / "c++").touch(0o755)
    elif has == "compiled":
        with attempt(tmp_path, "first") as where:
            compile_one(where["TORCH_EXTENSIONS_DIR"], "one", operator)
    elif has == "own folder":
        monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
        compile_one(str(tmp_path), "one", operator)
    else:
        spec = ModuleSpec("deepspeed", None, is_package=True)
        spec.submodule_search_locations = [str(tmp_path / "deepspeed")]
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
        (tmp_path / "deepspeed" / "ops" / "comm").mkdir(parents=True)
        (tmp_path / "deepspeed" / "ops" / "comm" / f"{operator}_op.cpython-311-x86_64-linux-gnu.so").touch()
    deepspeed.FRAMEWORK.require({})
