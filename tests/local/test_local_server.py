"""The warm server by itself: what it does with processes, whatever these run."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from flowc.backends.local.server import start_server
from flowc.runtime.report import exit_of
from local_runs import is_alive, numbers_in, wait_for

GRANDCHILD = "import os, sys, time; open(os.path.join(sys.argv[1], str(os.getpid())), 'w'); time.sleep(60)"


def start_grandchild(folder: str, **options) -> None:
    subprocess.Popen([sys.executable, "-c", GRANDCHILD, folder], **options)
    deadline = time.monotonic() + 10
    while not numbers_in_folder(folder) and time.monotonic() < deadline:
        time.sleep(0.01)


def numbers_in_folder(folder: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.isdigit()]


def act(request: list[str]) -> int:
    """What the tests' tasks do, in the forked process."""
    what, *rest = request
    if what == "code":
        return int(rest[0])
    if what == "exit":
        os._exit(int(rest[0]))
    if what == "segfault":
        faulthandler.disable()  # pytest's own, which would print
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "raise":
        raise OSError("nowhere left to write")
    if what == "sleep":
        if rest:
            open(os.path.join(rest[0], str(os.getpid())), "w").close()
        time.sleep(60)
    if what == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(os.path.join(rest[0], str(os.getpid())), "w").close()
        time.sleep(60)
    if what == "background":
        start_grandchild(rest[0])
    if what == "daemon":
        # Twice removed, so that it has lost its parent.
        command = [sys.executable, "-c", GRANDCHILD, rest[0]]
        code = f"import subprocess; subprocess.Popen({command!r}, start_new_session=True)"
        subprocess.run([sys.executable, "-c", code], check=True)
        while not numbers_in_folder(rest[0]):
            time.sleep(0.01)
        if rest[1:]:
            time.sleep(60)
    if what == "session":
        return 0 if os.getsid(0) == os.getpid() else 1
    return 0


class Client:
    def __init__(self) -> None:
        self.handle = start_server(lambda: lambda _: partial(partial, act))
        self.channel = self.handle.channel
        self.channel.put("run", None)
        self._ended: dict[int, tuple[int | None, str | None, list[str] | None]] = {}

    def start(self, task: int, *request: str) -> None:
        self.channel.put("start", task, list(request))
        self.channel.flush()

    def signal(self, task: int, number: int) -> None:
        self.channel.put("signal", task, int(number))
        self.channel.flush()

    def end_of(self, task: int) -> tuple[int | None, str | None, list[str] | None]:
        deadline = time.monotonic() + 15
        while task not in self._ended:
            assert time.monotonic() < deadline
            select.select([self.channel.read_fd], [], [], 1)
            for kind, number, status, note, _ in self.channel.receive():
                assert kind == "ended"
                self._ended[number] = (*exit_of(status), note)
        return self._ended[task]


@pytest.fixture
def server():
    client = Client()
    yield client
    client.handle.close()
    assert not is_alive(client.handle.pid)


def test_every_task_has_an_end_of_its_own(server):
    server.start(1, "code", "0")
    server.start(2, "code", "7")
    server.start(3, "exit", "9")
    server.start(4, "segfault")
    server.start(5, "code", "0")
    assert server.end_of(1) == (0, None, None)
    assert server.end_of(2) == (7, None, None)
    assert server.end_of(3) == (9, None, None)
    assert server.end_of(4) == (None, "SIGSEGV", None)
    assert server.end_of(5) == (0, None, None)


def test_what_a_task_raises_outside_its_step_reaches_the_scheduler(server):
    server.start(1, "raise")
    assert server.end_of(1) == (70, None, ["OSError", "nowhere left to write"])


def test_a_task_leads_a_session_of_its_own(server):
    server.start(1, "session")
    assert server.end_of(1)[0] == 0


def test_a_signal_sent_right_after_the_start_is_not_lost(server):
    for task in range(20):
        server.channel.put("start", task, ["sleep"])
        server.channel.put("signal", task, int(signal.SIGTERM))
    server.channel.flush()
    for task in range(20):
        assert server.end_of(task)[1] == "SIGTERM"


@pytest.mark.parametrize("kind", ["background", "daemon"])
def test_what_a_task_leaves_running_is_killed_when_it_ends(server, tmp_path, kind):
    server.start(1, kind, str(tmp_path))
    assert server.end_of(1)[0] == 0
    (pid,) = numbers_in(tmp_path)
    wait_for(lambda: not is_alive(pid), 5)


def test_a_daemon_of_a_running_task_is_left_alone_when_another_task_ends(server, tmp_path):
    server.start(1, "daemon", str(tmp_path), "and sleep")
    (pid,) = wait_for(lambda: numbers_in(tmp_path))
    server.start(2, "session")
    assert server.end_of(2)[0] == 0
    server.start(3, "session")
    assert server.end_of(3)[0] == 0
    assert is_alive(pid)
    server.signal(1, signal.SIGKILL)
    assert server.end_of(1)[1] == "SIGKILL"
    wait_for(lambda: not is_alive(pid), 5)


def test_closing_the_channel_ends_everything_deaf_tasks_included(tmp_path):
    client = Client()
    client.start(1, "deaf", str(tmp_path))
    client.start(2, "sleep", str(tmp_path))
    pids = wait_for(lambda: len(numbers_in(tmp_path)) == 2 and numbers_in(tmp_path))
    client.handle.close()
    assert not any(map(is_alive, pids))


def test_tasks_do_not_outlive_a_server_that_is_killed(tmp_path):
    client = Client()
    client.start(1, "deaf", str(tmp_path))
    (pid,) = wait_for(lambda: numbers_in(tmp_path))
    os.kill(client.handle.pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid), 5)
    assert client.channel.receive() == []
    assert client.channel.ended
    client.handle.close()


def test_a_server_that_cannot_begin_says_why():
    def prepare():
        raise ImportError("no such thing")

    handle = start_server(prepare)
    select.select([handle.channel.read_fd], [], [], 10)
    assert handle.channel.receive() == [["broken", 0, "ImportError: no such thing"]]
    handle.close()


def test_the_server_does_not_mind_signals_to_its_group(server):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(server.handle.pid, number)
    server.start(1, "code", "3")
    assert server.end_of(1)[0] == 3
