"""The file datastore: whole values or none, and errors that say what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flowc.runtime.datastore import DatastoreError, FileDatastore, open_datastore
from flowc.runtime.datastore import file as file_module


@pytest.fixture
def store(tmp_path: Path) -> FileDatastore:
    return FileDatastore(str(tmp_path / "store"))


def everything(store: FileDatastore) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in Path(store.root).rglob("*") if path.is_file())


def test_values(store: FileDatastore) -> None:
    assert not os.path.exists(store.root), "nothing is made before something is written"
    store.write("a/b/c", b"one")
    store.write("a/b/c", b"two!")
    store.put("a/b/d", [b"x", bytearray(b"yz"), memoryview(b"0123")[1:3]])
    assert (store.read("a/b/c"), store.read("a/b/d"), store.size("a/b/c")) == (b"two!", b"xyz12", 4)
    assert store.read_part("a/b/d", 1, 3) == b"yz1"
    assert store.exists("a/b/c") and store.exists("a") and not store.exists("a/b/e")
    assert sorted(store.list("a/b")) == ["c", "d"]
    assert store.list("nowhere") == () and store.list("a/b/c") == ()
    assert everything(store) == ["a/b/c", "a/b/d"]


def test_absent_keys(store: FileDatastore) -> None:
    for ask in (store.read, store.size, store.map, lambda key: store.read_part(key, 0, 1)):
        with pytest.raises(FileNotFoundError):
            ask("a/b")


def test_hidden_names_are_not_listed(store: FileDatastore) -> None:
    store.write("a/.hidden", b"")
    store.write("a/seen", b"")
    assert store.list("a") == ("seen",)


def test_all_keys_below_a_folder(store: FileDatastore) -> None:
    for key in ("a/x", "a/b/c/y", "a/b/.hidden", "ab/z"):
        store.write(key, b"")
    store.create_folder("a/empty")
    assert sorted(store.walk("a")) == ["b/.hidden", "b/c/y", "empty/", "x"]
    assert sorted(store.walk("")) == ["a/b/.hidden", "a/b/c/y", "a/empty/", "a/x", "ab/z"]
    assert list(store.walk("nowhere")) == list(store.walk("a/x")) == []


def test_only_one_can_create(store: FileDatastore) -> None:
    assert store.create("a/k", b"first")
    assert not store.create("a/k", b"second")
    assert store.read("a/k") == b"first"
    assert store.create_folder("b/1")
    assert not store.create_folder("b/1")
    assert everything(store) == ["a/k"]


def test_a_map_is_private_and_lazy(store: FileDatastore) -> None:
    store.write("k", b"x" * 10_000)
    view = store.map("k")
    view[0:3] = b"abc"
    assert store.read("k") == b"x" * 10_000
    assert bytes(view[:4]) == b"abcx"
    store.write("empty", b"")
    assert bytes(store.map("empty")) == b""


def test_maps_beyond_the_limit_of_open_files(tmp_path: Path) -> None:
    script = """
import resource, sys
from flowc.runtime.datastore import FileDatastore
resource.setrlimit(resource.RLIMIT_NOFILE, (40, int(sys.argv[2])))
store = FileDatastore(sys.argv[1])
store.write("k", b"y" * 9000)
views = [store.map("k") for _ in range(100)]
views[99][0:1] = b"z"
assert all(bytes(view[1:]) == b"y" * 8999 for view in views)
"""
    for hard in ("40", "200"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path), hard], check=True)


def test_large_values_are_written_in_chunks(store: FileDatastore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "_CHUNK", 1000)
    data = os.urandom(12_345)
    store.write("big", data)
    store.put("views", [memoryview(data)[:5000], bytearray(data[5000:])])
    assert store.read("big") == data and store.read("views") == data


def test_short_writes_go_on(store: FileDatastore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(file_module.os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    store.write("k", b"0123456789" * 5)
    assert store.read("k") == b"0123456789" * 5


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "is full.*free some space"),
        (errno.EDQUOT, "is full"),
        (errno.EROFS, "read-only file system"),
        (errno.EACCES, "no permission to write"),
        (errno.EIO, "check the file system"),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "replace"])
def test_what_goes_wrong_is_told_and_leaves_nothing(
    code: int, said: str, call: str, store: FileDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("a/k", b"before")

    def fails(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(file_module.os, call, fails)
        with pytest.raises(DatastoreError, match=said) as caught:
            store.write("a/k", b"after")
    assert "--datastore" in str(caught.value) and store.root in str(caught.value)
    assert store.read("a/k") == b"before"
    assert everything(store) == ["a/k"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FileDatastore(str(tmp_path / "file"))
    with pytest.raises(DatastoreError, match="a file stands where a folder should be"):
        store.write("a/k", b"")
    with pytest.raises(DatastoreError, match="a file stands where"):
        FileDatastore(str(tmp_path)).create_folder("file")
    with pytest.raises(DatastoreError, match="is no folder"):
        open_datastore(str(tmp_path / "file"))


def test_a_killed_writer_leaves_no_value(store: FileDatastore) -> None:
    store.write("a/k", b"before")
    pid = os.fork()
    if not pid:
        file_module.os.replace = lambda *_: os._exit(9)  # type: ignore[assignment]
        store.write("a/k", b"after")
        os._exit(0)
    os.waitpid(pid, 0)
    assert store.read("a/k") == b"before" and store.list("a") == ("k",)
    assert len(everything(store)) == 2, "what it had written lies there under another name"
    assert store.sweep("") == 0, "it might still be at it"
    assert store.sweep("", older_than=0) == 1
    assert everything(store) == ["a/k"]


def test_sweeping_folders(store: FileDatastore) -> None:
    store.write("a/.1-2.tmp/inner", b"")
    os.utime(Path(store.root, "a/.1-2.tmp"), (time.time() - 7200,) * 2)
    assert store.sweep("a") == 1
    assert everything(store) == []


def test_setting_aside_and_removing(store: FileDatastore) -> None:
    store.write("a/k", b"bad")
    store.set_aside("a/k")
    store.set_aside("a/absent")
    assert everything(store) == ["a/k.damaged"]
    store.remove_tree("a")
    store.remove_tree("a")
    assert not store.exists("a")


def test_where_a_datastore_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWC_DATASTORE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_datastore().path("x") == f"{tmp_path}/.flowc/x"
    monkeypatch.setenv("FLOWC_DATASTORE", "by_env")
    assert open_datastore().path("x") == f"{tmp_path}/by_env/x"
    for url, path in (
        ("here", f"{tmp_path}/here"),
        (f"file://{tmp_path}/a%20b", f"{tmp_path}/a b"),
        ("file://localhost/x", "/x"),
        ("~/runs", f"{tmp_path}/home/runs"),
    ):
        assert open_datastore(url).path("k") == f"{path}/k"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["gopher://x", "file://relative/x", "file://"])
def test_urls_that_are_no_datastore(url: str) -> None:
    with pytest.raises(DatastoreError, match="is no datastore"):
        open_datastore(url)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_create_without_hard_links(store: FileDatastore, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def link(source: str, target: str) -> None:
        raise OSError(code, os.strerror(code), source)

    monkeypatch.setattr(os, "link", link)
    assert store.create("a/b", b"one")
    assert not store.create("a/b", b"two")
    assert store.read("a/b") == b"one"
    assert store.list("a") == ("b",)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: store.create("a/c", b"%d" % number * 100_000), range(16)))
    assert won.count(True) == 1
    assert store.read("a/c") == b"%d" % won.index(True) * 100_000
    assert not [name for name in everything(store) if name.endswith(".tmp")]
