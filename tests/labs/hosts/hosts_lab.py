"""Several hosts on one machine: each with its own network, address, name, processes, mounts, /tmp and shared memory.

A host is a set of namespaces (namespaces(7)) held by a process that is its PID 1 and reaps what is orphaned there; a
bridge in a network namespace of its own joins them. It takes no root where the kernel gives user namespaces to
everybody, and nothing but programs of util-linux and iproute2. When the test's process ends, however it ends, the
hosts end with it: each PID 1 reads a pipe from it, and a keeper (lab_keeper.py) removes the files.

    with HostsLab(2) as lab:
        lab.host(1).run(["ping", "-c1", lab.host(0).name])
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lab_processes import Keeper, LabError, await_ready, close_process, only_child, popen_process, run_with_input

# Read when the tests are collected: while they run, the developer's own settings are out of sight.
_REQUIRED = os.environ.get("FLOWC_LABS") == "required"
_PROGRAMS = ("unshare", "nsenter", "mount", "ip", "hostname")
_NETWORK = "10.77.0"

# Ends with its standard input, which ends with the test; as PID 1 it reaps, and its end ends everything in the host.
_INIT = """
import os, select, signal
read, write = os.pipe()
os.set_blocking(read, False); os.set_blocking(write, False)
signal.set_wakeup_fd(write, warn_on_full_buffer=False)
signal.signal(signal.SIGCHLD, lambda *_: None)
while True:
    ready = select.select([0, read], [], [])[0]
    if read in ready:
        os.read(read, 4096)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]: pass
        except ChildProcessError: pass
    if 0 in ready and not os.read(0, 1): os._exit(0)
"""

_HOST = """
set -e
hostname "$NAME"
mount -t tmpfs -o mode=1777 lab "$PRIVATE/tmp"
printf '%s\\n' "$SHARED_IN_TMP" | while IFS= read -r folder; do
    [ -n "$folder" ] || continue
    mkdir -p "$PRIVATE/tmp/$folder" || exit 1
    mount --rbind "/tmp/$folder" "$PRIVATE/tmp/$folder" || exit 1
done
mount --bind "$PRIVATE/hosts" /etc/hosts
if [ -e /etc/resolv.conf ]; then mount --bind /dev/null /etc/resolv.conf; fi
mount -t tmpfs -o mode=1777 lab /dev/shm
mount --rbind "$PRIVATE/tmp" /tmp
ip link set lo up
echo ready
exec "$PYTHON" -ISc "$INIT"
"""


# Beside the hosts a person's own machine: its network and its name, but the processes and folders of this machine.
_LOGIN = """
set -e
hostname "$NAME"
mount --bind "$PRIVATE/hosts" /etc/hosts
if [ -e /etc/resolv.conf ]; then mount --bind /dev/null /etc/resolv.conf; fi
ip link set lo up
echo ready
exec cat >/dev/null
"""


class Host:
    """One host of the lab.

    Attributes
    ----------
    index : int
        From 0.
    name, address : str
        Its host name, which all hosts resolve, and its IP address.
    is_login : bool
        It shares processes, folders, /tmp and shared memory with this machine.
    """

    def __init__(self, lab: HostsLab, index: int, login: str | None = None) -> None:
        self._lab = lab
        self.index = index
        self.name = login or f"node{index}"
        self.is_login = login is not None
        self.address = f"{_NETWORK}.{index + 1}"
        self.private = lab.folder / f".{self.name}"
        self.process: subprocess.Popen[str] | None = None
        self.init = 0

    def popen(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        uid: int | None = None,
        cwd: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a program in the host.

        Parameters
        ----------
        argv : sequence of str
            The program and its arguments.
        env : mapping, optional
            Its environment; this process's own if not given.
        uid : int, optional
            Run as a user of this number, which needs no entry in the password file.
        cwd : path, optional
            Its folder, ``/`` if not given.
        options
            For ``subprocess.Popen``. Signals reach the program only from inside: ``run(["kill", ...])``; but on the
            login host the process that is returned is the program's own.
        """
        user = ["unshare", "-U", f"--map-user={uid}", f"--map-group={uid}", "--"] if uid is not None else []
        spaces = ["-n", "-u", "-m"] if self.is_login else ["-n", "-u", "-m", "-i", "-p"]
        # The folder as the host sees it; nsenter's own --wd is opened before, and has no path in the host.
        folder = ["env", "-C", os.fspath(cwd)] if cwd is not None else []
        command = [*self._lab.enter(self.init), *spaces, "--", *user, *folder, *argv]
        return subprocess.Popen(command, env=None if env is None else dict(env), **options)

    def run(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, *, timeout: float = 30.0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the host to its end, with its output captured; options as for :meth:`popen`."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = self.popen(argv, env, **{**pipes, **options})
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def processes(self) -> list[str]:
        """The command lines of what runs in the host, without its PID 1 and zombies."""
        return list(self.commands().values())

    def commands(self) -> dict[int, str]:
        """The same, by their numbers here."""
        found = {}
        inside = os.readlink(f"/proc/{self.init}/ns/pid")
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.init:
                try:
                    if os.readlink(entry / "ns/pid") == inside and (entry / "cmdline").read_bytes():
                        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                        found[int(entry.name)] = command.strip()
                except OSError:
                    continue
        return found

    def listening(self) -> list[int]:
        """The TCP ports on which anything in the host listens."""
        found = set()
        for name in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.init}/net/{name}").read_text().splitlines()[1:]:
                _, local, _, state = line.split()[:4]
                if state == "0A":  # TCP_LISTEN
                    found.add(int(local.rpartition(":")[2], 16))
        return sorted(found)

    def set_names(self, names: Mapping[str, str]) -> None:
        """Say what the host resolves: name to address, beside localhost. It counts at once."""
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in names.items())]
        # In place: what is mounted in the host is this very file.
        (self.private / "hosts").write_text("\n".join(lines) + "\n")


