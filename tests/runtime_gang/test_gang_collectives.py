"""What the ranks do together."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.gang import EXIT_GANG_FAILED, CollectiveError, GangError, GangHandle
from gang_ranks import QUICK, gang


class Odd:
    """Pickles, but only where this is the main rank's module."""

    def __reduce__(self) -> Any:
        return (_explode, ())


def _explode() -> None:
    raise ImportError("no module named elsewhere")


def run(size: int, body: Any) -> None:
    # Nobody is silent here, but a busy machine may let a rank wait.
    with gang(size, limits=replace(QUICK, silence=10.0)) as ranks:
        ranks.start_all(body)
        codes = ranks.wait()
        assert codes == [0] * size, "\n".join(rank.err for rank in ranks.ranks.values())


def test_values_reach_whom_they_are_for() -> None:
    def body(handle: GangHandle) -> int:
        mine = {"rank": handle.rank, "data": b"x" * 1000}
        for root in range(handle.size):
            assert handle.broadcast(mine, root) == {**mine, "rank": root}
            assert handle.broadcast(handle.rank if handle.rank == root else None, root=root) == root
            gathered = handle.gather(handle.rank**2, root)
            assert gathered == ([0, 1, 4, 9] if handle.rank == root else None)
        assert handle.allgather(None) == [None] * 4
        return 0

    run(4, body)


def test_a_barrier_holds_all_until_the_last_has_come() -> None:
    def body(handle: GangHandle) -> int:
        if handle.rank == 1:
            time.sleep(0.5)
        came = time.monotonic()
        handle.barrier()
        left = time.monotonic()
        both = handle.allgather((came, left))
        assert max(came for came, _ in both) <= min(left for _, left in both)
        return 0

    run(3, body)


def test_a_hundred_calls_in_a_row_stay_in_step() -> None:
    def body(handle: GangHandle) -> int:
        for at in range(100):
            assert handle.allgather((at, handle.rank)) == [(at, rank) for rank in range(3)]
        return 0

    run(3, body)


@pytest.mark.slow
def test_large_values_pass_and_larger_ones_are_refused_with_a_way_out() -> None:
    def body(handle: GangHandle) -> int:
        data = os.urandom(1 << 20) * 30
        assert hashlib.sha256(handle.broadcast(data if handle.rank == 1 else None, root=1)).digest()
        assert [len(part) for part in handle.allgather(data[: 5 << 20])] == [5 << 20] * 2
        if handle.rank == 0:
            try:
                handle.gather(bytes(65 << 20))
            except CollectiveError as error:
                assert "rank 0" in str(error) and "gather(root=0)" in str(error) and "65.0 MiB" in str(error)
                assert "broadcast_file" in str(error)
            else:
                return 1
        handle.barrier()
        return 0

    run(2, body)


def test_what_cannot_be_pickled_is_said_where_it_is() -> None:
    def body(handle: GangHandle) -> int:
        with pytest.raises(CollectiveError, match="a generator cannot travel"):
            handle.allgather(at for at in range(3))
        with pytest.raises(CollectiveError, match="the value of rank 1 cannot be read here: no module named elsewhere"):
            handle.allgather(Odd() if handle.rank else None)
        with pytest.raises(CollectiveError, match="no rank 2 in a gang of 2"):
            handle.broadcast(1, root=2)
        handle.barrier()
        return 0

    run(2, body)


def test_different_calls_are_an_error_on_every_rank_that_names_them() -> None:
    def body(handle: GangHandle) -> int:
        handle.barrier()
        with pytest.raises(CollectiveError) as caught:
            handle.barrier() if handle.rank != 1 else handle.gather(1, root=2)
        text = str(caught.value)
        assert "call number 2" in text and "gather(root=2) by rank 1" in text and "barrier by rank" in text
        with pytest.raises(CollectiveError) as again:
            handle.barrier()
        assert str(again.value) == text
        return 0

    run(3, body)


def test_a_rank_that_ended_is_not_waited_for() -> None:
    def body(handle: GangHandle) -> int:
        if handle.rank == 1:
            return 0
        with pytest.raises(CollectiveError, match=r"rank 1 ended without barrier, call number 1 to the gang"):
            handle.barrier()
        return 0

    run(3, body)


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, 20 * (1 << 20) + 17])
def test_a_file_arrives_whole_with_its_permissions(tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1 << 16) * (size >> 16) + os.urandom(size & 0xFFFF))
    source.chmod(0o754)

    def body(handle: GangHandle) -> int:
        target = str(tmp_path / f"copy{handle.rank}")
        assert handle.broadcast_file(str(source), target, root=1) == target
        handle.barrier()
        return 0

    run(3, body)
    for rank in range(3):
        copy = tmp_path / f"copy{rank}"
        assert copy.read_bytes() == source.read_bytes()
        assert stat.S_IMODE(copy.stat().st_mode) == 0o754
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy0", "copy1", "copy2", "source"]


def test_a_file_goes_into_a_folder_or_to_its_own_path(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("text")
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()

    def body(handle: GangHandle) -> int:
        folder = tmp_path / str(handle.rank)
        assert handle.broadcast_file(str(source), str(folder)) == str(folder / "a.txt")
        assert handle.broadcast_file(str(source)) == str(source)
        deep = folder / "new" / "b.txt"
        assert handle.broadcast_file(str(source), str(deep)) == str(deep)
        assert deep.read_text() == (folder / "a.txt").read_text() == source.read_text() == "text"
        return 0

    run(2, body)


def test_a_file_that_cannot_be_read_or_written_is_an_error_on_all_ranks(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(3 << 20))
    (tmp_path / "file").write_text("")

    def body(handle: GangHandle) -> int:
        with pytest.raises(CollectiveError, match=r"rank 0: cannot read it .No such file"):
            handle.broadcast_file(str(tmp_path / "missing"), str(tmp_path / f"copy{handle.rank}"))
        target = tmp_path / ("file/below" if handle.rank == 2 else f"copy{handle.rank}")
        with pytest.raises(CollectiveError, match=r"rank 2: cannot write .*file/below"):
            handle.broadcast_file(str(source), str(target))
        handle.barrier()  # and the gang goes on
        return 0

    run(3, body)
    assert not [path for path in tmp_path.iterdir() if "part" in path.name]


def test_abort_ends_the_gang_with_the_message() -> None:
    def body(handle: GangHandle) -> int:
        if handle.rank == 1:
            handle.abort("the data are not there")
        time.sleep(60)
        return 0

    with gang(3) as ranks:
        ranks.start_all(body)
        assert ranks.wait() == [EXIT_GANG_FAILED, 1, EXIT_GANG_FAILED]
        (failure,) = ranks.failures()
        assert failure is not None and failure.kind == "abort"
        assert str(failure) == "rank 1 on host host1 aborted the gang: the data are not there"


def test_a_fork_of_the_body_cannot_speak_for_it() -> None:
    def body(handle: GangHandle) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                handle.barrier()
            except GangError as error:
                os._exit(0 if "not from a fork" in str(error) else 2)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        handle.barrier()
        return 0

    run(2, body)


def test_what_a_body_registered_for_its_end_is_run_and_what_was_before_is_not() -> None:
    import atexit

    def never() -> None:
        print("of the process that supervises")

    def body(handle: GangHandle) -> int:
        atexit.register(print, "of the body")
        sys.exit(0)

    atexit.register(never)
    try:
        with gang(1) as ranks:
            ranks.start_all(body)
            assert ranks.wait() == [0]
            assert ranks.ranks[0].out == "of the body\n"
    finally:
        atexit.unregister(never)
