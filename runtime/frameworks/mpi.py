"""MPI: the body runs on the control rank, and ``current.mpi`` starts MPI programs over all nodes."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Optional, Union

from ..checkpoint_watch import saved_while_it_runs
from . import environment, mpi_launch, mpi_srun, programs, sshd
from .arguments import Arguments, argument_list, program_words
from .base import Site
from .mpi_launch import Launcher
from .node_files import look_for_program, send_file
from .programs import Program
from .standby import Nodes, nodes, serve


class Mpi:
    """``current.mpi``.

    Attributes
    ----------
    launcher : Launcher
        What starts the processes: mpirun, or srun in a job of Slurm where there is no mpirun or
        ``@mpi(launcher="srun")`` asks for it.
    hostfile : str
        Path of the file that names the gang's hosts and how many processes each offers room for. ``mpirun`` takes it
        by itself; name it where another program wants one. srun wants none.
    slots : int
        Processes that the whole gang has room for, which is how many `run` starts if it is not told.
    nodes : Nodes
        Runs programs on single nodes, without MPI.
    """

    def __init__(self, site: Site, found: Nodes, agent: Optional[str] = None) -> None:
        self.nodes = found
        self._source = site.source
        self._hosts = mpi_launch.hosts(site.gang.members, site.options.get("slots"))
        self.slots = sum(host.slots for host in self._hosts)
        self.hostfile = os.path.join(site.folder, "hostfile")
        path, by_srun = _launcher(site.options)
        self.launcher: Launcher
        if by_srun:
            asked = bool(site.options.get("launcher"))
            self.launcher = mpi_srun.Srun(path, self._hosts, self.hostfile, found.interfaces, asked)
        else:
            self.launcher = mpi_launch.Mpirun(path, self._hosts, self.hostfile, agent or found.agent, found.interfaces)
        self.environment = self.launcher.environment

    def run(
        self, args: Arguments = None, program: Union[str, Sequence[Any]] = (), program_args: Arguments = None
    ) -> None:
        """Run an MPI program over all nodes with ``mpirun``, or with `launcher`, to its end.

        Parameters
        ----------
        args : list or dict
            Arguments of the launcher; mpirun's for how many processes there are, in all and on each node, are srun's,
            too. Where they do not say how many processes, every slot gets one; where they do not say on which hosts,
            those of the gang are used, and every host gets its share. So are they where ``--hostfile`` or
            ``--machinefile`` names a ``hostfile.txt`` or ``hostfile`` that is not there.
        program : str or list
            The program, and perhaps its first arguments: ``"python train.py"``. A text is cut into words as a shell
            does it, a list is taken as it is.
        program_args : list or dict
            Further arguments of the program.

        Raises
        ------
        ProgramFailed
            With the exit code and the last lines, if the launcher ends with another code than 0.
        """
        self._launch("mpirun", args, program, program_args)

    def exec(
        self, args: Arguments = None, program: Union[str, Sequence[Any]] = (), program_args: Arguments = None
    ) -> None:
        """As `run`, with ``mpiexec``."""
        self._launch("mpiexec", args, program, program_args)

    def cc(self, args: Arguments = None) -> None:
        """Compile on this node with ``mpicc``; hand the result to the others with `broadcast_file`.

        Parameters
        ----------
        args : list or dict
            Arguments of mpicc. A file that is not in the current folder is looked for beside the flow.

        Raises
        ------
        FrameworkMissing
            If there is no mpicc here, or no C compiler for it.
        ProgramFailed
            If it does not compile.
        """
        words = argument_list(args, "the arguments of mpicc")
        Program([mpi_launch.compiler(), *mpi_launch.compiler_words(words, self._source)]).check("mpicc")

    def broadcast_file(self, path: Union[str, os.PathLike[str]]) -> None:
        """Copy a file of this node to the same place on every other, with its permissions.

        Raises
        ------
        ProgramFailed
            Naming the node, if it cannot be written there.
        OSError
            If it cannot be read here.
        """
        send_file(self.nodes, os.fspath(path))

    def _find(self, word: str) -> str:
        # A script or program that lies beside the flow may be named from any folder.
        beside = os.path.join(self._source, word)
        is_path = os.sep in word or word.endswith(".py")
        return beside if is_path and not os.path.exists(word) and os.path.exists(beside) else word

    @saved_while_it_runs()
    def _launch(self, name: str, args: Arguments, program: Union[str, Sequence[Any]], program_args: Arguments) -> None:
        given = argument_list(args, f"the arguments of {name}")
        command = [*map(self._find, program_words(program))]
        command += argument_list(program_args, "the arguments of the program")
        if not self.launcher.names_hosts(given):
            look_for_program(self.nodes, command[0])
        mark = os.urandom(8).hex()
        argv = [*self.launcher.command(name, given), *command]
        variables = {**self.launcher.variables(), mpi_launch.MARK: mark}
        running = Program(argv, variables, on_interrupt=lambda: self._end_ranks(mark))
        try:
            running.check(os.path.basename(argv[0]))
        except programs.ProgramFailed as error:
            raise self.launcher.explained(error) from None

    def _end_ranks(self, mark: str) -> None:
        # The ranks are told, and the launcher ends when they have ended.
        words = [mpi_launch.SIGNAL_RANKS, mark, str(int(signal.SIGTERM)), *self.launcher.known_by]
        commands = {rank: [self.nodes.pythons[rank], "-I", "-S", "-c", *words] for rank in self.nodes.first_ranks()}
        self.nodes.run(commands, "telling the ranks to end")


class _MpiFramework:
    on_control_only = True

    def require(self, options: Mapping[str, Any], calls: Collection[str] = ()) -> None:
        _, srun = _launcher(options)
        if options.get("ssh"):
            sshd.require()
        if "exec" in calls and not srun:
            mpi_launch.program("mpiexec")
        if "cc" in calls:
            mpi_launch.compiler()

    @contextmanager
    def boot(self, site: Site) -> Iterator[Mapping[str, Any]]:
        room = int(site.options.get("slots") or site.gang.members[site.gang.rank].slots)
        with programs.variables({"PATH": programs.search_path(), **environment.defaults(site, room)}):
            if site.gang.rank:
                yield {}
                return
            with _ssh(site) as ssh, nodes(site) as found:
                mpi = Mpi(site, found, ssh)
                # So that an mpirun that the body starts by itself finds the gang, too.
                with programs.variables(mpi.launcher.environment):
                    yield {"mpi": mpi}

    def stand_by(self, site: Site) -> None:
        with _ssh(site):
            serve(site)


@contextmanager
def _ssh(site: Site) -> Iterator[Optional[str]]:
    if not site.options.get("ssh"):
        yield None
        return
    with sshd.sshd(site) as command:
        yield command


def _launcher(options: Mapping[str, Any]) -> tuple[str, bool]:
    """The path of what starts the processes, and whether it is srun."""
    wanted, srun = options.get("launcher"), mpi_srun.srun()
    if srun and wanted is None and shutil.which("mpirun", path=programs.search_path()) is None:
        wanted = "srun"
    if srun and wanted == "srun":
        return srun, True
    return mpi_launch.program("mpirun"), False


FRAMEWORK = _MpiFramework()

__all__ = ["FRAMEWORK", "Mpi"]
