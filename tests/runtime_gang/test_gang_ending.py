"""Living and dying as one: whatever happens to any rank, all end, and all name the same first rank."""

from __future__ import annotations

import ctypes
import faulthandler
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.gang import EXIT_GANG_FAILED, EXIT_PREEMPTED, GangHandle, Membership, output, supervise
from flowc.runtime.gang.loop import Loop
from gang_ranks import QUICK, TOKEN, alive, gang, wait_for


def stay(handle: GangHandle) -> int:
    time.sleep(60)
    return 0


def stays_but(rank: int, does: Any) -> Any:
    def body(handle: GangHandle) -> int:
        handle.barrier()
        if handle.rank == rank:
            print("to stdout", flush=True)
            print("to stderr", file=sys.stderr)
            return int(does())
        return stay(handle)

    return body


def raises() -> int:
    raise ValueError("the rank's own words")


def segfaults() -> int:
    faulthandler.disable()
    ctypes.string_at(0)
    return 0


ENDS = {
    "raises": (raises, 1, None, "exited with code 1", "ValueError: the rank's own words"),
    "exits": (lambda: sys.exit(7), 7, None, "exited with code 7", "to stderr"),
    "returns": (lambda: 5, 5, None, "exited with code 5", "to stderr"),
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), None, 9, "was killed by SIGKILL", "to stderr"),
    "segfaults": (segfaults, None, 11, "was killed by SIGSEGV", "to stderr"),
}


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("how", list(ENDS))
def test_the_first_rank_that_fails_takes_all_down_and_is_named(how: str, rank: int) -> None:
    does, code, number, reason, last = ENDS[how]
    with gang(3) as ranks:
        ranks.start_all(stays_but(rank, does))
        began = time.monotonic()
        codes = ranks.wait()
        assert time.monotonic() - began < 3.0
        own = code if number is None else 128 + number
        assert codes == [own if each == rank else EXIT_GANG_FAILED for each in range(3)]
        (failure,) = ranks.failures()
        assert failure is not None
        assert (failure.rank, failure.host, failure.exit_code, failure.signal) == (rank, f"host{rank}", code, number)
        assert str(failure) == f"rank {rank} on host host{rank} {reason}"
        assert last in failure.last_lines and "to stdout" in failure.last_lines


@pytest.mark.parametrize("rank", [0, 1])
def test_a_supervisor_that_is_killed_is_a_lost_rank(rank: int) -> None:
    with gang(3) as ranks:
        ranks.start_all(stay)
        bodies = [each.body for each in ranks.ranks.values()]
        killed = ranks.ranks.pop(rank)
        os.kill(killed.pid, signal.SIGKILL)
        began = time.monotonic()
        assert ranks.wait() == [EXIT_GANG_FAILED] * 2
        assert time.monotonic() - began < 3.0
        os.waitpid(killed.pid, 0)
        assert not any(map(alive, bodies))
        reports = {(f.rank, f.kind) for f in ranks.failures() if f is not None}
        assert reports == {(rank, "lost")}
        assert all("was lost" in str(f) and "connection" in str(f) for f in ranks.failures())


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 2])
def test_a_supervisor_that_gives_no_sign_of_life_is_a_lost_rank(rank: int) -> None:
    with gang(3, limits=replace(QUICK, silence=0.8)) as ranks:
        ranks.start_all(stay)
        [each.body for each in ranks.ranks.values()]
        stopped = ranks.ranks.pop(rank)
        os.kill(stopped.pid, signal.SIGSTOP)
        began = time.monotonic()
        assert ranks.wait() == [EXIT_GANG_FAILED] * 2
        assert 0.5 < time.monotonic() - began < 4.0
        (failure,) = {(f.rank, f.kind) for f in ranks.failures() if f is not None}
        assert failure == (rank, "lost")
        assert all("no sign of life for 0.8 s" in str(f) for f in ranks.failures())
        # Once it goes on, it finds itself cut off, and ends its body too.
        os.kill(stopped.pid, signal.SIGCONT)
        ranks.ranks = {rank: stopped}
        assert ranks.wait(5.0) == [EXIT_GANG_FAILED]


