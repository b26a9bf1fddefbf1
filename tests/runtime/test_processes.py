"""Ending processes together with all that they have started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from flowc.runtime import processes

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
DAEMON = f"""
import subprocess
print(subprocess.Popen({SLEEP!r}, start_new_session=True, stdout=subprocess.DEVNULL).pid)
"""


def until(condition: Callable[[], bool], patience: float = 10.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def others() -> frozenset[int]:
    """Children that are there already, such as those of pytest's own plug-ins."""
    return frozenset(processes.children())


@pytest.fixture
def sleeper():
    process = subprocess.Popen(SLEEP)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("find", [processes.children, processes._children_by_scan])
def test_children_are_found_with_the_kernels_list_and_without_it(sleeper, find):
    assert sleeper.pid in find()
    sleeper.kill()
    sleeper.wait()
    assert sleeper.pid not in find()


def test_orphans_come_to_whoever_adopts_them_and_to_nobody_else(others):
    assert not processes.adopts_orphans()
    processes.adopt_orphans()
    try:
        assert processes.adopts_orphans()
        orphan = int(subprocess.run([*SLEEP[:3], DAEMON], stdout=subprocess.PIPE, check=True).stdout)
        assert orphan in processes.children()
        # The first call kills it, one of the next finds nobody.
        until(lambda: processes.kill_and_reap_children_except(others) == 0)
        assert orphan not in processes.children()
    finally:
        processes.adopt_orphans(False)
    assert not processes.adopts_orphans()


def test_nobody_gets_away_where_processes_end_as_soon_as_they_are_killed(others, monkeypatch):
    # On a busy machine the killed process may run, and end, before whoever killed it goes on.
    kill = processes.signal_process

    def kill_at_once(pid: int, number: int) -> None:
        kill(pid, number)
        until(lambda: is_gone(pid))

    monkeypatch.setattr(processes, "signal_process", kill_at_once)
    chain = "import os, subprocess, sys, time\n"
    chain += "depth = int(sys.argv[1]); print(os.getpid(), flush=True)\n"
    chain += "words = [sys.executable, '-S', '-c', sys.argv[2], str(depth - 1), sys.argv[2]]\n"
    chain += "if depth: subprocess.Popen(words, start_new_session=True)\n"
    chain += "time.sleep(60)"
    processes.adopt_orphans()
    try:
        words = [sys.executable, "-S", "-c", chain, "3", chain]
        first = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert first.stdout is not None
        pids = [int(first.stdout.readline()) for _ in range(4)]
        calls = 0
        while processes.kill_and_reap_children_except(others):
            calls += 1
        assert [pid for pid in pids if not is_gone(pid)] == [] and calls == 4
        first.returncode = -signal.SIGKILL
        first.stdout.close()
    finally:
        processes.adopt_orphans(False)


def test_killing_children_spares_the_known_ones_and_reaps_nobody(sleeper, others):
    doomed = subprocess.Popen(SLEEP)
    assert processes.kill_children_except({*others, sleeper.pid}) == 1
    assert doomed.wait(10) == -signal.SIGKILL
    assert sleeper.poll() is None


def test_reaping_leaves_the_known_ones_to_others(others):
    mine, theirs = subprocess.Popen(["true"]), subprocess.Popen(["true"])
    until(lambda: is_gone(mine.pid) and is_gone(theirs.pid))
    processes.reap_all_except({*others, theirs.pid})
    assert mine.pid not in processes.children()
    assert theirs.wait(10) == 0
    # Whom another part of the program has reaped ended by an unknown cause.
    assert processes.reap(mine.pid) == 255 << 8
    mine.returncode = 0  # so that subprocess does not look for it


def test_a_process_dies_with_its_parent():
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        mine = os.getpid()
        if os.fork() == 0:
            processes.die_with_parent(mine)
            os.write(write, b"%d" % os.getpid())
            time.sleep(60)
        time.sleep(60)
        os._exit(0)
    child = int(os.read(read, 20))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    until(lambda: is_gone(child))
    os.close(read)
    os.close(write)


def test_a_process_whose_parent_is_gone_already_does_not_begin():
    pid = os.fork()
    if pid == 0:
        processes.die_with_parent(1 << 30)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGKILL


def test_a_signal_to_a_group_reaches_all_of_it_and_nobody_minds_if_it_is_gone(sleeper):
    leader = subprocess.Popen([*SLEEP[:3], f"import subprocess; subprocess.run({SLEEP!r})"], start_new_session=True)
    until(lambda: len(_members(leader.pid)) == 2)
    processes.signal_group(leader.pid, signal.SIGTERM)
    assert leader.wait(10) == -signal.SIGTERM
    until(lambda: not _members(leader.pid))
    processes.signal_group(leader.pid, signal.SIGTERM)
    processes.signal_process(leader.pid, signal.SIGTERM)
    # One that leads no group yet is signalled alone.
    processes.signal_group(sleeper.pid, signal.SIGKILL)
    assert sleeper.wait(10) == -signal.SIGKILL


def _members(group: int) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, _, its_group = file.read().rpartition(b")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != b"Z":
            found.append(int(name))
    return found


def test_signals_are_bytes_on_a_descriptor_until_all_is_as_before():
    before = signal.getsignal(signal.SIGUSR1)
    signals = processes.Signals([signal.SIGUSR1, signal.SIGUSR2])
    try:
        assert signals.arrived() == []
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert sorted(signals.arrived()) == sorted([signal.SIGUSR1, signal.SIGUSR2])
    finally:
        signals.restore()
    assert signal.getsignal(signal.SIGUSR1) is before
