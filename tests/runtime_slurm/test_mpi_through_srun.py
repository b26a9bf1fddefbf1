"""MPI programs that a real Slurm starts itself, through PMI-2. MPICH knows that; its mpirun is not used."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from flow_slurm import Slurm
from flow_target import until
from slurm_runs import ended, job_of, one_gang, submitted, write

sys.path.insert(0, str(Path(__file__).parents[1] / "frameworks"))

from frameworks_lab import mpich, path_with_mpich

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SUM_C = r"""
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int rank, size, sum; char host[64];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    gethostname(host, sizeof host);
    printf("rank %d of %d on %s: %d %s\n", rank, size, host, sum, argc > 1 ? argv[1] : "");
    fflush(stdout);
    if (argc > 2 && rank == 1) exit(atoi(argv[2]));
    MPI_Finalize();
    return 0;
}
"""

SUM = """
folder = "/tmp/sum-" + current.run_id  # each node has a /tmp of its own
program = folder + "/sum"
os.mkdir(folder)
current.mpi.cc([os.path.join(os.environ["SOURCES"], "sum.c"), "-o", program])
current.mpi.nodes.run({1: ["mkdir", folder]})
try:
    current.mpi.run(program=program)
except Exception as error:
    self.missing = str(error)
current.mpi.broadcast_file(program)
current.mpi.run(["--mpi=pmi2"], program, program_args=["it's $HOME"])
current.mpi.exec(["--mpi=pmi2", "-np", "2"], program, ["one each"])
try:
    current.mpi.run(["--mpi=pmi2"], [program, "bad", "3"])
except Exception as error:
    self.failed = [type(error).__name__, error.returncode, str(error)]
current.mpi.run(["--mpi=pmi2", "-np", "2"], "sh", ["-c", "test -d $TMPDIR && echo TMPDIR is there"])
current.mpi.nodes.run({rank: ["rm", "-r", folder] for rank in (0, 1)})
self.launcher = os.path.basename(current.mpi.launcher.path)
"""

TOLD = """
control = next(i for i in inputs if hasattr(i, "launcher"))
self.launcher, self.failed, self.missing = control.launcher, control.failed, control.missing
"""

SAVE_C = r"""
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int rank;
static void mark(const char *what) {
    char name[4096];
    snprintf(name, sizeof name, "%s/%s%d", getenv("SOURCES"), what, rank);
    fclose(fopen(name, "w"));
}
static void save(int number) { sleep(1); mark("saved"); _exit(0); }
int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    signal(SIGTERM, save);
    mark("ready");
    sleep(100);
    return 0;
}
"""

SAVE = """
program = os.path.join(os.environ["SOURCES"], "save")
current.mpi.cc([program + ".c", "-o", program])
current.mpi.run(program=program)
"""


def with_mpich(on_slurm: Slurm, **sources: str) -> dict[str, str]:
    """The environment to submit a run with; the sources lie where all nodes see them."""
    for name, text in sources.items():
        (on_slurm.folder / f"{name}.c").write_text(text)
    return {"PATH": path_with_mpich(on_slurm.cluster.env["PATH"]), "SOURCES": str(on_slurm.folder)}


def sum_flow(options: str) -> str:
    """Runs the program that adds up the ranks, in several ways."""
    return one_gang("SumFlow", f"@mpi({options})\n@resources(cpu=2)", SUM, TOLD)


def without_mpirun(path: str, folder: Path) -> str:
    """A PATH with all programs of this one but for mpirun and mpiexec."""
    folder.mkdir()
    (folder / "mpicc").write_text(f'#!/bin/sh\nexec {mpich()}/mpicc "$@"\n')  # it goes by where it lies
    (folder / "mpicc").chmod(0o755)
    for each in filter(os.path.isdir, path.split(":")):
        for program in Path(each).iterdir():
            if not program.name.startswith(("mpirun", "mpiexec")) and not os.path.lexists(folder / program.name):
                (folder / program.name).symlink_to(program)
    return str(folder)


def test_srun_starts_the_processes_of_a_program(on_slurm: Slurm) -> None:
    run = on_slurm.run(write(on_slurm, sum_flow('launcher="srun"')), env=with_mpich(on_slurm, sum=SUM_C))
    assert run.artifact("join", "launcher") == "srun"
    kind, code, said = run.artifact("join", "failed")
    assert (kind, code) == ("ProgramFailed", 3) and said.startswith("srun: task 1 exited with code 3; its last"), said
    assert "is not on rank 1 on host node" in run.artifact("join", "missing")
    assert run.log("work/0", "stdout").count("TMPDIR is there") == 2
    lines = [line for line in run.log("work/0", "stdout").splitlines() if line.startswith("rank ")]
    nodes = sorted({line.split()[5].rstrip(":") for line in lines})
    assert len(nodes) == 2
    expected = [f"rank {rank} of 4 on {nodes[rank // 2]}: 6 it's $HOME" for rank in range(4)]
    expected += [f"rank {rank} of 2 on {nodes[rank]}: 1 one each" for rank in range(2)]
    expected += [f"rank {rank} of 4 on {nodes[rank // 2]}: 6 bad" for rank in range(4)]
    assert sorted(lines) == sorted(expected)


def test_srun_takes_the_place_of_an_mpirun_that_is_not_there(on_slurm: Slurm) -> None:
    env = with_mpich(on_slurm, sum=SUM_C)
    env["PATH"] = without_mpirun(env["PATH"], on_slurm.folder / "programs")
    env["FLOWC_PYTHON"] = str(on_slurm.folder / "programs" / "python3")
    run = on_slurm.run(write(on_slurm, sum_flow("")), env=env)
    assert run.artifact("join", "launcher") == "srun"


def test_processes_of_srun_that_are_asked_to_end_have_time_to_save(on_slurm: Slurm) -> None:
    decorators = '@checkpoint\n@mpi(launcher="srun")\n@slurm(setup="export SLURM_MPI_TYPE=pmi2")'
    flow = one_gang("SaveFlow", decorators, SAVE)
    run = submitted(on_slurm, write(on_slurm, flow), env=with_mpich(on_slurm, save=SAVE_C))
    until(lambda: len(list(on_slurm.folder.glob("ready*"))) == 2, 60, "the program never ran")
    # The warning that Slurm sends a job before its time limit.
    on_slurm.cluster.run(["scancel", "--batch", "--signal=USR1", job_of(on_slurm, run, "work._")], check=True)
    failure = ended(on_slurm, "SaveFlow", run)["failure"]
    assert "preempt" in str(failure).lower()
    assert sorted(path.name for path in on_slurm.folder.glob("saved*")) == ["saved0", "saved1"]
