"""Every framework on this machine: it succeeds, raises and is tried again, is killed, and misses a rank.

In the same runs: how soon the failure is told, and whether anything secret could be seen meanwhile.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from framework_rows import ROWS as OWN_ROWS
from framework_rows_control import CONTROL_ROWS
from frameworks_lab import HEAVY, GangLab, patient, require

ROWS = {**OWN_ROWS, **CONTROL_ROWS}
NAMES = [name if name == "parallel" else pytest.param(name, marks=pytest.mark.slow) for name in ROWS]
pytestmark = pytest.mark.timeout(2 * HEAVY)

TOLD_WITHIN = 3.0
"""Seconds from a rank's failure to the report of every rank."""
KEYS = {"ray": {"ray-token"}, "dask": {"key.pem"}}
"""What the frameworks keep in files of their own."""
SEEN = {"ray": b"raylet", "dask": b"dask_worker", "mpi": b"mpi_sum.py", "deepspeed": b"zero.py", "torchrun": b"--out"}
"""What shows that the watch looked while the gang was running."""


def lab(name: str, tmp_path: Path, *, retry: bool = False) -> GangLab:
    row = ROWS[name]
    require(row)
    return GangLab(tmp_path, row.flow(retry=retry), row.files)


@pytest.mark.parametrize("name", NAMES)
def test_it_raises_on_one_rank_and_the_second_attempt_succeeds(name: str, tmp_path: Path) -> None:
    row, gang = ROWS[name], lab(name, tmp_path, retry=True)
    with gang.watch() as watch:
        said = gang.run("--what", "raise")
    assert f"work/{row.victim} failed in attempt 1: {row.raised}" in said, said
    assert gang.artifact("join", "values") == row.values(2)
    assert [gang.record(f"work/{rank}").attempt for rank in range(2)] == [1, 1]
    failure, seconds = gang.report()
    assert failure.rank == row.victim and seconds < patient(TOLD_WITHIN)
    assert watch.kinds() == KEYS.get(name, set())
    assert any(SEEN.get(name, b"flowc") in command for command in watch.commands)
    if name == "ray":
        assert gang.secret_of("ray", 1).hex().encode() in watch.secrets()
    gang.assert_clean(said, watch=watch)


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_process_ends_all_and_is_named(name: str, tmp_path: Path) -> None:
    row, gang = ROWS[name], lab(name, tmp_path)
    said = gang.run("--what", "kill", code=1)
    told = gang.failure()
    victim = row.victim if row.killed_rank is None else row.killed_rank
    assert (told["address"], told["rank"]) == (f"work/{victim}", victim)
    assert row.killed in said
    failure, seconds = gang.report()
    assert failure.rank == victim and seconds < patient(TOLD_WITHIN)
    gang.assert_clean(said)


@pytest.mark.parametrize(
    ("name", "size"),
    [pytest.param(name, size, marks=pytest.mark.slow) for name, row in ROWS.items() for size in row.sizes if size > 2],
)
def test_more_ranks(name: str, size: int, tmp_path: Path) -> None:
    gang = lab(name, tmp_path)
    gang.run("--ranks", str(size))
    assert gang.artifact("join", "values") == ROWS[name].values(size)
    gang.assert_clean()


@pytest.mark.parametrize("name", NAMES)
def test_a_rank_that_never_starts_is_named(name: str, tmp_path: Path) -> None:
    gang = lab(name, tmp_path)
    gang.create_run()
    done = gang.rank_0_alone(FLOWC_GANG_TIMEOUT="0.5")
    assert done.returncode == 69
    assert done.stderr.count("rank 1") == 1 and "0.5 s" in done.stderr, done.stderr
    gang.assert_clean(done.stdout, done.stderr)
