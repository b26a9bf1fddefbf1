"""The service in which a rank runs programs for the control rank, and the agent that launchers start."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.frameworks import exec_link, exec_service
from flowc.runtime.frameworks.exec_agent_host import AgentHost
from flowc.runtime.frameworks.exec_service import ExecService
from flowc.runtime.frameworks.programs import ProgramFailed
from flowc.runtime.gang.wire import WireError

SECRET = b"a secret that only the tests know"


@pytest.fixture
def service() -> Iterator[ExecService]:
    running = ExecService("127.0.0.1", SECRET, 3)
    yield running
    running.close(0.2)


@pytest.fixture
def agent(service: ExecService, tmp_path: Path) -> Iterator[str]:
    def to(host: str) -> exec_link.Link:
        if host != "node3":
            raise ProgramFailed(f"{host} is no host of this gang", 255)
        return exec_link.connect("127.0.0.1", service.port, SECRET, 3)

    folder = tmp_path / ("long " * 30)  # longer than the path of a socket may be, and with spaces
    folder.mkdir()
    host = AgentHost(str(folder), to)
    yield host.program()
    host.close()


def order(service: ExecService, argv: list[str], **more: Any) -> tuple[int, bytes, list[str]]:
    """Run a program; its exit code, its output and its last lines."""
    link = exec_link.connect("127.0.0.1", service.port, SECRET, 3)
    link.send({"t": "run", "argv": argv, **more})
    out = b""
    for frame in link.frames():
        if frame.type == "exit":
            link.close()
            return frame.header["code"], out, frame.header["lines"]
        out += frame.body
    raise AssertionError("the connection ended")


def until(condition: Callable[[], bool], limit: float = 5.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def test_codes_signals_and_output_come_back(service: ExecService) -> None:
    assert order(service, ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], carry=True)[0] == 3
    code, out, _ = order(service, ["/bin/sh", "-c", "echo out; kill -9 $$"], carry=True)
    assert (code, out) == (-9, b"out\n")
    code, out, _ = order(service, ["head", "-c", "3000000", "/dev/zero"], carry=True)
    assert (code, len(out)) == (0, 3_000_000)
    code, out, _ = order(service, ["/no/such/program"], carry=True)
    assert code == 127 and b"cannot run /no/such/program" in out


def test_output_goes_to_the_rank_s_own_log_and_the_last_lines_to_who_asked(
    service: ExecService, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, lines = order(service, ["/bin/sh", "-c", "seq 1000; echo oh >&2; exit 4"], env={"A": "b"})
    assert (code, out) == (4, b"")
    assert lines[-1] == "oh" and "1000" in lines
    said = capfd.readouterr()
    assert said.out.splitlines() == [str(n) for n in range(1, 1001)]
    assert said.err == "oh\n"


def test_variables_and_the_folder_are_given(service: ExecService, tmp_path: Path) -> None:
    argv = ["/bin/sh", "-c", 'echo "$A" $PWD "$HOME"']
    _, out, _ = order(service, argv, env={"A": "it's"}, cwd=str(tmp_path), carry=True)
    assert out.decode().split() == ["it's", str(tmp_path), os.environ["HOME"]]
    assert order(service, ["true"], cwd="/no/such/folder", carry=True)[0] == 0


@pytest.mark.parametrize("secret", [b"another secret, just as long....", SECRET])
def test_who_does_not_know_the_secret_or_means_another_rank_runs_nothing(
    service: ExecService, secret: bytes, tmp_path: Path
) -> None:
    rank = 3 if secret != SECRET else 4
    with pytest.raises((OSError, WireError)):
        link = exec_link.connect("127.0.0.1", service.port, secret, rank)
        link.send({"t": "run", "argv": ["touch", str(tmp_path / "ran")]})
        assert list(link.frames()) == []
        raise OSError("refused later")
    assert not (tmp_path / "ran").exists()
    assert order(service, ["true"])[0] == 0


def test_a_service_that_does_not_know_the_secret_is_told_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as false:
        heard: list[bytes] = []

        def answer() -> None:
            sock, _ = false.accept()
            with sock:
                heard.append(sock.recv(4096))
                sock.sendall(heard[0].replace(b"hello", b"challenge"))
                heard.append(sock.recv(4096))

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(WireError):
            exec_link.connect("127.0.0.1", false.getsockname()[1], SECRET, 3)
        thread.join(5)
        assert SECRET.hex().encode() not in b"".join(heard) and SECRET not in b"".join(heard)
        assert heard[1:] == [b""]


def test_noise_and_half_open_connections_do_not_stop_it(service: ExecService) -> None:
    noise = random.Random(7)
    sockets = []
    for number in range(2 * (exec_service._STRANGERS + 10)):  # half of them are more than it keeps
        sock = socket.create_connection(("127.0.0.1", service.port))
        if number % 2:
            try:
                sock.sendall(noise.randbytes(noise.randrange(1, 3000)))
                sock.close()
            except OSError:
                pass
        sockets.append(sock)  # the others say nothing
    assert order(service, ["echo", "well"], carry=True)[1] == b"well\n"
    for sock in sockets:
        sock.close()
    until(lambda: not service._strangers)


def test_who_knows_the_secret_and_is_slow_is_not_sent_away_for_the_next_one(
    service: ExecService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_service, "_STRANGERS", 3)
    known = exec_link.connect("127.0.0.1", service.port, SECRET, 3)
    until(lambda: not service._strangers)
    oldest, *others = [socket.create_connection(("127.0.0.1", service.port), timeout=5) for _ in range(4)]
    assert oldest.recv(1) == b""
    until(lambda: len(service._strangers) == 3)
    known.send({"t": "run", "argv": ["echo", "well"], "carry": True})
    assert [frame.body for frame in known.frames() if frame.type == "out"] == [b"well\n"]
    known.close()
    for sock in (oldest, *others):
        sock.close()


def test_what_runs_ends_with_its_connection(service: ExecService, tmp_path: Path) -> None:
    link = exec_link.connect("127.0.0.1", service.port, SECRET, 3)
    script = f"sleep 600 & echo $! > {tmp_path}/pid.part; mv {tmp_path}/pid.part {tmp_path}/pid; wait"
    link.send({"t": "run", "argv": ["/bin/sh", "-c", script], "carry": True})
    until((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    assert alive(pid) and service.busy
    link.close()
    until(lambda: not alive(pid))
    until(lambda: not service.busy)


def test_closing_ends_everything(service: ExecService) -> None:
    link = exec_link.connect("127.0.0.1", service.port, SECRET, 3)
    link.send({"t": "run", "argv": ["/bin/sh", "-c", "trap '' TERM; sleep 600 & wait; wait"]})
    until(lambda: service.busy)
    time.sleep(0.1)
    service.close(0.2)
    assert not service.busy
    with pytest.raises(OSError):
        exec_link.connect("127.0.0.1", service.port, SECRET, 3)


def test_the_agent_does_what_ssh_would(agent: str, tmp_path: Path) -> None:
    def run(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([agent, *words], capture_output=True, text=True, timeout=20, **more)

    done = run("node3", "echo", "one;", "cat;", "echo err >&2; exit 9", input="from here\n")
    assert (done.returncode, done.stdout, done.stderr) == (9, "one\nfrom here\n", "err\n")
    assert run("-x", "-o", "A=b", "user@node3", "exit 4", stdin=subprocess.DEVNULL).returncode == 4
    (tmp_path / "file").write_text("in a file")
    with (tmp_path / "file").open() as file:
        assert run("node3", "cat", stdin=file).stdout == "in a file"
    done = run("elsewhere", "true", stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (255, "flowc: elsewhere is no host of this gang\n")


def test_much_may_come_and_go_through_the_agent_at_once(
    agent: str, service: ExecService, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = exec_link.connect

    def small(sock: socket.socket) -> None:
        # So that the two sides soon wait for each other, if they do.
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, 1 << 14)

    def narrow(*where: Any) -> exec_link.Link:
        link = connect(*where)
        small(link._sock)
        return link

    small(service._listener)
    monkeypatch.setattr(exec_link, "connect", narrow)
    much = random.Random(7).randbytes(2 << 20)
    done = subprocess.run([agent, "node3", "cat"], input=much, capture_output=True, timeout=20)
    assert done.returncode == 0 and done.stdout == much


def test_the_agent_leaves_input_that_nobody_sends_to_whoever_comes_next(agent: str) -> None:
    read, write = os.pipe()
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert subprocess.run([agent, "node3", "true"], stdin=read, timeout=20).returncode == 0
    until(lambda: threading.active_count() <= threads)
    until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
    os.write(write, b"for the next one")
    assert os.read(read, 100) == b"for the next one"
    os.close(read)
    os.close(write)


def test_a_killed_agent_takes_its_command_along(agent: str, service: ExecService) -> None:
    process = subprocess.Popen([agent, "node3", "sleep 600"], stdin=subprocess.DEVNULL)
    until(lambda: service.busy)
    process.kill()
    process.wait()
    until(lambda: not service.busy)


def test_the_agent_knows_no_secret(agent: str) -> None:
    for path in Path(agent).parent.iterdir():
        if path.is_file():
            assert SECRET not in path.read_bytes() and SECRET.hex() not in path.read_text()
    assert Path(agent).parent.stat().st_mode & 0o777 == 0o700
