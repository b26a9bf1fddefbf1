"""What mpirun is told, whoever wrote it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flowc.runtime.frameworks import mpi, mpi_launch
from flowc.runtime.frameworks.arguments import has_option
from flowc.runtime.frameworks.base import FrameworkMissing
from flowc.runtime.frameworks.mpi_launch import HYDRA, OPEN_MPI, Host, environment, hostfile, hosts, placement
from flowc.runtime.gang import Member

TWO = [Host("10.0.0.1", "a", 4), Host("10.0.0.2", "b", 4)]
WITH_FILE = ["--hostfile", "hf"]


def test_ranks_on_one_machine_are_one_host_with_the_room_of_all() -> None:
    members = [Member(0, "a", "10.0.0.1", 2), Member(1, "b", "10.0.0.2", 3), Member(2, "a", "10.0.0.1", 2)]
    assert hosts(members, None) == [Host("10.0.0.1", "a", 4), Host("10.0.0.2", "b", 3)]
    assert hosts(members, 1) == [Host("10.0.0.1", "a", 2), Host("10.0.0.2", "b", 1)]


def test_a_hostfile_names_addresses_which_nobody_has_to_resolve() -> None:
    assert hostfile(TWO, OPEN_MPI) == "10.0.0.1 slots=4\n10.0.0.2 slots=4\n"
    assert hostfile(TWO, HYDRA) == "10.0.0.1:4\n10.0.0.2:4\n"
    assert hostfile([Host("fd00::1", "six", 1)], OPEN_MPI) == "six slots=1\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [*WITH_FILE, "-n", "8"]),
        (["-n", "2"], [*WITH_FILE, "--map-by", "ppr:1:node"]),
        (["-np", "3"], [*WITH_FILE, "--map-by", "ppr:2:node"]),
        (["-n", "8"], WITH_FILE),
        (["-n", "20", "--oversubscribe"], WITH_FILE),
        (["-n", "2", "--map-by", "core"], WITH_FILE),
        (["--map-by", "ppr:1:node"], WITH_FILE),
        (["-n", "2", "--hostfile", "mine"], []),
        (["-n", "2", "--host=10.0.0.1"], []),
    ],
)
def test_every_host_gets_its_share_and_what_the_user_says_goes_before(words: list[str], expected: list[str]) -> None:
    assert placement(words, TWO, OPEN_MPI, "hf") == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--hostfile", "hostfile.txt", "-n", "2"], ["-n", "2"]),
        (["-n", "2", "--machinefile=/gone/hostfile.txt", "--oversubscribe"], ["-n", "2", "--oversubscribe"]),
        (["-f", "hostfile"], []),
        (["--hostfile", "there/hostfile.txt"], ["--hostfile", "there/hostfile.txt"]),
        (["--hostfile", "mine.txt"], ["--hostfile", "mine.txt"]),
        (["--hostfile"], ["--hostfile"]),
        (["-x", "hostfile.txt", "--host", "a"], ["-x", "hostfile.txt", "--host", "a"]),
    ],
)
def test_a_usual_hostfile_that_is_not_there_is_the_gang_s_own(
    words: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "hostfile.txt").touch()
    kept = mpi_launch.without_usual_hostfile(words)
    assert kept == expected
    own = placement(kept, TWO, OPEN_MPI, "hf")[:2]
    assert own == ([] if has_option(expected, *mpi_launch.HOST_OPTIONS) else WITH_FILE)


def test_sources_are_found_beside_the_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, here = tmp_path / "source", tmp_path / "here"
    for folder in (source, here):
        folder.mkdir()
        (folder / "both.c").touch()
    for name in ("x.c", "x"):
        (source / name).touch()
    monkeypatch.chdir(here)
    found = mpi_launch.compiler_words(["-O2", "x.c", "both.c", "none.c", "-o", "x"], str(source))
    assert found == ["-O2", str(source / "x.c"), "both.c", "none.c", "-o", "x"]


def test_hydra_is_told_the_same_in_its_own_words() -> None:
    assert placement([], TWO, HYDRA, "hf") == ["-f", "hf", "-n", "8"]
    assert placement(["-n", "2"], TWO, HYDRA, "hf") == ["-f", "hf", "-ppn", "1"]
    told = environment(TWO, HYDRA, "hf", "/tmp/agent")
    assert (told["HYDRA_LAUNCHER_EXEC"], told["HYDRA_HOST_FILE"]) == ("/tmp/agent", "hf")


def test_a_single_host_needs_no_shares() -> None:
    assert placement(["-n", "2"], TWO[:1], OPEN_MPI, "hf") == WITH_FILE


def test_what_the_user_set_is_left_alone_but_not_what_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRTE_MCA_hwloc_default_binding_policy", "core")
    monkeypatch.setenv("PRTE_MCA_plm_ssh_agent", "ssh")
    told = environment(TWO, OPEN_MPI, "hf", "/tmp/agent")
    assert "PRTE_MCA_hwloc_default_binding_policy" not in told
    assert told["PRTE_MCA_plm_ssh_agent"] == told["OMPI_MCA_plm_rsh_agent"] == "/tmp/agent"
    assert told["PRTE_MCA_plm"] == "ssh"


def test_an_agent_whose_path_has_a_space_is_found_on_the_path() -> None:
    told = environment(TWO, OPEN_MPI, "hf", "/my folder/agent")
    assert told["PRTE_MCA_plm_ssh_agent"] == "agent"
    assert told["PATH"].split(os.pathsep)[0] == "/my folder"


def test_root_is_allowed_where_there_is_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{p}_ALLOW_RUN_AS_ROOT{s}" for p in ("OMPI", "PRTE") for s in ("", "_CONFIRM")]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert all(environment(TWO, OPEN_MPI, "hf", "/a")[name] == "1" for name in names)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not set(names) & set(environment(TWO, OPEN_MPI, "hf", "/a"))


def test_a_missing_compiler_is_named(tmp_path: Path) -> None:
    mpicc = tmp_path / "mpicc"
    mpicc.write_text("#!/bin/sh\necho no-such-compiler -I/include\n")
    mpicc.chmod(0o755)
    with pytest.raises(FrameworkMissing, match=r"needs the C compiler no-such-compiler.*apt-get install gcc"):
        mpi_launch.check_compiler(str(mpicc))


@pytest.mark.parametrize(
    ("says", "kind"), [("mpirun (Open MPI) 4.1.4", OPEN_MPI), ("HYDRA build details:", HYDRA), ("?", OPEN_MPI)]
)
def test_whose_mpirun_it_is(tmp_path: Path, says: str, kind: str) -> None:
    mpirun = tmp_path / "mpirun"
    mpirun.write_text(f"#!/bin/sh\necho '{says}'\n")
    mpirun.chmod(0o755)
    assert mpi_launch.flavour(str(mpirun)) == kind


def test_only_the_gang_s_own_interface_is_used_where_all_hosts_name_it_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment(TWO, OPEN_MPI, "hf", "/a", ["eth1", "eth1"])["OMPI_MCA_btl_tcp_if_include"] == "eth1"
    for interfaces in (["eth0", "eth1"], [None, None], ["eth0", None], []):
        assert "OMPI_MCA_btl_tcp_if_include" not in environment(TWO, OPEN_MPI, "hf", "/a", interfaces)
    assert "OMPI_MCA_btl_tcp_if_include" not in environment(TWO[:1], OPEN_MPI, "hf", "/a", ["lo"])
    monkeypatch.setenv("OMPI_MCA_btl_tcp_if_exclude", "lo")
    assert "OMPI_MCA_btl_tcp_if_include" not in environment(TWO, OPEN_MPI, "hf", "/a", ["eth1", "eth1"])


@pytest.mark.parametrize(
    ("there", "calls", "missing"),
    [
        (["mpirun"], ["cc"], "there is no mpicc on this machine: it comes with the MPI's development files"),
        (["mpirun", "mpicc"], ["cc"], "mpicc needs the C compiler no-such-compiler"),
        (["mpirun"], ["exec"], "there is no mpiexec on this machine"),
        (["mpirun", "mpiexec"], ["exec"], ""),
        (["mpirun"], [], ""),
    ],
)
def test_what_the_step_calls_has_to_be_there_before_the_gang_forms(
    there: list[str], calls: list[str], missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in there:
        (tmp_path / name).write_text("#!/bin/sh\necho no-such-compiler -I/include\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(mpi_launch, "search_path", lambda: str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    if not missing:
        mpi.FRAMEWORK.require({}, calls)
        return
    with pytest.raises(FrameworkMissing, match=missing):
        mpi.FRAMEWORK.require({}, calls)
