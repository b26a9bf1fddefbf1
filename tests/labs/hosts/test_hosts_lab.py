"""The lab itself: hosts that are hosts, faults that are faults, and nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts_lab import HostsLab, require_lab
from lab_keeper import is_zombie

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _lab() -> None:
    require_lab()


@pytest.fixture(scope="module")
def lab() -> Iterator[HostsLab]:
    require_lab()
    with HostsLab(3) as hosts:
        yield hosts


def reaches(lab: HostsLab, one: int, other: int) -> bool:
    """Whether a connection to a port that nobody listens on is refused, by the other host, or lost on the way."""
    script = f"timeout 0.4 bash -c '</dev/tcp/{lab.host(other).address}/9' 2>&1"
    return "refused" in lab.host(one).run(["sh", "-c", script]).stdout


def test_a_host_has_its_own_name_address_processes_and_folders(lab: HostsLab) -> None:
    for host in lab.hosts:
        assert host.run(["hostname"]).stdout.strip() == host.name
        assert f" {host.address}/24 " in host.run(["ip", "addr", "show", "eth0"]).stdout
        assert host.run(["sh", "-c", "echo /proc/[0-9]*"]).stdout.split()[0] == "/proc/1"
        assert host.run(["sh", "-c", f"ls /tmp /dev/shm; echo {host.name} > /tmp/own; cat /tmp/own"]).returncode == 0
    names = lab.host(0).run(["getent", "hosts", "node1", "node2"]).stdout.split()
    assert names == ["10.77.0.2", "node1", "10.77.0.3", "node2"]
    assert [host.run(["cat", "/tmp/own"]).stdout.strip() for host in lab.hosts] == ["node0", "node1", "node2"]


def test_a_host_tells_on_which_ports_it_listens(lab: HostsLab) -> None:
    listen = "import socket as s; s = s.create_server(('::1', 7001), family=s.AF_INET6); print(flush=True); input()"
    listener = lab.host(1).popen([sys.executable, "-c", listen], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert listener.stdout is not None
    listener.stdout.readline()
    assert [host.listening() for host in lab.hosts] == [[], [7001], []]
    listener.communicate(b"\n")
    assert lab.host(1).listening() == []


def test_the_folder_of_the_lab_is_seen_by_all(lab: HostsLab) -> None:
    (lab.folder / "note").write_text("text")
    assert [host.run(["cat", str(lab.folder / "note")]).stdout for host in lab.hosts] == ["text"] * 3
    assert lab.host(1).run(["sh", "-c", "pwd; echo $X"], {"X": "y", "PATH": os.environ["PATH"]}).stdout == "/\ny\n"


def test_the_first_process_reaps(lab: HostsLab) -> None:
    lab.host(0).run(["sh", "-c", "(sleep 0.1; exit) & exit 0"])
    time.sleep(0.3)
    assert " Z" not in lab.host(0).run(["sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null"]).stdout


def test_a_partition_cuts_one_host_off_until_it_is_healed(lab: HostsLab) -> None:
    assert reaches(lab, 0, 1) and reaches(lab, 1, 2)
    lab.partition(1)
    assert not reaches(lab, 0, 1) and not reaches(lab, 1, 2) and reaches(lab, 0, 2)
    lab.heal(1)
    assert reaches(lab, 0, 1) and reaches(lab, 1, 2)


def test_a_host_without_power_has_no_process_left() -> None:
    with HostsLab(2) as lab:
        process = lab.host(1).popen(["sleep", "60"])
        lab.kill_power(1)
        assert process.wait(5) != 0
        assert lab.host(0).run(["true"]).returncode == 0


def test_a_host_comes_back_as_it_was_at_the_start() -> None:
    with HostsLab(2) as lab:
        lab.host(1).run(["touch", "/tmp/before"])
        lab.kill_power(1)
        lab.power_on(1)
        assert lab.host(1).run(["hostname"]).stdout == "node1\n"
        assert lab.host(1).run(["ls", "/tmp/before"]).returncode != 0
        assert reaches(lab, 0, 1) and reaches(lab, 1, 0)
        assert lab.host(1).run(["sh", "-c", f"echo text > {lab.folder}/note"]).returncode == 0
        assert lab.host(0).run(["cat", str(lab.folder / "note")]).stdout == "text\n"
        lab.kill_power(1)
        assert lab.host(0).run(["true"]).returncode == 0


@pytest.mark.parametrize("rootless", [False, True])
def test_the_login_host_is_this_machine_on_the_network_of_the_hosts(tmp_path: Path, rootless: bool) -> None:
    if os.geteuid() and not rootless:
        pytest.skip("not here: only root can do it without a user namespace")
    (tmp_path / "note").write_text("text")
    with HostsLab(1, login="desk", rootless=rootless) as lab:
        desk = lab.login
        assert desk is not None and len(lab.hosts) == 1
        assert desk.run(["sh", "-c", "hostname; pwd; cat note"], cwd=tmp_path).stdout == f"desk\n{tmp_path}\ntext"
        assert desk.run(["getent", "hosts", "node0"]).stdout.split() == ["10.77.0.1", "node0"]
        assert "refused" in desk.run(["sh", "-c", "timeout 5 bash -c '</dev/tcp/node0/9' 2>&1"]).stdout
        with desk.popen(["sh", "-c", "echo up; exec sleep 300"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == -signal.SIGTERM
        left = desk.popen(["sh", "-c", "echo up; exec sleep 300"], stdout=subprocess.PIPE)
        assert left.stdout is not None and left.stdout.readline() == b"up\n"
    with left:
        assert left.wait(5) == -signal.SIGKILL
    assert (tmp_path / "note").exists()


STARTS_ONE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from hosts_lab import HostsLab
with HostsLab(2, login="desk") as lab:
    started = [host.popen(["setsid", "sleep", "300"]) for host in (*lab.hosts, lab.login)]
    while [host.processes() for host in lab.hosts] != [["sleep 300"]] * 2:
        time.sleep(0.01)
    print(lab.folder, started[2].pid, *(pid for host in lab.hosts for pid in (host.init, *host.commands())), flush=True)
    time.sleep(300)
"""


