"""What srun is told where Slurm starts an MPI program; tests/runtime_slurm runs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flowc.runtime.frameworks import mpi, mpi_srun
from flowc.runtime.frameworks.arguments import BadArguments
from flowc.runtime.frameworks.base import FrameworkMissing
from flowc.runtime.frameworks.mpi_launch import Host
from flowc.runtime.frameworks.mpi_srun import Srun, arguments, environment
from flowc.runtime.frameworks.programs import ProgramFailed

TWO = [Host("10.0.0.1", "a", 4), Host("10.0.0.2", "b", 4)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--nodes 2 --ntasks-per-node 4 --ntasks 8"),
        (["-n", "2"], "--nodes 2 --ntasks-per-node 1 -n 2"),
        (["--ntasks=3"], "--nodes 2 --ntasks-per-node 2 --ntasks=3"),
        (["-n", "1"], "--nodes 1 --ntasks-per-node 1 -n 1"),
        (["-n", "9"], "--nodes 2 --ntasks-per-node 5 --overcommit -n 9"),
        (["-n", "many"], "-n many"),
        (["-n", "0"], "-n 0"),
        (["-n", "2", "--nodes=1"], "-n 2 --nodes=1"),
        (["-n", "2", "-m", "cyclic"], "-n 2 -m cyclic"),
        (["--mpi=pmi2", "-c", "2"], "--nodes 2 --ntasks-per-node 2 --ntasks 4 --mpi=pmi2 -c 2"),
        (["--cpus-per-task=8"], "--nodes 2 --ntasks-per-node 1 --ntasks 2 --cpus-per-task=8"),
        (["-N", "1", "-x", "node3"], "-N 1 -x node3"),
        # What was written for mpirun.
        (["-np", "2"], "--nodes 2 --ntasks-per-node 1 --ntasks 2"),
        (["--np=2"], "--nodes 2 --ntasks-per-node 1 --ntasks=2"),
        (["-ppn", "1", "-n", "2"], "--ntasks-per-node 1 -n 2"),
        (["--allow-run-as-root", "--oversubscribe"], "--nodes 2 --ntasks-per-node 4 --ntasks 8 --overcommit"),
        (["--hostfile", "hostfile.txt"], "--nodes 2 --ntasks-per-node 4 --ntasks 8"),
        (["--map-by", "core"], "--nodes 2 --ntasks-per-node 4 --ntasks 8 --map-by core"),
    ],
)
def test_every_node_gets_its_share_and_what_the_user_says_goes_before(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "4")
    assert " ".join(arguments(words, TWO, asked=True)) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-c", "2"], "--nodes 2 --ntasks-per-node 1 --ntasks 2"),
        (["-N", "3"], "--ntasks-per-node 3"),
        (["-np", "2", "-tag-output"], "--nodes 2 --ntasks-per-node 1 --ntasks 2 --label"),
    ],
)
def test_what_was_written_for_mpirun_means_the_same_where_there_is_none(words: list[str], expected: str) -> None:
    assert " ".join(arguments(words, TWO, asked=False)) == expected


def test_a_variable_set_by_mpirun_is_no_host_to_avoid() -> None:
    with pytest.raises(BadArguments, match="set the variable in os"):
        arguments(["-x", "NAME=value"], TWO, asked=False)


def test_the_interface_of_one_node_is_not_told_to_others() -> None:
    around = {"NCCL_SOCKET_IFNAME": "ib0", "GLOO_SOCKET_IFNAME": "mine"}
    assert "NCCL_SOCKET_IFNAME" in environment(around, "/scratch", ["ib0", "ib0"])
    kept = environment(around, "/scratch", ["ib0", "ib1"])
    assert "NCCL_SOCKET_IFNAME" not in kept and kept["GLOO_SOCKET_IFNAME"] == "mine"


def test_more_slots_than_the_job_has_processors_are_filled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    assert "--overcommit" in arguments([], TWO, True)
    monkeypatch.delenv("SLURM_CPUS_ON_NODE")
    assert "--overcommit" not in arguments([], TWO, True)


def test_numbers_of_the_step_around_are_no_orders_for_the_one_within() -> None:
    around = {
        "PATH": "/bin",
        "TMPDIR": "/scratch/rank-0/tmp",
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_JOB_ID": "7",
        "SLURM_MPI_TYPE": "pmi2",
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_CPUS_PER_TASK": "3",
        "SLURM_STEP_ID": "0",
        "SLURM_OVERLAP": "0",
        "PMI_RANK": "0",
        "PMIX_RANK": "0",
        "PMIX_MCA_gds": "hash",
        "SRUN_CPUS_PER_TASK": "2",
    }
    kept = ("PATH", "SLURM_CONF", "SLURM_JOB_ID", "SLURM_MPI_TYPE", "PMIX_MCA_gds", "SRUN_CPUS_PER_TASK")
    expected = {name: around[name] for name in kept} | {"SLURM_OVERLAP": "1", "SLURM_KILL_BAD_EXIT": "1"}
    # The other nodes have no such folder.
    assert environment(around, "/scratch/rank-0") == expected | {"TMPDIR": "/scratch"}
    assert environment(around, "/scratch/rank") == expected | {"TMPDIR": "/scratch/rank-0/tmp"}
    assert "TMPDIR" not in environment({}, "/scratch/rank-0")


def programs(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("wanted", "there", "in_a_step", "taken"),
    [
        (None, ["mpirun", "srun"], True, "mpirun"),
        (None, ["srun"], True, "srun"),
        ("srun", ["mpirun", "srun"], True, "srun"),
        ("srun", ["mpirun", "srun"], False, "mpirun"),
        ("srun", ["mpirun"], True, "mpirun"),
        ("mpirun", ["mpirun", "srun"], True, "mpirun"),
        ("mpirun", ["srun"], True, ""),
        (None, ["srun"], False, ""),
        (None, [], True, ""),
    ],
)
def test_who_starts_the_processes(
    wanted: str | None,
    there: list[str],
    in_a_step: bool,
    taken: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = str(programs(tmp_path / "bin", *there))
    for module in (mpi.programs, mpi.mpi_launch, mpi_srun):
        monkeypatch.setattr(module, "search_path", lambda: folder)
    monkeypatch.setenv("FLOWC_SLURM_REGION", "start")
    if in_a_step:
        monkeypatch.setenv("SLURM_PROCID", "0")
    else:
        monkeypatch.delenv("SLURM_PROCID", raising=False)
    options = {"launcher": wanted}
    if taken:
        mpi.FRAMEWORK.require(options)
        assert mpi._launcher(options) == (os.path.join(folder, taken), taken == "srun")
    else:
        with pytest.raises(FrameworkMissing, match="there is no mpirun on this machine: install an MPI"):
            mpi.FRAMEWORK.require(options)


def test_a_flow_that_runs_within_an_allocation_of_its_own_does_not_ask_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.delenv("FLOWC_SLURM_REGION", raising=False)
    assert mpi_srun.srun() is None


def test_there_is_a_hostfile_for_who_wants_one(tmp_path: Path) -> None:
    launcher = Srun("/usr/bin/srun", TWO, str(tmp_path / "hostfile"), ["eth0", "eth0"], True)
    assert (tmp_path / "hostfile").read_text() == "10.0.0.1 slots=4\n10.0.0.2 slots=4\n"
    assert launcher.command("mpirun", ["-n", "2", "-w", "node1"]) == ["/usr/bin/srun", "-n", "2", "-w", "node1"]
    assert launcher.names_hosts(["-w", "node1"]) and not launcher.names_hosts(["-n", "1"])


@pytest.mark.parametrize(
    ("code", "lines", "told"),
    [
        (143, ["srun: error: a: task 1: Exited with exit code 3", "srun: error: b: tasks 2-3: Terminated"], 3),
        (3, ["srun: error: node0: tasks 0-1: Exited with exit code 3"], 3),
        (137, ["srun: error: node0: task 1: Killed"], 137),
        (1, ["srun: error: Unable to create step"], 1),
        (2, ["srun: unrecognized option '--map-by'"], 2),
    ],
)
def test_the_code_is_that_of_the_task_that_failed_first(code: int, lines: list[str], told: int, tmp_path: Path) -> None:
    launcher = Srun("/usr/bin/srun", TWO, str(tmp_path / "hostfile"), ["eth0", "eth0"], True)
    error = launcher.explained(ProgramFailed(f"srun exited with code {code}", code, lines))
    assert (error.returncode, list(error.lines)) == (told, lines)