@pytest.mark.slow
def test_a_body_that_holds_the_interpreter_or_is_stopped_misses_no_heartbeat() -> None:
    def body(handle: GangHandle) -> int:
        if handle.rank == 1:
            # PyDLL keeps the interpreter's lock for the whole call.
            ctypes.PyDLL(None).usleep(ctypes.c_uint(900_000))
            ctypes.PyDLL(None).usleep(ctypes.c_uint(900_000))
        handle.barrier()
        return 0

    with gang(2, limits=replace(QUICK, silence=0.8)) as ranks:
        ranks.start_all(body)
        assert ranks.wait() == [0, 0]


@pytest.mark.slow
def test_the_control_waits_for_all_and_a_late_failure_counts() -> None:
    def body(handle: GangHandle) -> int:
        if handle.rank == 2:
            time.sleep(1.0)
            return 3
        return 0

    with gang(3) as ranks:
        ranks.start_all(body)
        assert ranks.wait() == [EXIT_GANG_FAILED, EXIT_GANG_FAILED, 3]
        assert min(rank.ended - rank.started for rank in ranks.ranks.values()) > 1.0


def test_who_does_not_listen_to_sigterm_is_killed_after_the_grace() -> None:
    def body(handle: GangHandle) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        handle.barrier()
        return 4 if handle.rank == 1 else stay(handle)

    with gang(2, limits=replace(QUICK, grace=0.6)) as ranks:
        ranks.start_all(body)
        began = time.monotonic()
        assert ranks.wait() == [EXIT_GANG_FAILED, 4]
        assert 0.5 < time.monotonic() - began < 4.0


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("checkpoints", [True, False])
def test_sigterm_at_one_rank_lets_all_checkpoint_and_ends_as_preempted(rank: int, checkpoints: bool) -> None:
    def body(handle: GangHandle) -> int:
        def save(*_: object) -> None:
            time.sleep(0.3)
            print("checkpointed", flush=True)
            sys.exit(0)

        signal.signal(signal.SIGTERM, save if checkpoints else signal.SIG_IGN)
        handle.barrier()
        return stay(handle)

    with gang(2, limits=replace(QUICK, preempt_grace=2.0)) as ranks:
        ranks.start_all(body)
        [each.body for each in ranks.ranks.values()]
        time.sleep(0.2)
        os.kill(ranks.ranks[rank].pid, signal.SIGTERM)
        began = time.monotonic()
        assert ranks.wait() == [EXIT_PREEMPTED] * 2
        lasted = time.monotonic() - began
        assert (0.25 < lasted < 1.9) if checkpoints else (1.9 < lasted < 5.0)
        if checkpoints:
            assert all("checkpointed" in each.out for each in ranks.ranks.values())
        assert all(each.result["preempted"] for each in ranks.ranks.values())
        assert f"rank {rank} on host host{rank} was asked to end by SIGTERM" in str(ranks.ranks[1 - rank].failure)


def test_every_process_that_came_from_a_body_goes_with_it() -> None:
    """Children, orphans and daemons with sessions of their own; that the test's end finds none is the assertion."""
    script = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    os.fork()\n    time.sleep(60)\n"

    def body(handle: GangHandle) -> int:
        subprocess.Popen(["sleep", "60"])
        subprocess.Popen(["sleep", "61"], start_new_session=True)
        subprocess.run([sys.executable, "-c", script], check=True)
        handle.barrier()
        return 0 if handle.rank else 3

    with gang(2) as ranks:
        ranks.start_all(body)
        assert ranks.wait() == [3, EXIT_GANG_FAILED]

    with gang(2) as ranks:
        ranks.start_all(lambda handle: body(handle) and 0)
        assert ranks.wait() == [0, 0]


def test_a_process_that_keeps_the_output_open_does_not_keep_the_rank() -> None:
    def body(handle: GangHandle) -> int:
        subprocess.Popen(["sleep", "60"], start_new_session=True)
        return 0

    with gang(2) as ranks:
        ranks.start_all(body)
        assert ranks.wait(3.0) == [0, 0]


def test_the_output_is_passed_on_complete_and_unchanged() -> None:
    def body(handle: GangHandle) -> int:
        os.write(1, bytes(range(256)) * 20_000)
        os.write(2, b"no newline at the end")
        return 0

    with gang(2) as ranks:
        ranks.start_all(body)
        assert ranks.wait() == [0, 0]
        for rank in range(2):
            assert (ranks.folder / f"{rank}.out").read_bytes() == bytes(range(256)) * 20_000
            assert (ranks.folder / f"{rank}.err").read_bytes() == b"no newline at the end"


