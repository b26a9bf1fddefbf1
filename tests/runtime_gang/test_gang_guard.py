"""What a rank has started ends also where its supervisor is killed and nobody above it looks after that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime import contract, processes
from flowc.runtime.gang import Membership, supervise
from flowc.runtime.gang.guard import Guard
from gang_ranks import QUICK, TOKEN, alive, gang, wait_for
from lab_processes import children

SLEEP = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"]
NO_SESSION = 1 << 30


def starts(file: Path) -> Any:
    """A body that starts a program in a session of its own, and one that this one starts, and forks itself."""

    def body(handle: Any) -> int:
        # Without the mark, as a program that writes its title over its environment.
        started = f"subprocess.Popen({SLEEP!r}, env={{}}).pid"
        nested = f"import subprocess, sys, time; print({started}, flush=True); time.sleep(60)"
        program = subprocess.Popen(
            [sys.executable, "-c", nested], start_new_session=True, stdout=subprocess.PIPE, text=True
        )
        assert program.stdout is not None
        forked = os.fork()
        if not forked:
            time.sleep(60)
            os._exit(0)
        pids = f"{program.pid} {int(program.stdout.readline())} {forked}"
        file.with_suffix(".part").write_text(pids)
        file.with_suffix(".part").rename(file)
        time.sleep(60)
        return 0

    return body


def test_all_that_a_killed_supervisor_leaves_is_ended_and_nothing_else(tmp_path: Path) -> None:
    other = subprocess.Popen(SLEEP, env={**os.environ, contract.GANG_MARK: "another gang's"})
    try:
        with gang(1) as ranks:
            rank = ranks.start(0, starts(tmp_path / "pids"))
            started = [int(pid) for pid in wait_for(tmp_path / "pids", lambda path: path.read_text()).split()]
            assert len(started) == 3 and all(map(alive, started))
            os.kill(rank.pid, signal.SIGKILL)
            deadline = time.monotonic() + 10
            while any(map(alive, started)):
                assert time.monotonic() < deadline, started
                time.sleep(0.01)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def children_of_supervisor(handle: Any) -> int:
    return len(children(os.getppid()))


@pytest.mark.parametrize(("adopts", "count"), [(False, 2), (True, 1)])
def test_who_ends_what_is_left_of_it_anyway_needs_no_guard(adopts: bool, count: int) -> None:
    pid = os.fork()
    if not pid:
        code = 99
        try:
            processes.adopt_orphans(adopts)
            membership = Membership(1, 0, "127.0.0.1", 0, None)
            code = supervise(membership, TOKEN, children_of_supervisor, run="r", address="a/0", limits=QUICK).code
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == count


@pytest.mark.parametrize("killed", [False, True])
def test_a_guard_that_is_dismissed_is_gone(killed: bool) -> None:
    guard = Guard("a mark that nothing has", lambda: None)
    guard.watch(NO_SESSION)
    if killed:
        os.kill(guard.pid, signal.SIGKILL)
        time.sleep(0.1)
    guard.dismiss()
    with pytest.raises(ProcessLookupError):
        os.kill(guard.pid, 0)
