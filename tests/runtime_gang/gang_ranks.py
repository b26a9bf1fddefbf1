"""Ranks as processes of this test: each runs :func:`flowc.runtime.gang.supervise` in a fork of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowc.runtime import processes
from flowc.runtime.gang import GangFailure, Limits, Membership, supervise
from flowc.runtime.gang.ports import candidate_ports
from flowc.runtime.gang.wire import GangName

TOKEN = b"a token that only the tests know"
QUICK = Limits(timeout=20.0, heartbeat=0.2, silence=1.5, grace=0.5, preempt_grace=1.0, handshake=2.0)


@dataclass
class Rank:
    """One rank's process and what it left."""

    rank: int
    pid: int
    folder: Path
    started: float
    status: int | None = None
    ended: float = 0.0

    @property
    def code(self) -> int:
        assert self.status is not None
        return os.waitstatus_to_exitcode(self.status)

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / f"{self.rank}.result").read_text())

    @property
    def failure(self) -> GangFailure | None:
        data = self.result["failure"]
        return None if data is None else GangFailure.from_json(data)

    @property
    def out(self) -> str:
        return (self.folder / f"{self.rank}.out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / f"{self.rank}.err").read_text()

    @property
    def body(self) -> int:
        """Process id of the rank's body, once it runs."""
        return int(wait_for(self.folder / f"{self.rank}.body", lambda path: path.read_text()))


@dataclass
class Ranks:
    """A gang's ranks, on loopback."""

    size: int
    folder: Path
    run: str
    attempt: int = 0
    port: int | None = None
    main: str = "127.0.0.1"
    limits: Limits = QUICK
    token: bytes = TOKEN
    ranks: dict[int, Rank] = field(default_factory=dict)

    @property
    def ports(self) -> tuple[int, ...]:
        """Where the control rank may listen."""
        return candidate_ports(GangName(self.run, "train/0", self.attempt), self.port)

    def start(self, rank: int, body: Any, **changes: Any) -> Rank:
        """Fork the process of one rank; ``changes`` go before what the gang has (token, attempt, size, ...)."""
        values = {**vars(self), **changes}
        membership = Membership(values["size"], rank, values["main"], values["attempt"], values["port"])
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                os.setpgid(0, 0)
                for number, name in ((1, "out"), (2, "err")):
                    os.dup2(os.open(self.folder / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
                result = supervise(
                    membership,
                    values["token"],
                    self._told(rank, body) if callable(body) else body,
                    run=values["run"],
                    address="train/0",
                    limits=values["limits"],
                    host=f"host{rank}",
                    slots=rank + 1,
                    lack=values.get("lack", ""),
                    log=lambda line: os.write(2, f"log: {line}\n".encode()),
                )
                failure = None if result.failure is None else result.failure.to_json()
                text = json.dumps({"code": result.code, "failure": failure, "preempted": result.preempted})
                (self.folder / f"{rank}.result").write_text(text)
                code = result.code
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(code)
        self.ranks[rank] = Rank(rank, pid, self.folder, time.monotonic())
        return self.ranks[rank]

    def start_all(self, body: Any) -> None:
        for rank in range(self.size):
            self.start(rank, body)

    def _told(self, rank: int, body: Callable[..., Any]) -> Callable[..., Any]:
        def told(gang: Any) -> Any:
            place = self.folder / f"{rank}.body"
            place.with_suffix(".part").write_text(str(os.getpid()))
            place.with_suffix(".part").rename(place)
            return body(gang)

        return told

    def wait(self, limit: float = 15.0) -> list[int]:
        """Wait for all ranks that were started; their exit codes in the order of the ranks."""
        deadline = time.monotonic() + limit
        while any(rank.status is None for rank in self.ranks.values()):
            for rank in self.ranks.values():
                if rank.status is None:
                    pid, status = os.waitpid(rank.pid, os.WNOHANG)
                    if pid:
                        rank.status, rank.ended = status, time.monotonic()
            running = [rank.rank for rank in self.ranks.values() if rank.status is None]
            assert time.monotonic() < deadline, f"ranks {running} are still running"
            time.sleep(0.005)
        return [self.ranks[rank].code for rank in sorted(self.ranks)]

    def failures(self) -> set[GangFailure | None]:
        """What the ranks' supervisors reported; one element if they agree."""
        return {rank.failure for rank in self.ranks.values()}

    def end(self) -> None:
        """Kill what a failed test left."""
        for rank in self.ranks.values():
            if rank.status is None:
                os.kill(rank.pid, signal.SIGKILL)
                os.waitpid(rank.pid, 0)


@contextmanager
def gang(size: int, **values: Any) -> Iterator[Ranks]:
    """The ranks of a gang with a name of its own. At the end no process of it may be left, and so no port."""
    before = set(processes.children())
    # What loses its parent comes to this process, so that nothing can hide.
    adopted = processes.adopts_orphans()
    processes.adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="gang") as folder:
        ranks = Ranks(size, Path(folder), run=f"test-{os.urandom(4).hex()}", **values)
        try:
            yield ranks
            assert not _left(before | {rank.pid for rank in ranks.ranks.values() if rank.status is None})
        finally:
            ranks.end()
            while processes.kill_and_reap_children_except(before):
                time.sleep(0.001)
            processes.adopt_orphans(adopted)


def _left(known: set[int], limit: float = 1.0) -> list[str]:
    deadline = time.monotonic() + limit
    while True:
        processes.reap_all_except(known or {0})
        left = [pid for pid in processes.children() if pid not in known]
        if not left or time.monotonic() > deadline:
            return [f"{pid}: {Path(f'/proc/{pid}/cmdline').read_bytes()!r}" for pid in left]
        time.sleep(0.005)


def wait_for(path: Path, read: Callable[[Path], Any], limit: float = 10.0) -> Any:
    """What is read from a file once it is there."""
    deadline = time.monotonic() + limit
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.005)
    return read(path)


def listening(ports: tuple[int, ...]) -> list[int]:
    """Which of the ports somebody listens on here."""
    taken = []
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                taken.append(port)
    return taken


def alive(pid: int) -> bool:
    """Whether a process runs and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False
