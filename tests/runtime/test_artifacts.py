"""Artifacts: what is stored is what comes back; the same stays the same; what cannot be is named."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import socket
import sqlite3
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flowc.dsl.errors import ArtifactUnreadable, BadArtifact
from flowc.runtime import artifacts as artifacts_module
from flowc.runtime.artifacts import INLINE, ArtifactStore
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.pickling import OUT_OF_BAND, dump
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(FileDatastore(str(tmp_path)), "F")


def blobs(store: ArtifactStore) -> list[Path]:
    assert isinstance(store.datastore, FileDatastore)
    return sorted(path for path in Path(store.datastore.root, "F/blobs").rglob("*") if path.is_file())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner) | st.frozensets(st.text())
    ),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_stored_comes_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    store = ArtifactStore(FileDatastore(str(tmp_path_factory.getbasetemp() / "values")), "F")
    reference = store.save("x", value)
    back = store.load(reference, "x")
    assert back == value and type(back) is type(value)
    assert store.resave("x", back, reference) is reference, "what was only loaded stays the same reference"


@given(st.integers(0, 3 * OUT_OF_BAND), st.sampled_from(["f8", "i4", "u1", "c16", "S5"]), st.booleans())
def test_arrays_come_back(tmp_path_factory: pytest.TempPathFactory, size: int, kind: str, fortran: bool) -> None:
    store = ArtifactStore(FileDatastore(str(tmp_path_factory.getbasetemp() / "arrays")), "F")
    dtype = np.dtype(kind)
    array = np.frombuffer(random.Random(size).randbytes(size // dtype.itemsize * dtype.itemsize), dtype)
    if fortran:
        array = np.asfortranarray(array[: len(array) // 3 * 3].reshape(3, -1))
    back = store.load(store.save("x", array), "x")
    assert back.dtype == array.dtype and back.shape == array.shape and back.tobytes() == array.tobytes()
    assert back.flags.f_contiguous == array.flags.f_contiguous


@pytest.mark.parametrize("value", [1, "x" * 300, None, [1, 2], b"y" * 900])
def test_small_values_lie_in_the_reference(store: ArtifactStore, value: object) -> None:
    reference = store.save("x", value)
    assert set(reference) == {"type", "size", "inline"} and reference["size"] <= INLINE
    assert blobs(store) == []


def test_a_blob_is_named_by_its_bytes(store: ArtifactStore) -> None:
    array = np.arange(50_000.0)
    references = [store.save("a", array), store.save("l", list(range(1000))), store.save("b", b"z" * 500_000)]
    assert blobs(store)
    for path in blobs(store):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name and path.parent.name == path.name[:2]
    (name, size) = references[0]["buffers"][0]
    assert size == 400_000 and name == hashlib.sha256(array.tobytes()).hexdigest()
    assert references[0]["type"] == "numpy.ndarray" and references[1]["type"] == "list"
    assert references[0]["size"] > 400_000


def test_the_same_bytes_are_stored_once(store: ArtifactStore) -> None:
    first = store.save("x", np.zeros(100_000))
    before = {path: path.stat().st_mtime_ns for path in blobs(store)}
    assert store.save("y", np.zeros(100_000)) == first
    assert {path: path.stat().st_mtime_ns for path in blobs(store)} == before


def test_a_blob_cut_short_is_written_again(store: ArtifactStore) -> None:
    reference = store.save("x", list(range(1000)))
    blobs(store)[0].write_bytes(b"short")
    store.save("x", list(range(1000)))
    assert store.load(reference, "x") == list(range(1000))


def test_large_bytes_are_not_copied_for_the_pickle() -> None:
    data = b"m" * 1_000_000
    pieces, buffers = dump({"inside": data})
    assert any(piece is data for piece in pieces) and not buffers
    assert pickle.loads(b"".join(pieces)) == {"inside": data}


def test_changing_a_loaded_array_leaves_the_blob_alone(store: ArtifactStore) -> None:
    for size in (20_000, 2_000_000):  # read; mapped
        array = np.arange(float(size))
        reference = store.save("x", array)
        back = store.load(reference, "x")
        back[0] = -1
        assert store.load(reference, "x")[0] == 0
        changed = store.resave("x", back, reference)
        assert changed != reference and store.load(changed, "x")[0] == -1


def test_read_only_arrays_stay_read_only(store: ArtifactStore) -> None:
    array = np.arange(50_000)
    array.flags.writeable = False
    assert not store.load(store.save("x", array), "x").flags.writeable


def test_large_arrays_are_mapped_and_cost_nothing_until_touched(store: ArtifactStore) -> None:
    size = 100 * 1024 * 1024
    reference = store.save("x", np.zeros(size // 8))
    began = time.perf_counter()
    back = store.load(reference, "x")
    assert time.perf_counter() - began < 0.05
    assert back[-1] == 0 and back.nbytes == size


@pytest.mark.skipif(not os.path.exists("/proc/self/pagemap"), reason="the kernel does not say which pages were written")
def test_an_array_that_was_only_read_is_not_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(FileDatastore(str(tmp_path)), "F", track=True)
    reference = store.save("x", np.arange(1_000_000.0))
    back = store.load(reference, "x")
    assert back.sum() == 499999500000.0
    hashed: list[int] = []
    put = store.put
    monkeypatch.setattr(store, "put", lambda pieces: hashed.append(sum(map(len, pieces))) or put(pieces))
    assert store.resave("x", back, reference) is reference
    assert max(hashed) < 1000, "only the pickle around it was hashed"
    back[123_456] = 7
    changed = store.resave("x", back, reference)
    assert changed["buffers"] != reference["buffers"]
    assert store.load(changed, "x")[123_456] == 7


def test_a_view_of_a_mapped_array_is_stored_for_itself(tmp_path: Path) -> None:
    store = ArtifactStore(FileDatastore(str(tmp_path)), "F", track=True)
    back = store.load(store.save("x", np.arange(1_000_000.0)), "x")
    half = store.load(store.save("y", back[:600_000]), "y")
    assert half.shape == (600_000,) and half[-1] == 599_999


def test_identity_within_a_value_does_not_make_it_another(store: ArtifactStore) -> None:
    # Two equal strings that are one object after loading pickle differently than the two that they were.
    first, second = "".join(["a", "b"]), "".join(["a", "b"])
    value = {"k": types.SimpleNamespace(**{first: 1}), "l": types.SimpleNamespace(**{second: 1}), "m": [first, second]}
    reference = store.save("x", value)
    back = store.load(reference, "x")
    assert store.resave("x", back, reference) is reference
    back["m"].append(1)
    assert store.resave("x", back, reference) is not reference


def test_equal_values_stored_differently(store: ArtifactStore) -> None:
    x, y = "".join(["p", "q"]), "".join(["p", "q"])
    a, b = store.save("v", [x, x]), store.save("v", [x, y])
    assert not store.same(a, b) and not store.equal(a, b, "v"), "[x, x] may be changed through one place"
    assert store.equal(a, store.save("v", [y, y]), "v")
    assert not store.equal(store.save("v", 1), store.save("v", True), "v")


# What cannot be stored -----------------------------------------------------------------------------------------------


class Model:
    """Something with an inside."""

    def __init__(self, inner: object) -> None:
        self.fine = [1, 2]
        self.lock = inner


class Slotted:
    __slots__ = ("here", "there")

    def __init__(self, there: object) -> None:
        self.there = there


class Refuses:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def local_function() -> object:
    def inner() -> None: ...

    return inner


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (threading.Lock(), r"self\.odd is a _thread\.lock and cannot be stored\. Locks"),
        (Model(threading.Lock()), r"self\.odd cannot be stored: self\.odd\.lock is a _thread\.lock\."),
        ({"a": [1, Model(threading.RLock())]}, r"self\.odd\['a'\]\[1\]\.lock is an? _thread\.RLock"),
        (Slotted([threading.Lock()]), r"self\.odd\.there\[0\] is a _thread\.lock"),
        ({threading.Lock(): 1}, r"key <unlocked.*of self\.odd is a _thread\.lock"),
        ((i for i in range(3)), r"self\.odd is a generator .*list\(\.\.\.\)"),
        ([lambda: 1], r"self\.odd\[0\] is a lambda\. Define it at the top of a module"),
        (local_function(), r"self\.odd is the function local_function\.<locals>\.inner"),
        (sys, r"self\.odd is a module .*Import the module"),
        (io.TextIOWrapper(io.BytesIO()), r"self\.odd is an? _io\.TextIOWrapper .*path"),
        (io.BufferedReader(io.BytesIO()), r"_io\.BufferedReader"),
        (socket.socket(), r"self\.odd is a socket\.socket .*connection"),
        (sqlite3.connect(":memory:"), r"sqlite3\.Connection .*connection"),
        ([Refuses()], r"self\.odd\[0\] is a \S*Refuses\. \(RuntimeError: not me\.\)"),
        (nested(100_000), "nested too deeply"),
        (memoryview(b"x"), "memoryview"),
        (type("Local", (), {}), "the class Local"),
    ],
)
def test_what_does_not_pickle_is_named(store: ArtifactStore, value: object, said: str) -> None:
    with pytest.raises(BadArtifact, match=said):
        store.save("odd", value)
    assert blobs(store) == []


def test_a_value_that_contains_itself_and_a_lock(store: ArtifactStore) -> None:
    value: list[Any] = [1]
    value.append(value)
    assert store.load(store.save("ring", value), "ring")[1][0] == 1
    value.append(threading.Lock())
    with pytest.raises(BadArtifact, match=r"self\.ring\[2\] is a _thread\.lock"):
        store.save("ring", value)


# What cannot be loaded -----------------------------------------------------------------------------------------------


def test_a_damaged_pickle_is_told_and_set_aside(store: ArtifactStore) -> None:
    reference = store.save("x", list(range(1000)))
    (blob,) = blobs(store)
    data = bytearray(blob.read_bytes())
    data[500] ^= 1
    blob.write_bytes(data)
    with pytest.raises(ArtifactUnreadable) as caught:
        store.load(reference, "x")
    for said in ("self.x", str(blob), blob.name, hashlib.sha256(data).hexdigest(), "run the step"):
        assert said in str(caught.value)
    assert [path.name for path in blobs(store)] == [f"{blob.name}.damaged"]
    with pytest.raises(ArtifactUnreadable, match=f"{blob.name} is missing"):
        store.load(reference, "x")
    store.save("x", list(range(1000)))
    assert store.load(reference, "x") == list(range(1000))


def test_a_damaged_buffer_is_told(store: ArtifactStore) -> None:
    reference = store.save("x", np.arange(50_000))
    name = reference["buffers"][0][0]
    (blob,) = [path for path in blobs(store) if path.name == name]
    data = blob.read_bytes()
    blob.write_bytes(data[:-8] + b"\1" * 8)
    with pytest.raises(ArtifactUnreadable, match="its SHA-256 is"):
        store.load(reference, "x")
    blob.write_bytes(data[:-8])
    with pytest.raises(ArtifactUnreadable, match="399992 bytes instead of 400000"):
        store.load(reference, "x")


def test_very_large_buffers_are_hashed_only_if_asked(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts_module, "VERIFY", 100_000)
    reference = store.save("x", np.arange(50_000))
    (blob,) = [path for path in blobs(store) if path.name == reference["buffers"][0][0]]
    data = bytearray(blob.read_bytes())
    data[0] = 9
    blob.write_bytes(data)
    assert store.load(reference, "x")[0] == 9
    monkeypatch.setenv("FLOWC_VERIFY", "full")
    with pytest.raises(ArtifactUnreadable, match="SHA-256"):
        store.load(reference, "x")


def test_a_missing_module_is_named(store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone_soon.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import gone_soon  # type: ignore[import-not-found]

    reference = store.save("thing", gone_soon.Thing())
    del gone_soon.Thing
    with pytest.raises(ArtifactUnreadable, match=r"self\.thing \(gone_soon\.Thing\).*its class is not where it was"):
        store.load(reference, "thing")
    monkeypatch.delitem(sys.modules, "gone_soon")
    (tmp_path / "gone_soon.py").unlink()
    import importlib

    importlib.invalidate_caches()
    with pytest.raises(ArtifactUnreadable, match="needs the module 'gone_soon'"):
        store.load(reference, "thing")


class Breaks:
    def __setstate__(self, state: object) -> None:
        raise ValueError("cannot come back")

    def __getstate__(self) -> object:
        return 1


def test_code_that_fails_while_loading_is_told(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactUnreadable, match="ValueError: cannot come back"):
        store.load(store.save("x", Breaks()), "x")


# Items of a foreach ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(st.lists(VALUES, min_size=1, max_size=12))
def test_each_item_comes_back_by_itself(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    store = ArtifactStore(FileDatastore(str(tmp_path_factory.getbasetemp() / "items")), "F")
    items = store.save_items("xs", values)
    assert items["count"] == len(values)
    assert [store.load_item(items, i, "xs") for i in range(len(values))] == values


def test_many_and_large_items(store: ArtifactStore) -> None:
    values = [np.full(20_000, float(i)) if i % 500 == 0 else f"item {i}" for i in range(3000)]
    items = store.save_items("xs", values)
    for i in (0, 1, 499, 500, 2500, 2999):
        got = store.load_item(items, i, "xs")
        assert np.array_equal(got, values[i]) if i % 500 == 0 else got == values[i]


def test_an_item_that_does_not_pickle_is_named(store: ArtifactStore) -> None:
    with pytest.raises(BadArtifact, match=r"self\.xs\[1\] is a lambda"):
        store.save_items("xs", [1, lambda: 2])


@pytest.mark.parametrize("damage", ["magic", "table", "item", "short", "gone"])
def test_damaged_items_are_told(store: ArtifactStore, damage: str) -> None:
    items = store.save_items("xs", ["a" * 50, "b" * 50, "c" * 50])
    (blob,) = blobs(store)
    data = bytearray(blob.read_bytes())
    place = {"magic": 0, "table": 24, "item": len(data) - 5}.get(damage)
    if place is not None:
        data[place] ^= 0x80
        blob.write_bytes(data)
    elif damage == "short":
        blob.write_bytes(data[:-10])
    else:
        blob.unlink()
    with pytest.raises(ArtifactUnreadable, match=r"item 2 of self\.xs.*(damaged|missing)|item 1 of self\.xs"):
        store.load_item(items, 1, "xs") if damage == "table" else store.load_item(items, 2, "xs")