def test_nothing_is_left_when_the_test_is_killed() -> None:
    command = [sys.executable, "-c", STARTS_ONE, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder, *pids = process.stdout.readline().split()
        process.kill()
    assert len(pids) == 5
    deadline = time.monotonic() + 10
    while Path(folder).exists() or not all(is_zombie(int(pid)) for pid in pids):
        assert time.monotonic() < deadline, (folder, pids)
        time.sleep(0.05)


def test_own_names_and_unknown_users() -> None:
    with HostsLab(2, own_name_on_loopback=True) as lab:
        answer = lab.host(1).run(["getent", "hosts", "node1", "node0"]).stdout.split()
        assert answer == ["127.0.1.1", "node1", "10.77.0.1", "node0"]
        assert lab.host(0).run(["id", "-u"], uid=4242).stdout.strip() == "4242"
        assert lab.host(0).run(["getent", "passwd", "4242"], uid=4242).returncode != 0
        lab.host(1).set_names({"other": "10.77.0.9"})
        assert lab.host(1).run(["getent", "hosts", "other"]).stdout.split() == ["10.77.0.9", "other"]
        assert lab.host(1).run(["getent", "hosts", "node0"]).returncode != 0


@pytest.mark.parametrize("rootless", [False, True])
def test_nothing_is_left_also_after_an_error(rootless: bool) -> None:
    if os.geteuid() and not rootless:
        pytest.skip("not here: only root can do it without a user namespace")

    class Wrong(Exception):
        pass

    def mounts() -> list[str]:
        return [line for line in Path("/proc/mounts").read_text().splitlines() if "flowc-hosts" in line]

    def links() -> str:
        return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout

    before = links()
    with pytest.raises(Wrong), HostsLab(2, rootless=rootless) as lab:
        process = lab.host(0).popen(["sleep", "60"])
        inits = [host.init for host in lab.hosts]
        folder = lab.folder
        while lab.host(0).processes() != ["sleep 60"]:
            assert process.poll() is None
            time.sleep(0.01)
        raise Wrong
    process.wait(5)
    assert not folder.exists() and mounts() == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in inits)
    assert links() == before


def test_four_hosts_are_there_within_a_second() -> None:
    times = []
    for _ in range(3):  # the machine may be busy with something else
        began = time.monotonic()
        with HostsLab(4):
            times.append(time.monotonic() - began)
    assert min(times) < 1.0
