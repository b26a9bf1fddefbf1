"""How long a gang takes to form on loopback: from the first rank's start until every rank's code has passed a barrier.

``python benchmarks/gang_formation.py SIZE`` prints the median of a few gangs and of the floor in seconds: the same
number of processes, each forking one more, with nothing between them.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

from flowc.runtime.gang import GangHandle, Membership, supervise

_TOKEN = os.urandom(32)


def started(size: int, rank_code: Callable[[int], int]) -> float:
    """Seconds until as many processes, each running ``rank_code(rank)``, have all ended with 0."""
    began = time.monotonic()
    pids = []
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = rank_code(rank)
            finally:
                os._exit(code)
        pids.append(pid)
    codes = [os.waitpid(pid, 0)[1] for pid in pids]
    if any(codes):
        raise SystemExit(f"a gang of {size} failed: {codes}")
    return time.monotonic() - began


def gang(size: int, number: int) -> float:
    """Seconds for one gang, with its end."""
    run = f"{os.getpid()}-{size}-{number}"

    def body(handle: GangHandle) -> int:
        handle.barrier()
        return 0

    def rank(each: int) -> int:
        return supervise(Membership(size, each), _TOKEN, body, run=run, address="bench", timeout=60).code

    return started(size, rank)


def floor(size: int) -> float:
    """Seconds for two processes a rank that do nothing."""

    def rank(each: int) -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        return os.waitpid(pid, 0)[1]

    return started(size, rank)


def main(size: int) -> None:
    """Print the median seconds of a few gangs, and of the processes alone."""
    rounds = 5 if size <= 16 else 3
    ours, bare = zip(*((gang(size, number), floor(size)) for number in range(rounds)))
    print(statistics.median(ours), statistics.median(bare))


if __name__ == "__main__":
    main(int(sys.argv[1]))