@pytest.mark.slow
def test_a_slow_reader_of_the_output_gets_all_of_it_and_stops_no_heartbeat(tmp_path: Path) -> None:
    size = 3 << 20

    def body(handle: GangHandle) -> int:
        os.write(1, b"x" * size) if handle.rank else None
        return 0

    with gang(2, limits=replace(QUICK, silence=0.8)) as ranks:
        ranks.start(0, body)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            place = Membership(2, 1, "127.0.0.1")
            result = supervise(place, TOKEN, body, run=ranks.run, address="train/0", stdout=write, limits=ranks.limits)
            os._exit(result.code)
        os.close(write)
        time.sleep(1.2)
        got = 0
        while data := os.read(read, 1 << 16):
            got += len(data)
        os.close(read)
        assert os.waitpid(pid, 0)[1] == 0
        assert got == size
        assert ranks.wait() == [0]


def test_the_last_lines_are_the_last_and_bounded() -> None:
    def body(handle: GangHandle) -> int:
        if handle.rank == 1:
            for at in range(5000):
                print("line", at, "é")
            print("y" * 100_000)
            sys.stdout.flush()
            os.write(2, b"\xff\xfe bytes, \n")
            return 9
        return stay(handle)

    with gang(2) as ranks:
        ranks.start_all(body)
        assert ranks.wait() == [EXIT_GANG_FAILED, 9]
        (failure,) = ranks.failures()
        assert failure is not None
        assert len(failure.last_lines) == 20
        assert failure.last_lines[-1] == "\\xff\\xfe bytes, " and failure.last_lines[0] == "line 4982 é"
        assert max(map(len, failure.last_lines)) == 2000


def test_a_program_can_be_the_body() -> None:
    with gang(2) as ranks:
        script = 'echo "$FLOWC_GANG_RANK of $FLOWC_GANG_SIZE at $FLOWC_GANG_MAIN"; sleep 0.4; exit $FLOWC_GANG_RANK'
        ranks.start_all(["sh", "-c", script])
        assert ranks.wait() == [EXIT_GANG_FAILED, 1]
        assert [rank.out for rank in ranks.ranks.values()] == ["0 of 2 at 127.0.0.1\n", "1 of 2 at 127.0.0.1\n"]
    with gang(2) as ranks:
        ranks.start_all(["/no/such/program"])
        assert EXIT_GANG_FAILED in ranks.wait() or 127 in ranks.wait()
        assert all(f and "cannot start /no/such/program" in f.last_lines[-1] for f in ranks.failures())


def test_no_secret_is_seen() -> None:
    def body(handle: GangHandle) -> int:
        handle.barrier()
        subprocess.run(["sh", "-c", "env; cat /proc/$PPID/cmdline /proc/$PPID/environ"], check=True)
        handle.barrier()  # or the first to fail would have the other ended before it has looked
        return 3 if handle.rank else stay(handle)

    with gang(2) as ranks:
        ranks.start_all(body)
        ranks.wait()
        for file in ranks.folder.iterdir():
            data = file.read_bytes()
            assert data or file.suffix in (".err",)
            assert TOKEN not in data and TOKEN.hex().encode() not in data