class HostsLab:
    """A number of hosts, from the start of a ``with`` block to its end.

    Parameters
    ----------
    count : int
        How many.
    own_name_on_loopback : bool
        Each host resolves its own name to 127.0.1.1, as Debian's installer sets it up.
    rootless : bool, optional
        Whether to work in a user namespace; by default, if this process is not root's.
    login : str, optional
        The name of one more host, where a person would work: it is on the network, and shares all else with this
        machine.

    Attributes
    ----------
    folder : Path
        A folder that all hosts see under this path; each has its own /tmp otherwise.
    hosts : list of Host
        Without the login host.
    login : Host or None
        The login host.
    """

    def __init__(
        self,
        count: int,
        *,
        own_name_on_loopback: bool = False,
        rootless: bool | None = None,
        login: str | None = None,
    ) -> None:
        self._count = count
        self._login_name = login
        self._loopback = own_name_on_loopback
        self._rootless = os.geteuid() != 0 if rootless is None else rootless
        self._switch: subprocess.Popen[str] | None = None
        self._keeper: Keeper | None = None
        self.hosts: list[Host] = []
        self.login: Host | None = None

    def host(self, index: int) -> Host:
        """One of them."""
        return self.hosts[index]

    def __enter__(self) -> HostsLab:
        self.folder = Path(tempfile.mkdtemp(prefix="flowc-hosts-")).resolve()
        self.folder.chmod(0o755)
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def enter(self, pid: int) -> list[str]:
        """The start of a command that enters namespaces of a process."""
        user = ["-U", "--preserve-credentials"] if self._rootless else []
        return ["nsenter", "-t", str(pid), *user]

    def partition(self, index: int) -> None:
        """Cut a host off: nothing reaches it and nothing leaves it, and nobody is told."""
        self._ip(f"link set v{index} nomaster")

    def heal(self, index: int) -> None:
        """Join it again."""
        self._ip(f"link set v{index} master lab")

    def kill_power(self, index: int) -> None:
        """Everything in a host is gone at once, and no connection is closed."""
        self.partition(index)
        host = self.hosts[index]
        os.kill(host.init, signal.SIGKILL)
        assert host.process is not None
        host.process.wait(10)

    def power_on(self, index: int) -> None:
        """Start a host that :meth:`kill_power` has ended: the same name and address, an empty /tmp."""
        host = self.hosts[index]
        assert host.process is not None and host.process.poll() is not None, f"{host.name} is on"
        close_process(host.process)
        # The kernel takes a host's links away some time after its end; the name must be free now.
        with contextlib.suppress(LabError):
            self._ip(f"link del v{index}")
        host.process = self._boot(host)
        self._join([host])

    def _start(self) -> None:
        self._keeper = Keeper(self.folder)
        user = ["-r"] if self._rootless else []
        self._switch = popen_process(["unshare", *user, "-n", "--", "sh", "-c", "echo ready; exec cat >/dev/null"])
        await_ready(self._switch)
        self.hosts = [Host(self, index) for index in range(self._count)]
        if self._login_name is not None:
            self.login = Host(self, self._count, self._login_name)
        for host in self._all():
            host.private.mkdir()
            names = {other.name: other.address for other in self._all()}
            if self._loopback:
                names[host.name] = "127.0.1.1"
            host.set_names(names)
            host.process = self._boot(host)
        self._ip("link set lo up", "link add lab type bridge", "link set lab up")
        self._join(self._all())
        if self.login is not None:
            self._keeper.tell(f"mounts {self.login.init}")

    def _all(self) -> list[Host]:
        return self.hosts if self.login is None else [*self.hosts, self.login]

    def _join(self, hosts: list[Host]) -> None:
        """Wait until hosts are up, and put them on the network."""
        for host in hosts:
            assert host.process is not None
            await_ready(host.process)
            host.init = host.process.pid if host.is_login else only_child(host.process.pid)
        joined = []
        for host in hosts:
            joined.append(f"link add v{host.index} type veth peer name eth0 netns {host.init}")
            joined.append(f"link set v{host.index} master lab up")
        self._ip(*joined)
        for host in hosts:
            batch = f"addr add {host.address}/24 dev eth0\nlink set eth0 up\n"
            run_with_input([*self.enter(host.init), "-n", "--", "ip", "-batch", "-"], batch)

    @property
    def shared_in_tmp(self) -> list[str]:
        """What all hosts see of the machine's /tmp: the lab's folder and, should they lie there, the project and its
        Python; as paths below /tmp."""
        system_tmp = Path("/tmp").resolve()
        shared = {self.folder, Path(__file__).resolve().parents[3], Path(sys.prefix).resolve(), Path(sys.base_prefix)}
        return sorted(str(folder.relative_to(system_tmp)) for folder in shared if system_tmp in folder.parents)

    def _boot(self, host: Host) -> subprocess.Popen[str]:
        assert self._switch is not None
        (host.private / "tmp").mkdir(exist_ok=True)
        settings = {
            "NAME": host.name,
            "FOLDER": str(self.folder),
            "SHARED_IN_TMP": "\n".join(self.shared_in_tmp),
            "PRIVATE": str(host.private),
            "PYTHON": sys.executable,
            "INIT": _INIT,
        }
        enter = [*self.enter(self._switch.pid), "--"] if self._rootless else []
        spaces = ["-n", "-u", "-m"]
        if not host.is_login:
            spaces += ["-i", "-p", "--fork", "--kill-child", "--mount-proc"]
        script = _LOGIN if host.is_login else _HOST
        return popen_process([*enter, "unshare", *spaces, "--", "sh", "-c", script], {**os.environ, **settings})

    def _ip(self, *lines: str) -> None:
        assert self._switch is not None
        run_with_input([*self.enter(self._switch.pid), "-n", "--", "ip", "-batch", "-"], "\n".join(lines) + "\n")

    def _end(self) -> None:
        processes = [host.process for host in self.hosts if host.process is not None]
        for host in self.hosts:
            if host.process is None or host.process.poll() is not None:
                continue
            if host.init:
                # The process that holds the host goes when this one is gone and reaped.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(host.init, signal.SIGKILL)
            else:
                host.process.kill()
        if self._keeper is not None:
            # What runs on the login host goes while its mounts are there to know it by.
            self._keeper.end()
        for other in (self.login.process if self.login is not None else None, self._switch):
            if other is not None:
                other.kill()
                processes.append(other)
        for process in processes:
            close_process(process)
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def obstacle() -> str | None:
    """Why a lab cannot be had here; None if it can."""
    if not sys.platform.startswith("linux"):
        return "it needs Linux"
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"it needs {', '.join(missing)} (util-linux, iproute2)"
    try:
        with HostsLab(2) as lab:
            done = lab.host(0).run(["true"])
            return None if done.returncode == 0 else f"a host runs nothing: {done.stderr.strip()}"
    except (LabError, OSError, subprocess.SubprocessError) as error:
        return str(error)


def require_lab() -> None:
    """Skip the test, saying why, where there can be no lab; under FLOWC_LABS=required that is a failure."""
    import pytest  # the lab itself needs only the standard library

    why = obstacle()
    if why is not None:
        text = f"no lab of several hosts here: {why}"
        pytest.fail(text) if _REQUIRED else pytest.skip(text)
