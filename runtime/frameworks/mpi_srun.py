"""MPI programs that Slurm starts itself, with ``srun``: where the MPI has no mpirun, or the step wants it so.

The rules are those of https://slurm.schedmd.com/srun.html and https://slurm.schedmd.com/mpi_guide.html.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Optional

from .. import contract
from .arguments import BadArguments, has_option, option_value
from .environment import INTERFACES
from .mpi_launch import OPEN_MPI, Host, without_usual_hostfile, write_hostfile
from .programs import ProgramFailed, search_path

_KEPT = (
    "SLURM_CONF", "SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_JOBID", "SLURM_MPI_TYPE", "SLURM_NETWORK",
    "SLURM_WORKING_CLUSTER",
)  # fmt: skip
"""What a step within the job goes by. The others tell of the step that this rank is a task of: srun would take its
numbers for orders, and an MPI would take the rank for one of its own."""

_COUNT = ("-n", "--ntasks")
_CORES = ("-c", "--cpus-per-task")
_PLACES = (
    "-N", "--nodes", "--ntasks-per-node", "-w", "--nodelist", "-x", "--exclude", "-m", "--distribution", "-r",
    "--relative",
)  # fmt: skip
_SAME = {
    "-np": "--ntasks", "--np": "--ntasks", "--n": "--ntasks",
    "-npernode": "--ntasks-per-node", "--npernode": "--ntasks-per-node", "-ppn": "--ntasks-per-node",
    "--ppn": "--ntasks-per-node", "-perhost": "--ntasks-per-node",
    "--oversubscribe": "--overcommit", "-oversubscribe": "--overcommit",
    "--tag-output": "--label", "-tag-output": "--label",
}  # fmt: skip
"""Options of mpirun that srun has by another name."""

_MPIRUN = {**_SAME, "-N": "--ntasks-per-node", "--N": "--ntasks-per-node", "-c": "--ntasks"}
"""The same of a step that says nothing of srun: there these, too, are mpirun's, and mean other things in srun."""

_NAMES_HOSTS = ("-w", "--nodelist", "-x", "--exclude")
_FAILED = re.compile(r"^srun: error: .*: tasks? ([0-9]+).*: Exited with exit code ([0-9]+)$")
_ROOT = ("--allow-run-as-root", "-allow-run-as-root")


def srun() -> Optional[str]:
    """The path of srun where this rank is a task of one that a job of flowc's started; else None.

    Inside a container there is none, as a rule; on a laptop or a login node there is no job.
    """
    if contract.SLURM_REGION not in os.environ or "SLURM_PROCID" not in os.environ:
        return None
    return shutil.which("srun", path=search_path())


class Srun:
    """srun as a launcher; for programs that want one, there is a hostfile in Open MPI's form.

    Parameters
    ----------
    path : str
        The program.
    hosts : sequence of Host
        The gang's machines.
    hosts_file : str
        Where the hostfile is written: in this rank's own folder.
    interfaces : sequence of str
        For each rank the network interface by which the others reach it, None where it is not known.
    asked : bool
        Whether the step asked for srun, so that its arguments are srun's and not mpirun's.
    """

    known_by: tuple[str, ...] = ("SLURM_PROCID",)
    environment: Mapping[str, str] = {}

    def __init__(
        self, path: str, hosts: Sequence[Host], hosts_file: str, interfaces: Sequence[Optional[str]], asked: bool
    ) -> None:
        self.path = path
        self._interfaces, self._asked = interfaces, asked
        self._hosts = hosts
        self._folder = os.path.dirname(hosts_file)
        write_hostfile(hosts_file, hosts, OPEN_MPI)

    def command(self, _: str, given: Sequence[str]) -> list[str]:
        return [self.path, *arguments(given, self._hosts, self._asked)]

    def variables(self) -> dict[str, str]:
        return environment(os.environ, self._folder, self._interfaces)

    def explained(self, error: ProgramFailed) -> ProgramFailed:
        # srun itself ends with the highest code of all, which is that of those that it then killed.
        for line in error.lines:
            told = _FAILED.search(line)
            if told and error.returncode > int(told[2]):
                return ProgramFailed(f"srun: task {told[1]} exited with code {told[2]}", int(told[2]), error.lines)
        return error

    def names_hosts(self, given: Sequence[str]) -> bool:
        return has_option(given, *_NAMES_HOSTS)


def arguments(given: Sequence[str], hosts: Sequence[Host], asked: bool) -> list[str]:
    """The words between srun and the program, from the words that were meant for mpirun or for srun.

    Parameters
    ----------
    given : sequence of str
        What the step wrote. Options that mpirun and srun have by different names become srun's; every other word is
        handed on, and srun says what it does not know.
    hosts : sequence of Host
        The gang's machines. Every host gets its share, as under mpirun, unless the words say where processes go.
    asked : bool
        Whether what may be read both ways is srun's.

    Raises
    ------
    BadArguments
        For mpirun's ``-x``, by which a variable is set.
    """
    words = _translated(without_usual_hostfile(given), asked)
    if has_option(words, *_PLACES):
        return words
    count, cores = option_value(words, *_COUNT), option_value(words, *_CORES) or "1"
    if count is None:
        wide = max(1, int(cores)) if cores.isdigit() else 1
        slots = [max(1, host.slots // wide) for host in hosts]
        nodes, each = len(hosts), max(slots)
        words = ["--ntasks", str(sum(slots)), *words]
    elif count.isdigit() and int(count) > 0:
        nodes = min(len(hosts), int(count))
        each = math.ceil(int(count) / nodes)
    else:
        return words  # srun says what is wrong with it
    if each > int(os.environ.get("SLURM_CPUS_ON_NODE") or each):
        words = ["--overcommit", *words]
    return ["--nodes", str(nodes), "--ntasks-per-node", str(each), *words]


def _translated(given: Sequence[str], asked: bool) -> list[str]:
    same, words = _SAME if asked else _MPIRUN, []
    for word in given:
        name, equals, value = word.partition("=")
        if name == "-x" and not asked:
            raise BadArguments(
                "the arguments have mpirun's -x, and here, where there is no mpirun, srun starts the processes: they "
                "get the whole environment; set the variable in os.environ"
            )
        if name not in _ROOT:
            words.append(same.get(name, name) + equals + value)
    return words


def environment(around: Mapping[str, str], folder: str, interfaces: Sequence[Optional[str]] = ()) -> dict[str, str]:
    """The environment for srun: ``around``, less what the step says of which this rank is a task.

    All nodes get it. So a TMPDIR in ``folder``, which only this one has, becomes the place where each has its own, and
    this node's network interface is not named where those of the others have other names.

    The processes share the processors, memory and devices that this step holds. That is asked for by a variable, which
    a Slurm before 20.11, where steps share them anyway, does not mind; it would not know the option.
    """
    kept = {name: value for name, value in around.items() if name in _KEPT or not _of_the_step(name)}
    if os.path.join(kept.get("TMPDIR", ""), "").startswith(os.path.join(folder, "")):
        kept["TMPDIR"] = os.path.dirname(folder)
    if len(set(interfaces)) > 1:
        kept = {name: value for name, value in kept.items() if name not in INTERFACES or value != interfaces[0]}
    return {**kept, "SLURM_OVERLAP": "1", "SLURM_KILL_BAD_EXIT": "1"}


def _of_the_step(name: str) -> bool:
    return name.startswith(("SLURM_", "PMI_", "PMIX_")) and not name.startswith("PMIX_MCA_")
