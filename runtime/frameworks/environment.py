"""What surrounds a rank: its network interface, its share of the host, free ports. Found without external programs."""

from __future__ import annotations

import math
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Optional

from .. import contract
from ..gang import GangHandle
from .base import Site

FIRST, LAST = 20000, 32000
"""Free ports are looked for below those that Linux gives to outgoing connections (ip(7), ip_local_port_range)."""

INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME")

SHUTDOWN = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
"""The variable that says how many seconds torch's processes have between SIGTERM and SIGKILL."""


def defaults(site: Site, processes: int = 1) -> dict[str, str]:
    """Variables that make a framework's processes work here, without those that the user has set.

    Parameters
    ----------
    site : Site
        The rank.
    processes : int
        How many processes it starts, which share its cores.
    """
    gang = site.gang
    wanted: dict[str, str] = {}
    interface = interface_of(gang.members[gang.rank].address) or route_to(gang.members[0].address)
    if interface is not None:
        # A host's own name is often that of its loopback, where no other host finds it.
        wanted.update(dict.fromkeys(INTERFACES, interface))
    wanted["OMP_NUM_THREADS"] = str(max(1, cores() // (len(neighbours(gang)) * max(1, processes))))
    grace = contract.seconds(contract.PREEMPT_GRACE)
    if grace is not None:
        # Else torch kills its workers after 30 s, however long the gang has to save what it has.
        wanted[SHUTDOWN] = str(math.ceil(grace))
    missing = {name: value for name, value in wanted.items() if name not in os.environ}
    own = shared_out(gang)
    # Where it is set already, this is a part of what the user allowed.
    return {**missing, "CUDA_VISIBLE_DEVICES": ",".join(own)} if own else missing


def neighbours(gang: GangHandle) -> list[int]:
    """The ranks on this rank's host, itself included."""
    here = gang.members[gang.rank]
    return [member.rank for member in gang.members if (member.host, member.address) == (here.host, here.address)]


def cores() -> int:
    """How many cores this process may use, by its affinity and its control group."""
    count = allowed_cpus()
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return count


def allowed_cpus() -> int:
    """How many CPUs this process may run on, by its affinity alone; so torch counts them."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


# Devices --------------------------------------------------------------------------------------------------------------


def devices(environ: Optional[Mapping[str, str]] = None, folder: str = "/dev") -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    given = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        found: list[str] = []
        for name in map(str.strip, given.split(",")):
            if not name or name.startswith("-") or name == "NoDevFiles":
                break  # CUDA stops at the first that is none
            found.append(name)
        return found
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [str(n) for n in range(sum(1 for name in names if re.fullmatch(r"nvidia[0-9]+", name)))]


def shared_out(gang: GangHandle) -> list[str]:
    """This rank's own GPUs where several ranks share a host that has enough of them; empty where all see all."""
    here = neighbours(gang)
    found = devices()
    if len(here) < 2 or len(found) < len(here):
        return []
    each = len(found) // len(here)
    at = here.index(gang.rank) * each
    return found[at : at + each]


def device_count(site: Site) -> int:
    """How many GPUs this rank is to use: those it sees, no more than the step asked for."""
    seen = len(shared_out(site.gang) or devices())
    return min(seen, int(site.gpus)) if site.gpus >= 1 else seen


# The network ----------------------------------------------------------------------------------------------------------


def route_to(address: str) -> Optional[str]:
    """The interface by which packets to an address leave; None where the system does not tell."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))  # sends nothing
            return interface_of(sock.getsockname()[0])
    except OSError:
        return None


def bracketed(address: str) -> str:
    """An IP address as it is written before a port: IPv6 in brackets (RFC 3986)."""
    return f"[{address}]" if ":" in address else address


def interface_of(address: str) -> Optional[str]:
    """The interface that has an IP address; None if none of this host's has it."""
    for name, owned in _addresses():
        if owned == address.partition("%")[0]:
            return name
    return "lo" if address.startswith("127.") and sys.platform.startswith("linux") else None


def _addresses() -> Iterator[tuple[str, str]]:
    # getifaddrs(3)
    try:
        import ctypes
        import ctypes.util

        class IfAddrs(ctypes.Structure):
            pass

        IfAddrs._fields_ = [
            ("next", ctypes.POINTER(IfAddrs)),
            ("name", ctypes.c_char_p),
            ("flags", ctypes.c_uint),
            ("address", ctypes.c_void_p),
        ]
        libc = ctypes.CDLL(None, use_errno=True)
        first = ctypes.POINTER(IfAddrs)()
        if libc.getifaddrs(ctypes.byref(first)) != 0:
            return
    except (ImportError, OSError, AttributeError):
        return
    try:
        at = first
        while at:
            entry = at.contents
            if entry.address and entry.name:
                text = _address(ctypes.string_at(entry.address, 2), entry.address, ctypes.string_at)
                if text is not None:
                    yield os.fsdecode(entry.name), text
            at = entry.next
    finally:
        libc.freeifaddrs(first)


def _address(head: bytes, at: int, read: Any) -> Optional[str]:
    # BSD's sockaddr begins with its length, Linux's with the family in two bytes.
    family = int.from_bytes(head, sys.byteorder) if sys.platform.startswith("linux") else head[1]
    if family == socket.AF_INET:
        return socket.inet_ntop(family, read(at + 4, 4))
    if family == socket.AF_INET6:
        return socket.inet_ntop(family, read(at + 8, 16))
    return None


# Ports ----------------------------------------------------------------------------------------------------------------


@contextmanager
def free_ports(address: str, count: int = 1) -> Iterator[list[int]]:
    """TCP ports that nobody uses at an address of this host; nobody else is given them within the ``with`` block.

    Raises
    ------
    OSError
        If the address is not one of this host's, or there are no free ports.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as kept:
        ports: list[int] = []
        tries = 0
        while len(ports) < count:
            port = FIRST + int.from_bytes(os.urandom(4), "big") % (LAST - FIRST + 1)
            sock = kept.enter_context(socket.socket(family, socket.SOCK_STREAM))
            try:
                sock.bind((address, port))
            except OSError as error:
                import errno

                tries += 1
                if error.errno != errno.EADDRINUSE or tries > 200:
                    raise
                continue
            ports.append(port)
        yield ports


def agreed_ports(gang: GangHandle) -> list[int]:
    """One free port on each rank, in rank order, the same list on every rank; a collective call."""
    with free_ports(bindable(gang)) as (port,):
        ports = gang.allgather(port)
        gang.barrier()  # nobody lets its own go before all ranks of a host have one
    return ports


def agreed_port(gang: GangHandle) -> int:
    """A free port on the control rank, the same on every rank; a collective call."""
    if gang.rank:
        return int(gang.broadcast())
    with free_ports(bindable(gang)) as (port,):
        pass
    return int(gang.broadcast(port))


def bindable(gang: GangHandle) -> str:
    # Behind an address translation the others reach this host under an address that it does not have.
    address = gang.members[gang.rank].address
    return address if interface_of(address) is not None else ""


def taken(address: str, port: int) -> Optional[str]:
    """Why a port of this host cannot be used; None if it can."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address if interface_of(address) is not None else "", port))
    except (OSError, OverflowError) as error:
        return f"port {port} of {address} cannot be used ({getattr(error, 'strerror', None) or error})"
    return None