def test_what_was_there_before_is_there_afterwards() -> None:
    """Handlers and children of the process that supervises are none of the gang's business."""

    def body(handle: GangHandle) -> int:
        return 0

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            seen: list[int] = []
            signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
            child = subprocess.Popen(["sleep", "60"])
            result = supervise(Membership(1, 0), TOKEN, body, run="r", address="a")
            os.kill(os.getpid(), signal.SIGTERM)
            code = 0 if result.code == 0 and child.poll() is None and seen == [signal.SIGTERM] else 2
            child.kill()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def test_as_the_first_process_of_a_container_it_reaps_and_ends(tmp_path: Path) -> None:
    script = tmp_path / "first.py"
    script.write_text(
        "import os, subprocess, sys, time\n"
        "from flowc.runtime.gang import Membership, supervise\n"
        "def body(handle):\n"
        "    subprocess.run(['sh', '-c', 'sleep 0.05 & exit 0'])\n"  # an orphan for PID 1
        "    time.sleep(0.3)\n"
        "    states = [open(f'/proc/{p}/stat').read().split(') ')[1][0] for p in os.listdir('/proc') if p.isdigit()]\n"
        "    print(os.getppid(), 'Z' in states, flush=True)\n"
        "    time.sleep(60)\n"
        "assert os.getpid() == 1\n"
        "sys.exit(supervise(Membership(1, 0), b'0123456789abcdef', body, run='r', address='a', preempt_grace=5).code)\n"
    )
    options = ["-r"] if os.geteuid() else []
    probe = subprocess.run(["unshare", *options, "-p", "-m", "--fork", "--mount-proc", "true"], capture_output=True)
    if probe.returncode:
        pytest.skip(f"no process namespaces here: {probe.stderr.decode().strip()}")
    command = ["unshare", *options, "-p", "-m", "--fork", "--kill-child", "--mount-proc", sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1 False\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        first = int(wait_for(children, lambda path: path.read_text()))
        began = time.monotonic()
        os.kill(first, signal.SIGTERM)
        assert process.wait(5) == EXIT_PREEMPTED
        assert time.monotonic() - began < 3.0


def test_it_refuses_what_cannot_work() -> None:
    import threading

    with pytest.raises(ValueError, match="at least 16 random bytes"):
        supervise(Membership(1, 0), b"short", lambda handle: 0, run="r", address="a")
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            supervise(Membership(1, 0), TOKEN, lambda handle: 0, run="r", address="a")
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 1 and "main thread" in str(errors[0])


@pytest.mark.slow
def test_a_file_that_takes_its_time_stops_no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does whose server does not answer for a while; all of the output is in it in the end."""
    real, began = os.write, time.monotonic()

    def write(descriptor: int, data: bytes) -> int:
        if descriptor in (1, 2) and time.monotonic() - began < 2.5:
            time.sleep(2.0)
        return real(descriptor, data)

    def body(handle: GangHandle) -> int:
        if handle.rank == 1:
            for number in range(1000):
                print(number, "x" * 100)
            print("the end", file=sys.stderr)
        handle.barrier()
        return 0

    monkeypatch.setattr(os, "write", write)
    with gang(2, limits=replace(QUICK, silence=0.8)) as ranks:
        ranks.start_all(body)
        assert ranks.wait() == [0, 0]
        lines = ranks.ranks[1].out.splitlines()
        assert len(lines) == 1000 and lines[-1] == "999 " + "x" * 100
        assert ranks.ranks[1].err == "the end\n"


def test_a_file_that_takes_nothing_makes_the_body_wait_and_no_memory_fill_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, written, threads = threading.Event(), [], threading.active_count()

    def write_all(descriptor: int, data: bytes) -> None:
        go_on.wait(10.0)
        written.append(data)

    monkeypatch.setattr(output, "write_all", write_all)
    source, end = os.pipe()
    os.set_blocking(end, False)
    loop, files = Loop(), output.FileWriter()
    with open(tmp_path / "log", "wb") as file:
        relay = output.Relay(loop, source, file.fileno(), output.LastLines(itertools.count()), files)
        loop.after(20.0, lambda: None)
        sent = 0
        for _ in range(200):
            with suppress(BlockingIOError):
                sent += os.write(end, b"x" * (1 << 16))
            loop.after(0.001, lambda: None)
            loop.turn()
        assert 1 << 20 <= sent <= (1 << 20) + (1 << 18) and not relay.done
        os.close(end)
        go_on.set()
        while not relay.done:
            loop.turn()
        assert sum(map(len, written)) == sent
        relay.close()
        files.close()
        loop.close()
    assert threading.active_count() == threads


def test_helpers_of_a_body_that_ended_well_may_tidy_up() -> None:
    """Python's own helper removes the shared memory that nobody has removed, once the program is gone."""
    script = "from multiprocessing import shared_memory as s; print(s.SharedMemory(create=True, size=10).name)"
    with gang(2) as ranks:
        ranks.start_all([sys.executable, "-c", script])
        assert ranks.wait() == [0, 0]
        names = [ranks.ranks[rank].out.strip() for rank in range(2)]
        assert all(names) and not [name for name in names if os.path.exists(f"/dev/shm/{name}")]


@pytest.mark.parametrize("does", [lambda: 0, lambda: subprocess.Popen(["sleep", "60"]) and 0])
def test_a_body_that_ended_well_is_not_waited_for(does: Any) -> None:
    with gang(1) as ranks:
        ranks.start_all(lambda handle: does())
        began = time.monotonic()
        assert ranks.wait() == [0]
        assert time.monotonic() - began < 2.0
