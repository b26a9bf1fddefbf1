"""Logs that are sent to a datastore without files while the task writes them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime import logs
from flowc.runtime.datastore import DatastoreError, FileDatastore

FOLDER = "F/1/a/_/0"


class Bucket(FileDatastore):
    """A datastore that has no files for others, and notes what is put into it."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.sizes: list[int] = []
        self.open = threading.Event()
        self.open.set()

    def path(self, key: str) -> str:
        raise DatastoreError("no file of this machine")

    def put(self, key: str, pieces: Sequence[Any], mode: int = 0o666) -> None:
        self.open.wait(30)
        super().put(key, pieces, mode)
        self.sizes.append(sum(map(len, pieces)))


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(str(tmp_path))


def becomes(there: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not there() and time.monotonic() < until:
        time.sleep(0.01)
    return there()


def test_who_writes_never_waits_for_the_store(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_EVERY", 0.01)
    out, err = logs.copies(bucket, FOLDER)
    bucket.open.clear()
    began = time.monotonic()
    for number in range(20):
        out.write(b"%d\n" % number * 1000)
        out.flush()
        time.sleep(0.01)
    assert time.monotonic() - began < 5 and not bucket.sizes
    bucket.open.set()
    out.close()
    err.close()
    assert bucket.read(f"{FOLDER}/stdout.log") == b"".join(b"%d\n" % number * 1000 for number in range(20))
    assert not bucket.exists(f"{FOLDER}/stderr.log")


@pytest.mark.slow
def test_the_output_of_a_task_is_copied_while_the_store_is_slow(tmp_path: Path) -> None:
    script = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from flowc.runtime import logs
from flowc.runtime.first_process import attend
from test_sent_logs import Bucket
logs._EVERY = 0.1
bucket = Bucket(sys.argv[1])
real = bucket.put
bucket.put = lambda *all: (time.sleep(4), real(*all))
attend(logs.copies(bucket, "x"))
began = time.monotonic()
for _ in range(40):
    print("x" * 50_000, flush=True)
    time.sleep(0.01)
print("took", time.monotonic() - began, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 3
    assert (tmp_path / "x/stdout.log").read_text() == done.stdout


def test_what_a_quiet_task_wrote_is_sent(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_EVERY", 0.05)
    out, _ = logs.copies(bucket, FOLDER)
    out.write(b"one\n")
    out.flush()
    assert becomes(lambda: bucket.sizes == [4])
    time.sleep(0.2)
    assert bucket.sizes == [4]
    out.write(b"two\n")
    out.flush()
    assert becomes(lambda: bucket.sizes == [4, 8])
    out.close()
    assert bucket.sizes == [4, 8] and bucket.read(f"{FOLDER}/stdout.log") == b"one\ntwo\n"


@pytest.mark.parametrize(("name", "value", "takes"), [("_RATE", 10, 0.0), ("_TIMES_AS_LONG", 1000, 0.05)])
def test_what_takes_much_is_sent_less_often(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, name: str, value: int, takes: float
) -> None:
    monkeypatch.setattr(logs, "_EVERY", 0.02)
    monkeypatch.setattr(logs, name, value)
    real = bucket.put
    monkeypatch.setattr(bucket, "put", lambda *all: (time.sleep(takes), real(*all)))
    out, _ = logs.copies(bucket, FOLDER)
    out.write(b"x" * 1000)
    assert becomes(lambda: bucket.sizes == [1000])
    out.write(b"y")
    time.sleep(0.5)
    assert bucket.sizes == [1000]
    out.close()
    assert bucket.sizes == [1000, 1001]


def test_of_a_large_log_the_beginning_and_the_end_are_kept(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_BLOCK", 1000)
    out, _ = logs.copies(bucket, FOLDER)
    whole = b"".join(b"line %d\n" % number for number in range(30_000))
    for at in range(0, len(whole), 777):
        out.write(whole[at : at + 777])
    out.close()
    assert bucket.sizes[-1] < 64_100
    first, _, rest = bucket.read(f"{FOLDER}/stdout.log").partition(b"\n[flowc: ")
    count, _, last = rest.partition(b" bytes are left out here]\n")
    assert len(first) == 16_000 and whole.startswith(first)
    assert len(last) > 47_000 and whole.endswith(last)
    assert len(first) + int(count) + len(last) == len(whole)


def test_without_a_thread_it_is_sent_at_the_end(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(logs, "_EVERY", 0.0)
    monkeypatch.setattr(threading.Thread, "start", none_left)
    out, _ = logs.copies(bucket, FOLDER)
    out.write(b"one\n")
    out.write(b"two\n")
    assert not bucket.sizes
    out.close()
    assert bucket.read(f"{FOLDER}/stdout.log") == b"one\ntwo\n"


def test_a_store_that_fails_is_asked_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_EVERY", 0.02)
    real, tries = bucket.put, []

    def fails(*all: Any) -> None:
        tries.append(all)
        if len(tries) < 3:
            raise DatastoreError("not now")
        real(*all)

    monkeypatch.setattr(bucket, "put", fails)
    out, _ = logs.copies(bucket, FOLDER)
    out.write(b"one\n")
    assert becomes(lambda: bucket.sizes == [4])
    out.close()
    assert len(tries) == 3


def test_the_last_lines_of_a_large_log_are_read_alone(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.write(f"{FOLDER}/stderr.log", b"".join(b"line %d\n" % number for number in range(10_000)))
    monkeypatch.setattr(bucket, "read", None)
    assert logs.said_last(bucket, FOLDER) == tuple(f"line {number}" for number in range(9_980, 10_000))
