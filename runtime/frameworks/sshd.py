"""A real sshd on each rank, for programs that insist on ssh: keys made for the attempt, a port and a folder of its own.

Nothing of the user's is read or written, least of all ``~/.ssh``. The host keys are exchanged over the gang's
authenticated connections, so that the client checks them strictly; private keys never leave the node that made them.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from . import environment, programs
from .base import FrameworkMissing, Site
from .daemons import wait_for_port
from .programs import Program

_PRIVILEGE_SEPARATION = "/run/sshd"
"""The folder into which an sshd of root locks who has not logged in yet; its path is compiled in."""
_OURS = 0o700
"""The mode of such a folder that flowc made; the system's has 755, and flowc takes only its own away."""
_GIVEN = (
    "PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS",
    "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "FLOWC_RUN_ID", "FLOWC_GANG_SIZE",
    "FLOWC_GANG_RANK", "FLOWC_GANG_MAIN",
)  # fmt: skip
_HOW = "install it on every node, as with `apt-get install openssh-server openssh-client`, or leave ssh=True out"


def require() -> None:
    """See that sshd, ssh and ssh-keygen are here, and that this user may use them.

    Raises
    ------
    FrameworkMissing
        If not.
    """
    for name in ("sshd", "ssh", "ssh-keygen"):
        _program(name)
    try:
        import pwd

        pwd.getpwuid(os.getuid())
    except (ImportError, KeyError):
        raise FrameworkMissing(
            f"@mpi(ssh=True): ssh refuses users without an entry in the password file, as {os.getuid()}: give the user "
            f"one, or leave ssh=True out, which needs none"
        ) from None


@contextmanager
def sshd(site: Site) -> Iterator[str]:
    """Run this rank's sshd; gives the path of a program ``program HOST WORD...`` that reaches the others with ssh.

    It is a collective call.

    Parameters
    ----------
    site : Site
        The rank.
    """
    gang = site.gang
    folder = os.path.join(site.folder, "ssh")
    os.mkdir(folder, 0o700)
    host_key, user_key = (_key(os.path.join(folder, name)) for name in ("host_key", "user_key"))
    address = gang.members[gang.rank].address
    with environment.free_ports(environment.bindable(gang)) as (port,):
        pass
    about = gang.allgather((port, _read(f"{host_key}.pub"), _read(f"{user_key}.pub")))
    with open(os.path.join(folder, "authorized_keys"), "w", encoding="ascii") as file:
        file.writelines(user for _, _, user in about)
    with open(os.path.join(folder, "known_hosts"), "w", encoding="ascii") as file:
        for member, (where, host, _) in zip(gang.members, about):
            file.write(f"[{member.address}]:{where} {host}")
    _write(os.path.join(folder, "sshd_config"), _server(folder, address, port, host_key))
    _write(os.path.join(folder, "config"), _client(site, folder, user_key, [where for where, _, _ in about]))
    agent = os.path.join(folder, "flowc-ssh")
    _write(agent, ["#!/bin/sh", f'exec {shlex.join([_program("ssh"), "-F", os.path.join(folder, "config")])} "$@"'])
    os.chmod(agent, 0o700)
    with _privilege_separation():
        argv = [_program("sshd"), "-D", "-e", "-f", os.path.join(folder, "sshd_config")]
        server = Program(argv, out=programs.dropped, err=programs.dropped)
        try:
            wait_for_port(address, port, server, "sshd", site.patience)
            gang.barrier()
            yield agent
        finally:
            server.stop(1.0)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _privilege_separation() -> Iterator[None]:
    """See that the folder is there; what flowc made of it goes with the last of its sshds on this machine."""
    if os.getuid() != 0:
        yield
        return
    handle = _held(_PRIVILEGE_SEPARATION)
    try:
        yield
    finally:
        if stat.S_IMODE(os.fstat(handle).st_mode) == _OURS:
            with suppress(OSError):  # others hold it
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.rmdir(_PRIVILEGE_SEPARATION)
        os.close(handle)


def _held(path: str) -> int:
    """A folder, made if need be, opened and locked against those who would take it away."""
    while True:
        with suppress(FileExistsError):
            os.mkdir(path, _OURS)
        with suppress(FileNotFoundError):
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(handle, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):  # nobody took it away in between
                    return handle
            os.close(handle)


def _server(folder: str, address: str, port: int, host_key: str) -> list[str]:
    # Only what programs are found and connected by: the environment may hold secrets, which belong in no file.
    # With SHLVL bash does not take itself for a login over ssh, and leaves alone the ~/.bashrc that would change PATH.
    kept = {"SHLVL": "1", **{name: os.environ[name] for name in _GIVEN if name in os.environ}}
    given = " ".join(f'"{name}={value}"' for name, value in kept.items() if not set(value) & set("\"\n\\'"))
    return [
        f"Port {port}",
        f"ListenAddress {address}",
        f"HostKey {host_key}",
        f"AuthorizedKeysFile {os.path.join(folder, 'authorized_keys')}",
        "PidFile none",
        "UsePAM no",
        "StrictModes no",  # the folder above may belong to others; this one is the user's alone
        "PubkeyAuthentication yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "AllowTcpForwarding no",
        "X11Forwarding no",
        "PrintMotd no",
        f"SetEnv {given}",
    ]


def _client(site: Site, folder: str, user_key: str, ports: list[int]) -> list[str]:
    lines = []
    for member, port in zip(site.gang.members, ports):
        lines += [f"Host {member.address} {member.host}", f"    HostName {member.address}", f"    Port {port}"]
    return [
        *lines,
        "Host *",
        f"    IdentityFile {user_key}",
        "    IdentitiesOnly yes",
        "    BatchMode yes",
        "    StrictHostKeyChecking yes",
        f"    UserKnownHostsFile {os.path.join(folder, 'known_hosts')}",
        "    GlobalKnownHostsFile none",
        "    UpdateHostKeys no",
        "    LogLevel ERROR",
    ]


def _program(name: str) -> str:
    path = os.pathsep.join([programs.search_path(), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise FrameworkMissing(f"@mpi(ssh=True): there is no {name} on this machine: {_HOW}")
    return os.path.abspath(found)  # sshd starts itself anew, and wants to know where it is


def _key(path: str) -> str:
    words = [_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "flowc", "-f", path]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise FrameworkMissing(f"@mpi(ssh=True): ssh-keygen failed: {shlex.join(words)}: {done.stderr.strip()}")
    return path


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _write(path: str, lines: list[str]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
