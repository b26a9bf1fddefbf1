"""Stays beside a lab and ends what is left of it when the process that started it is gone, however it ended.

The standard input is a pipe from that process, which closes with it, also after a kill -9. Then

    lab_keeper.py FOLDER

removes FOLDER, and kills what it was told of by lines on its standard input: ``mounts PID``, all that sees the mounts
which that process sees now, and ``mark NAME=VALUE``, all that has it in its environment. And

    lab_keeper.py -- PROGRAM ARGUMENT...

which starts PROGRAM and adopts all that it leaves behind, as PID 1 would, kills all of that. The standard library and
no site: ``python -IS lab_keeper.py``.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
GOODBYES = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 20.0
"""Seconds to kill and remove for, before giving up."""


def processes() -> Iterator[int]:
    """All that this process sees, but itself."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            yield int(entry)


def is_zombie(pid: int) -> bool:
    """Whether only its exit status is left of a process, or not even that."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def in_mounts_of(pid: int) -> Callable[[int], bool]:
    """Whether a process sees the same mounts as another one."""
    space = os.readlink(f"/proc/{pid}/ns/mnt")
    if space == os.readlink("/proc/self/ns/mnt"):
        raise SystemExit(f"process {pid} has no mounts of its own")

    def is_there(other: int) -> bool:
        try:
            return os.readlink(f"/proc/{other}/ns/mnt") == space
        except OSError:
            return False

    return is_there


def has_in_environment(mark: str) -> Callable[[int], bool]:
    """Whether a process was started with a NAME=VALUE in its environment."""
    wanted = os.fsencode(mark)

    def has_mark(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return wanted in file.read().split(b"\0")
        except OSError:
            return False

    return has_mark


def is_keeper(pid: int) -> bool:
    """Whether a process runs this program: it ends by itself, after what it looks after."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.fsencode(__file__) in file.read().split(b"\0")
    except OSError:
        return False


def kill_all(belongs: Callable[[int], bool]) -> None:
    """Kill until nothing is left that belongs: a process may start others while it is looked for."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = [pid for pid in processes() if belongs(pid) and not is_zombie(pid)]
        if not found:
            return
        for pid in found:
            # What a keeper has adopted would be nobody's without it.
            if not is_keeper(pid) or time.monotonic() > deadline - PATIENCE / 2:
                kill(pid)
        time.sleep(0.01)


def kill(pid: int) -> None:
    """Kill a process that may be gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def parents() -> dict[int, int]:
    """The parent of every process."""
    found = {}
    for pid in processes():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                found[pid] = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            continue
    return found


def descendants(pid: int) -> set[int]:
    """All that came from a process and did not lose its parent to another one."""
    parent_of = parents()
    found, more = {pid}, {pid}
    while more:
        more = {each for each, parent in parent_of.items() if parent in more} - found
        found |= more
    return found - {pid}


def kill_descendants() -> None:
    """Kill all that came from this process; what loses its parent becomes a child of this one."""
    while True:
        for pid in descendants(os.getpid()):
            kill(pid)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def wait_for_the_end(listen: Callable[[str], None]) -> None:
    """Reap children, and hear what is said, until the standard input closes."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    heard = b""
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        ready = select.select([0, read], [], [])[0]
        if read in ready:
            os.read(read, 4096)
        if 0 in ready:
            said = os.read(0, 4096)
            if not said:
                return
            *lines, heard = (heard + said).split(b"\n")
            for line in lines:
                listen(os.fsdecode(line))


def supervise(command: list[str]) -> None:
    """Run a program until the standard input closes, and let nothing that came from it live on."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    if not os.fork():
        for each in GOODBYES:
            signal.signal(each, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)
    wait_for_the_end(lambda _: None)
    kill_descendants()


def guard(folder: str) -> None:
    """Wait for the standard input to close, kill what belongs to the lab and remove its folder."""
    tests: list[Callable[[int], bool]] = []

    def listen(line: str) -> None:
        kind, _, value = line.partition(" ")
        tests.append(in_mounts_of(int(value)) if kind == "mounts" else has_in_environment(value))
        print("ready", flush=True)

    print("ready", flush=True)
    wait_for_the_end(listen)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        kill_all(lambda pid: any(test(pid) for test in tests))
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
        time.sleep(0.05)
    raise SystemExit(f"{folder} could not be removed")


def main(argv: list[str]) -> None:
    """Do what the module says."""
    # They are for those that the keeper cleans up after.
    for each in GOODBYES:
        signal.signal(each, signal.SIG_IGN)
    if argv[0] == "--":
        supervise(argv[1:])
    else:
        guard(argv[0])


if __name__ == "__main__":
    main(sys.argv[1:])
