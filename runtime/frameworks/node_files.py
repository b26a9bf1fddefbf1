"""Files on the hosts of the ranks that stand by: copied there from the control rank, or looked for."""

from __future__ import annotations

import os
import queue
import stat
import threading
from collections.abc import Callable
from typing import Optional

from ..gang.failure import rank_on
from ..gang.wire import WireError
from . import programs
from .programs import ProgramFailed
from .standby import Nodes

_CHUNK = 1 << 18
# It appears complete or not at all. Hosts may share the folder, and in pods their process ids are often alike; so the
# sender chooses the name under which it comes.
_RECEIVE = """
set -e
mkdir -p "$(dirname "$1")"
trap 'rm -f "$1.$4.part"' EXIT
umask 077
cat > "$1.$4.part"
[ "$(wc -c < "$1.$4.part")" -eq "$2" ] || { echo "$1 did not come whole" >&2; exit 1; }
chmod "$3" "$1.$4.part"
mv -f "$1.$4.part" "$1"
"""
# As mpirun looks for it: a bare name on the PATH first, then in the working folder, where no shell looks.
_LOOK = """
command -v "$1" >/dev/null && exit
case "$1" in */*) exit 1 ;; esac
[ -f "./$1" ] && [ -x "./$1" ]
"""


def send_file(nodes: Nodes, path: str) -> None:
    """What ``current.mpi.broadcast_file`` does, and raises."""
    path = os.path.abspath(path)
    with open(path, "rb") as file:  # before any node is asked
        size, mode = os.fstat(file.fileno()).st_size, stat.S_IMODE(os.fstat(file.fileno()).st_mode)

    def send(rank: int) -> None:
        _send(nodes, rank, path, size, mode)

    _on_every_other_host(nodes, send)


def look_for_program(nodes: Nodes, program: str) -> None:
    """See that every other host has a program, by its path, on its PATH or in the working folder.

    Some launchers wait for ever when one of the nodes lacks it.

    Raises
    ------
    ProgramFailed
        Naming a node that has none.
    """

    def look(rank: int) -> None:
        link = nodes.connect(rank)
        try:
            argv = ["/bin/sh", "-c", _LOOK, "sh", program]
            link.send({"t": "run", "argv": argv, "cwd": os.getcwd(), "carry": True})
            for frame in link.frames():
                if frame.type == "exit" and frame.header["code"]:
                    where = rank_on(rank, nodes.gang.members[rank].host)
                    text = f"{program} is not on {where}: current.mpi.broadcast_file copies a program to all nodes"
                    raise ProgramFailed(text, 127)
        finally:
            link.close()

    _on_every_other_host(nodes, look)


def _on_every_other_host(nodes: Nodes, action: Callable[[int], None]) -> None:
    """Do something for the first rank of each host but the control rank's, for all at once."""
    ranks = [rank for rank in nodes.first_ranks() if rank]
    problems: queue.SimpleQueue[Optional[ProgramFailed]] = queue.SimpleQueue()

    def act(rank: int) -> None:
        try:
            action(rank)
            problems.put(None)
        except ProgramFailed as error:
            problems.put(error)
        except (OSError, WireError) as error:
            problems.put(ProgramFailed(f"{rank_on(rank, nodes.gang.members[rank].host)}: {error}", 255))

    for rank in ranks:
        threading.Thread(target=act, args=(rank,), daemon=True).start()
    found = [problem for problem in (problems.get() for _ in ranks) if problem is not None]
    if found:
        raise found[0]


def _send(nodes: Nodes, rank: int, path: str, size: int, mode: int) -> None:
    link = nodes.connect(rank)
    try:
        argv = ["/bin/sh", "-c", _RECEIVE, "sh", path, str(size), f"{mode:o}", os.urandom(8).hex()]
        link.send({"t": "run", "argv": argv, "carry": True})
        try:
            with open(path, "rb", buffering=0) as file:
                while True:
                    data = file.read(_CHUNK)
                    link.send({"t": "in"}, data)
                    if not data:
                        break
        except BrokenPipeError:
            pass  # it has ended early, and says why
        said = b""
        for frame in link.frames():
            if frame.type == "err":
                said = (said + frame.body)[-4000:]
            elif frame.type == "exit":
                code = int(frame.header["code"])
                if code:
                    where = rank_on(rank, nodes.gang.members[rank].host)
                    text = f"{path} was not copied to {where}"
                    raise ProgramFailed(text, programs.shell_code(code), said.decode("utf-8", "replace").splitlines())
                return
        raise ProgramFailed(f"the connection to rank {rank} was lost while {path} was copied", 255)
    finally:
        link.close()
