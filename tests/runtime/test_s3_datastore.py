"""The datastore in a bucket, against a server that speaks S3's language."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flowc.dsl.current import current_values
from flowc.runtime import checkpoint_watch
from flowc.runtime.address import Address
from flowc.runtime.checkpoint import Checkpoints
from flowc.runtime.datastore import DatastoreError, open_datastore
from flowc.runtime.datastore.s3 import S3Datastore
from flowc.runtime.runs import RunInfo
from s3_server import s3_server

pytestmark = pytest.mark.slow

boto3 = pytest.importorskip("boto3")


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture
def store(server: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{abs(hash(request.node.name)) % 10**9}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return open_datastore(f"s3://{bucket}/some/prefix/")


def test_bytes_under_keys(store: Any) -> None:
    store.write("F/1/run.json", b"{}")
    store.put("F/1/big", [b"ab", bytearray(b"cd"), memoryview(b"ef")])
    store.write_private("F/1/secret", b"s")
    assert store.read("F/1/run.json") == b"{}" and store.read("F/1/big") == b"abcdef"
    assert store.size("F/1/big") == 6
    assert [store.read_part("F/1/big", *part) for part in ((0, 2), (4, 9), (6, 1), (1, 0))] == [b"ab", b"ef", b"", b""]
    assert store.exists("F/1/run.json") and store.exists("F/1") and store.exists("F") and not store.exists("F/2")
    assert not store.exists("F/1/run")
    assert sorted(store.list("F/1")) == ["big", "run.json", "secret"] and store.list("") == ("F",)
    assert store.list("G") == ()
    view = store.map("F/1/big")
    view[0:1] = b"x"
    assert bytes(view) == b"xbcdef" and store.read("F/1/big") == b"abcdef"
    store.write("F/1/none", b"")
    assert bytes(store.map("F/1/none")) == b""
    for ask in (store.read, store.size, store.map):
        with pytest.raises(FileNotFoundError):
            ask("F/absent")
    assert sorted(store.walk("F/1")) == ["big", "none", "run.json", "secret"]
    store.set_aside("F/1/big")
    assert sorted(store.list("F/1")) == ["big.damaged", "none", "run.json", "secret"]
    store.set_aside("F/1/absent")
    store.remove_tree("F/1")
    assert store.list("F/1") == () and store.sweep("F") == 0


def test_only_one_creates_a_key(store: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: store.create("F/lock", str(number).encode()), range(8)))
    assert made.count(True) == 1 and store.read("F/lock") == str(made.index(True)).encode()
    assert store.create_folder("F/1") and not store.create_folder("F/1")
    assert store.exists("F/1") and store.list("F/1") == ()


@pytest.mark.slow
def test_many_keys_are_listed_and_removed(store: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.write(f"F/work/{number}/record.json", b"x"), range(1005)))
    assert len(store.list("F/work")) == 1005
    assert sorted(store.walk("F")) == sorted(f"work/{number}/record.json" for number in range(1005))
    assert list(store.walk("F/wor")) == []
    store.remove_tree("F")
    assert not store.exists("F")


@pytest.mark.slow
def test_a_large_object_goes_in_parts(store: Any) -> None:
    piece = bytes(range(256)) * 4 * 1024 * 36
    store.put("F/large", [piece, b"", piece])
    assert store.size("F/large") == 2 * len(piece) > 64 * 1024 * 1024
    assert store.read_part("F/large", len(piece) - 2, 4) == piece[-2:] + piece[:2]


@pytest.mark.slow
def test_a_run_in_a_bucket(store: Any, server: dict[str, str], tmp_path: Path) -> None:
    from flowc.compiler import compile_flow

    flow = tmp_path / "flow.py"
    flow.write_text(
        "from flowc import FlowSpec, Parameter, step\n\nclass Bucket(FlowSpec):\n"
        "    n = Parameter('n', type=int, default=1)\n\n"
        "    @step\n    def start(self):\n        self.got = 'x' * 5000\n"
        "        print('hello')\n        self.next(self.end)\n\n    @step\n    def end(self):\n"
        "        assert len(self.got) == 5000\n        print(self.n)\n"
    )
    plan = compile_flow(str(flow)).plan
    assert plan is not None
    (tmp_path / "plan.json").write_text(plan.dumps())
    env = {**os.environ, **server, "FLOWC_DATASTORE": store.url, "FLOWC_FLOW_NAME": "Bucket"}
    env |= {"FLOWC_RUN_ID": "bucket-1", "FLOWC_FLOW_FILE": str(flow), "FLOWC_LOGS": "tee", "FLOWC_TARGET": "argo"}
    first = {"FLOWC_PLAN": str(tmp_path / "plan.json"), "FLOWC_PARAMETERS": '{"n": "7"}'}
    for arguments, more in ((["step", "start"], first), (["step", "end"], {}), (["end", "--status", "Succeeded"], {})):
        command = [sys.executable, "-m", "flowc.runtime", *arguments]
        done = subprocess.run(command, env={**env, **more}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert store.read("Bucket/bucket-1/end/_/0/stdout.log") == b"7\n"
    assert b'"state": "done"' in store.read("Bucket/bucket-1/status.json")


def checkpoints(store: Any, where: str = "train/0.1", **options: Any) -> Checkpoints:
    run = RunInfo("F", str(options.pop("run", 1)), {}, origin_run_id=options.pop("origin", None))
    return Checkpoints(store, run, Address.parse(where), 0, options)


def test_checkpoints_in_a_bucket(store: Any, tmp_path: Path) -> None:
    points = checkpoints(store)
    assert points.latest is None and points.load() is None and points.list() == ()
    (tmp_path / "model/deep/none").mkdir(parents=True)
    (tmp_path / "model/deep/weights").write_bytes(b"one")
    (tmp_path / "model/empty").write_bytes(b"")
    (tmp_path / "model/run.sh").write_bytes(b"#!")
    (tmp_path / "model/run.sh").chmod(0o755)
    saved = points.save(str(tmp_path / "model"), name="best")
    assert saved == f"{store.url}/F/1/train/0.1/checkpoints/000001-best"
    (tmp_path / "f").write_bytes(b"two")
    points.save(tmp_path / "f")  # type: ignore[arg-type]
    assert [(p.number, p.name) for p in points.list()] == [(1, "best"), (2, "")]
    assert points.latest is not None and Path(points.latest).read_bytes() == b"two"
    folder = Path(points.load(name="best") or "")
    assert (folder / "deep/weights").read_bytes() == b"one" and (folder / "deep/none").is_dir()
    assert (folder / "empty").read_bytes() == b"" and os.access(folder / "run.sh", os.X_OK)
    assert points.load(str(tmp_path / "copy"), name="best") == str(tmp_path / "copy")
    assert (tmp_path / "copy/deep/weights").read_bytes() == b"one"
    points.close()
    assert not folder.exists()
    again = checkpoints(store)
    Path(again.directory, "epoch").write_text("3")
    assert again.is_loaded and Path(again.directory, "f").read_bytes() == b"two"
    again.save()
    assert sorted(os.listdir(Path(checkpoints(store).latest or ""))) == ["epoch", "f"]
    again.close()
    resumed = checkpoints(store, run=2, origin="1", load_policy="eager")
    assert checkpoints(store, run=2, origin="1").latest is None
    assert resumed.latest is not None and resumed.latest.number == 3
    resumed.close()


def test_a_save_to_a_bucket_that_is_cut_off_is_never_loaded(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    for name in ("a", "b"):
        (tmp_path / "model" / name).write_text(name)
    points = checkpoints(store)
    points.save(str(tmp_path / "model"))
    real, puts = store.put, []

    def cut_off(key: str, pieces: Any) -> None:
        puts.append(key)
        if len(puts) == 2:
            raise KeyboardInterrupt
        real(key, pieces)

    monkeypatch.setattr(store, "put", cut_off)
    with pytest.raises(KeyboardInterrupt):
        points.save(str(tmp_path / "model"))
    monkeypatch.setattr(store, "put", real)
    assert [p.number for p in points.list()] == [1]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: checkpoints(store).save(str(tmp_path / "model")), range(4)))
    assert [p.number for p in points.list()] == [1, 2, 3, 4, 5]
    assert all(sorted(os.listdir(p)) == ["a", "b"] for p in points.list())
    points.close()


def objects(store: Any) -> int:
    return sum(page["KeyCount"] for page in store._list(store.prefix))


def test_what_a_program_leaves_is_saved_in_a_bucket_while_it_runs(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes the place of the one before, and a file that becomes shorter meanwhile ends no process."""
    for name, seconds in {"LOOK": 0.02, "APART": 0.1, "QUIET_IF_SMALL": 0.2}.items():
        monkeypatch.setattr(checkpoint_watch, name, seconds)
    points = checkpoints(store, temp_dir_root=str(tmp_path))
    state, real = Path(points.directory, "state"), store.put

    def put(key: str, pieces: Any) -> None:
        monkeypatch.setattr(store, "put", real)
        whole = state.read_text()
        state.write_text("")
        real(key, pieces)
        state.write_text(whole)

    def saved() -> str:
        reader = checkpoints(store)
        try:
            return "" if reader.latest is None else Path(reader.latest, "state").read_text()
        except FileNotFoundError:  # another has just taken its place
            return ""
        finally:
            reader.close()

    with current_values({"checkpoint": points}), checkpoint_watch.saved_while_it_runs():
        for text in ("one" * 10_000, "two", "three"):
            monkeypatch.setattr(store, "put", put)
            state.write_text(text)
            deadline = time.monotonic() + 20.0
            while saved() != text:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    state.write_text("four")
    points.save()
    (newest,) = points.list()
    assert newest.number == 1 and Path(newest, "state").read_text() == "four"
    assert objects(store) == 2, "the entry, and its one file"
    points.close()
    assert list(tmp_path.iterdir()) == []


def test_errors_say_what_to_do(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatastoreError, match="there is no bucket not-there"):
        S3Datastore("s3://not-there/x").write("a", b"")
    with pytest.raises(DatastoreError, match="names no bucket"):
        open_datastore("s3:///x")
    with pytest.raises(DatastoreError, match="no file of this machine"):
        store.path("a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(DatastoreError, match="check the network"):
        S3Datastore(store.url).read("a")


def test_without_boto3(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['boto3'] = None\nfrom flowc.runtime.datastore import DatastoreError, open_datastore\n"
        "try:\n    open_datastore('s3://b/x').read('a')\nexcept DatastoreError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    assert said == "the datastore s3://b/x needs boto3: pip install boto3\n"
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "FLOWC_RUN_ID": "1", "FLOWC_SCRATCH": str(tmp_path)}
    said = subprocess.run(command, env={**os.environ, **pip}, capture_output=True, text=True).stdout
    assert "which is not in the image; boto3 could not be installed; take an image that has" in said
