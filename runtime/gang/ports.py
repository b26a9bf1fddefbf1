"""Where the control rank listens: ports that every rank can work out by itself, so that nothing has to be announced."""

from __future__ import annotations

import hashlib
from typing import Optional

from .wire import GangName

FIRST, LAST = 20000, 32000
"""Below the ports that Linux gives to outgoing connections (32768-60999, ip(7) ip_local_port_range)."""
CANDIDATES = 16


def candidate_ports(name: GangName, port: Optional[int] = None) -> tuple[int, ...]:
    """The ports to try, in order; the same on every rank of the attempt.

    Parameters
    ----------
    name : GangName
        Run, address and attempt: another attempt has other ports, so that it seldom meets a zombie of the last one.
    port : int, optional
        A port that was asked for (FLOWC_GANG_PORT); it comes first, the others are there in case it is taken.
    """
    ports = [port] if port else []
    text = "\0".join((name.run, name.address, str(name.attempt)))
    count = 0
    while len(ports) < CANDIDATES:
        digest = hashlib.sha256(f"{text}\0{count}".encode("utf-8", "surrogatepass")).digest()
        candidate = FIRST + int.from_bytes(digest[:8], "big") % (LAST - FIRST + 1)
        count += 1
        if candidate not in ports:
            ports.append(candidate)
    return tuple(ports)
