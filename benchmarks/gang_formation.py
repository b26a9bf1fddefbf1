"""How long a gang takes to form on loopback: from the first rank's start until every rank's code has passed a barrier.

``python benchmarks/gang_formation.py [SIZE ...]`` prints, for each size, the median of a few gangs beside the floor:
the same number of processes, each forking one more, with nothing between them.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

from flowc.runtime.gang import GangHandle, Membership, supervise

TARGETS = {4: 0.5, 64: 3.0}
"""Seconds on two cores."""
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


def main(sizes: list[int]) -> int:
    """Measure and print; 1 if a target is missed."""
    missed = False
    for size in sizes:
        rounds = 5 if size <= 16 else 3
        pairs = [(gang(size, number), floor(size)) for number in range(rounds)]
        ours, bare = (statistics.median(column) for column in zip(*pairs))
        target = TARGETS.get(size)
        missed |= target is not None and ours > target
        wanted = f"   target {target:.1f} s" if target is not None else ""
        print(f"gang of {size:3}: {ours:.3f} s   processes alone {bare:.3f} s{wanted}", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main([int(each) for each in sys.argv[1:]] or [4, 64]))
