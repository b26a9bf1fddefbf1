"""Where the nodes of a Slurm lab are: each a host of its own, or all of them daemons on this machine."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hosts_lab import HostsLab
from lab_keeper import descendants
from lab_processes import KEEPER, Keeper, children
from slurm_settings import Place

NODE = "node{}"
Process = subprocess.Popen[Any]


class Daemon:
    """A program under a supervisor: what came from it goes with it, and all goes when this process goes."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self._process = process

    @property
    def is_on(self) -> bool:
        """Whether the supervisor is there."""
        return self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The program's own process; None if it ended."""
        found = children(self._process.pid)
        return found[0] if found else None

    def commands(self) -> dict[int, str]:
        """The command lines of all that came from it, by process, without zombies."""
        found = {}
        for pid in descendants(self._process.pid):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if line:
                found[pid] = line.replace(b"\0", b" ").decode(errors="replace").strip()
        return found

    def terminate(self, wait: float = 20.0) -> None:
        """Ask the program to end; then end what is left."""
        pid, deadline = self.pid, time.monotonic() + wait
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            while self.pid == pid and time.monotonic() < deadline:
                time.sleep(0.01)
        self.kill()

    def kill(self) -> None:
        """End all of it at once."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Places(Protocol):
    """What the lab needs to know of where its programs run.

    Attributes
    ----------
    folder : Path
        All that the cluster writes; every node sees it.
    uid : int
        Whose the daemons and the jobs are.
    """

    folder: Path
    uid: int

    def place(self) -> Place:
        """Names, addresses and ports for the configuration."""

    def popen(self, argv: Sequence[str], env: Mapping[str, str], **options: Any) -> Process:
        """Start a program where a person would type it."""

    def popen_on(self, index: int, argv: Sequence[str], env: Mapping[str, str], **options: Any) -> Process:
        """Start a program on a node."""

    def start_slurmd(self, index: int, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        """Start a node's daemon, and the node itself if it has no power."""

    def is_on(self, index: int) -> bool:
        """Whether a node has power."""

    def commands(self, index: int) -> dict[int, str]:
        """The command lines of what runs on a node with power, by process."""

    def kill(self, index: int) -> None:
        """Take a node's power away."""

    def end(self) -> None:
        """Let nothing be left."""


class OnHosts:
    """Every node a host of its own, and one for the controller and the person."""

    def __init__(self, count: int, rootless: bool | None) -> None:
        self._count = count
        self.rootless = os.geteuid() != 0 if rootless is None else rootless
        # In a user namespace nobody is root: Slurm's daemons believe that root may be anybody, and may not.
        self.uid = os.geteuid() or (65534 if self.rootless else 0)
        self._slurmds: list[Process] = []
        self.hosts = HostsLab(count, rootless=self.rootless, login="login")
        self.hosts.__enter__()
        self.folder = self.hosts.folder

    @property
    def _user(self) -> dict[str, Any]:
        return {"uid": self.uid} if self.rootless else {}

    def place(self) -> Place:
        assert self.hosts.login is not None
        return Place(
            folder=self.folder,
            controller=self.hosts.login.name,
            address=self.hosts.login.address,
            addresses=[host.address for host in self.hosts.hosts],
            hostnames=[host.name for host in self.hosts.hosts],
            ports=[6817] + [6818] * self._count,
            uid=self.uid,
        )

    def popen(self, argv: Sequence[str], env: Mapping[str, str], **options: Any) -> Process:
        assert self.hosts.login is not None
        options.setdefault("cwd", Path.cwd())
        return self.hosts.login.popen(argv, env, **self._user, **options)

    def popen_on(self, index: int, argv: Sequence[str], env: Mapping[str, str], **options: Any) -> Process:
        return self.hosts.host(index).popen(argv, env, **self._user, **options)

    def start_slurmd(self, index: int, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        if not self.is_on(index):
            self.hosts.power_on(index)
        with log.open("ab") as file:
            options = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, "start_new_session": True}
            self._slurmds.append(self.popen_on(index, argv, env, **options))

    def is_on(self, index: int) -> bool:
        process = self.hosts.host(index).process
        return process is not None and process.poll() is None

    def commands(self, index: int) -> dict[int, str]:
        return self.hosts.host(index).commands()

    def kill(self, index: int) -> None:
        self.hosts.kill_power(index)

    def end(self) -> None:
        self.hosts.__exit__(None, None, None)
        for process in self._slurmds:
            process.wait()


class OnPorts:
    """Every node a daemon with a port of its own on this machine, whose processes it shares."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._daemons: dict[int, Daemon] = {}
        self._ports = _free_ports(count + 1)
        self.uid = os.geteuid()
        self.folder = Path(tempfile.mkdtemp(prefix="flowc-slurm-")).resolve()
        self.folder.chmod(0o755)
        try:
            self._keeper = Keeper(self.folder)
        except BaseException:
            self.folder.rmdir()
            raise
        # What people start on the cluster knows it by this.
        self._keeper.tell(f"mark SLURM_CONF={self.folder}/etc/slurm.conf")

    def place(self) -> Place:
        name = socket.gethostname().split(".")[0]
        return Place(
            folder=self.folder,
            controller=name,
            address="127.0.0.1",
            addresses=["127.0.0.1"] * self._count,
            hostnames=[name] * self._count,
            ports=self._ports,
            uid=self.uid,
        )

    def popen(self, argv: Sequence[str], env: Mapping[str, str], **options: Any) -> Process:
        return subprocess.Popen(list(argv), env=dict(env), **options)

    def popen_on(self, index: int, argv: Sequence[str], env: Mapping[str, str], **options: Any) -> Process:
        return self.popen(argv, {**env, "SLURMD_NODENAME": NODE.format(index)}, **{"cwd": "/", **options})

    def start_slurmd(self, index: int, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        if index in self._daemons:
            self._daemons[index].kill()
        with log.open("ab") as file:
            self._daemons[index] = Daemon(supervised(self, argv, env, file))

    def is_on(self, index: int) -> bool:
        return index in self._daemons and self._daemons[index].is_on

    def commands(self, index: int) -> dict[int, str]:
        return self._daemons[index].commands()

    def kill(self, index: int) -> None:
        self._daemons.pop(index).kill()

    def end(self) -> None:
        for daemon in self._daemons.values():
            daemon.kill()
        self._keeper.end()


def supervised(places: Places, argv: Sequence[str], env: Mapping[str, str], log: Any) -> Process:
    """Start a program where a person would, under a supervisor; see :class:`Daemon`."""
    options = {"stdin": subprocess.PIPE, "stdout": log, "stderr": log, "start_new_session": True, "cwd": "/"}
    return places.popen([*KEEPER, "--", *argv], env, **options)


def _free_ports(count: int) -> list[int]:
    """Ports in a row that nobody listens on, below those that the kernel gives to whoever asks for any."""
    for _ in range(100):
        first = random.randrange(20000, 32000)
        ports = list(range(first, first + count))
        if all(_is_free(port) for port in ports):
            return ports
    raise OSError(f"no {count} free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
