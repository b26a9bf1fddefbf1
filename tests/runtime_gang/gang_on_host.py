"""One rank on a host of the lab: ``gang_on_host.py FOLDER RANK SIZE MAIN WHAT``; what it found goes to FOLDER."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowc.runtime.gang import GangHandle, Limits, Membership, supervise

LIMITS = Limits(timeout=15.0, heartbeat=0.2, silence=1.5, grace=0.5, preempt_grace=1.0, handshake=2.0)
PATIENT = replace(LIMITS, silence=8.0)
"""TCP waits longer after each packet that is lost, so a network is silent for up to twice as long as it is cut."""


def main(folder: Path, rank: int, size: int, control: str, what: str) -> int:
    def meet(handle: GangHandle) -> int:
        found: dict[str, Any] = {
            "members": [[m.host, m.address] for m in handle.members],
            "uid": os.getuid(),
            "sum": sum(handle.allgather(handle.rank)),
        }
        if rank == 0:
            (folder / "sent").write_bytes(b"x" * 3_000_000)
        private = handle.broadcast_file(str(folder / "sent"), "/tmp/received")  # each host has its own /tmp
        found["received"] = Path(private).stat().st_size
        (folder / f"{rank}.found").write_text(json.dumps(found))
        return 0

    def stay(handle: GangHandle) -> int:
        handle.barrier()
        (folder / f"{rank}.running").write_text("")
        deadline = time.monotonic() + (4.0 if what == "stay-a-little" else 60.0)
        while time.monotonic() < deadline:
            time.sleep(0.05)
        handle.barrier()
        return 0

    result = supervise(
        Membership(size, rank, control),
        b"a token for the hosts of the lab",
        meet if what == "meet" else stay,
        run="lab",
        address="train/0",
        limits=PATIENT if what == "stay-a-little" else LIMITS,
    )
    failure = None if result.failure is None else result.failure.to_json()
    (folder / f"{rank}.part").write_text(json.dumps({"failure": failure}))
    (folder / f"{rank}.part").rename(folder / f"{rank}.result")
    return result.code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]))
