"""Runs that are ended from outside: signals, and processes that are killed. Nothing may be left behind."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from local_runs import is_alive, numbers_in, wait_for

SLEEPERS = """
def here(kind):
    open(os.path.join({folder!r}, str(os.getpid())), "w").close()

class Sleepers(FlowSpec):
    @step
    def start(self):
        self.xs = [0, 1, 2]
        self.next(self.work, foreach="xs")
    @step
    def work(self):
        if {deaf}:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.input == 0:
            # A daemon that has left its session and lost its parent.
            code = ("import os, time; os.fork() and os._exit(0); os.setsid(); "
                    "open(os.path.join({folder!r}, str(os.getpid())), 'w').close(); time.sleep(60)")
            subprocess.run([sys.executable, "-c", code])
        here("task")
        time.sleep(60)
        self.next(self.join)
    @step
    def join(self, inputs):
        self.next(self.end)
    @step
    def end(self):
        pass
"""


class Sleepers:
    def __init__(self, flow, folder: Path, deaf: bool = False) -> None:
        self.pids_folder = folder / "pids"
        self.pids_folder.mkdir()
        self.flow = flow(SLEEPERS.format(folder=str(self.pids_folder), deaf=deaf))
        self.process = self.flow.start()
        self.pids = wait_for(lambda: len(numbers_in(self.pids_folder)) == 4 and numbers_in(self.pids_folder), 30)

    @property
    def server(self) -> int:
        """The warm server: the driver's only child."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    @property
    def status(self) -> dict:
        return json.loads((self.flow.root / "Sleepers" / "1" / "status.json").read_text())

    def nothing_is_left(self) -> bool:
        return not any(map(is_alive, self.pids))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        for pid in self.pids:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_and_the_run_is_marked(flow, tmp_path, number):
    with Sleepers(flow, tmp_path) as run:
        server = run.server
        begun = time.monotonic()
        run.process.send_signal(number)
        out, err = run.process.communicate(timeout=15)
        assert time.monotonic() - begun < 5
        assert run.process.returncode == 130
        assert out.startswith("interrupted"), err
        assert run.status["state"] == "interrupted"
        assert run.nothing_is_left()
        assert not is_alive(server)
        resumed = run.flow.start(origin_run_id="1")
        wait_for(lambda: len(numbers_in(run.pids_folder)) == 8, 30)
        resumed.send_signal(signal.SIGTERM)
        resumed.communicate(timeout=15)
        record = json.loads((run.flow.root / "Sleepers/2/start/_/0/record.json").read_text())
        assert record["origin"] == "1"


def test_a_second_ctrl_c_does_not_wait_for_tasks_that_hear_nothing(flow, tmp_path):
    with Sleepers(flow, tmp_path, deaf=True) as run:
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert run.process.poll() is None
        begun = time.monotonic()
        run.process.send_signal(signal.SIGINT)
        run.process.communicate(timeout=15)
        assert time.monotonic() - begun < 4
        assert run.process.returncode == 130
        assert run.nothing_is_left()


@pytest.mark.slow
def test_tasks_that_hear_nothing_are_killed_after_the_grace(flow, tmp_path):
    with Sleepers(flow, tmp_path, deaf=True) as run:
        begun = time.monotonic()
        run.process.send_signal(signal.SIGTERM)
        run.process.communicate(timeout=20)
        assert 4.5 < time.monotonic() - begun < 10
        assert run.nothing_is_left()


def test_a_killed_scheduler_takes_everything_with_it(flow, tmp_path):
    with Sleepers(flow, tmp_path, deaf=True) as run:
        server = run.server
        run.process.kill()
        wait_for(lambda: run.nothing_is_left() and not is_alive(server), 10)
        assert run.status["state"] == "running"


def test_a_killed_server_ends_the_run_with_a_clear_failure(flow, tmp_path):
    with Sleepers(flow, tmp_path) as run:
        os.kill(run.server, signal.SIGKILL)
        out, _ = run.process.communicate(timeout=15)
        assert run.process.returncode == 1
        assert "the process that starts tasks was killed" in out
        assert run.status["failure"]["type"] == "ServerLost"
        wait_for(run.nothing_is_left, 5)
