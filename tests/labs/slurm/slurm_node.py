"""A node of the Slurm lab, and how programs are run."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lab_processes import LabError
from slurm_places import NODE, Process

if TYPE_CHECKING:
    from slurm_lab import SlurmLab

Completed = subprocess.CompletedProcess[str]
_SLURMS_OWN = re.compile(r"(\S*/)?slurmd |slurmstepd")


class Node:
    """A node of the cluster.

    Attributes
    ----------
    index : int
        From 0.
    name : str
        Slurm's name for it; also its host name where it is a host.
    address : str
        Its IP address.
    """

    def __init__(self, lab: SlurmLab, index: int, address: str) -> None:
        self._lab = lab
        self.index = index
        self.name = NODE.format(index)
        self.address = address

    @property
    def is_on(self) -> bool:
        """Whether it has power."""
        return self._lab.places.is_on(self.index)

    @property
    def state(self) -> str:
        """What the controller thinks: ``idle``, ``allocated``, ``mixed``, ``down*``, ..."""
        return self._lab.node_states()[self.name]

    @property
    def up_since(self) -> float:
        """When its slurmd started, as the controller heard; seconds since the epoch, 0 if it has not heard."""
        shown = self._lab.run(["scontrol", "-o", "show", "node", self.name]).stdout
        found = re.search(r"SlurmdStartTime=(\d\S+)", shown)
        return time.mktime(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) if found else 0

    def processes(self) -> list[str]:
        """The command lines of what runs there, without Slurm's own."""
        return list(self._commands().values())

    def kill_processes(self) -> None:
        """Kill what runs there, but for Slurm's own."""
        for pid in self._commands():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _commands(self) -> dict[int, str]:
        commands = self._lab.places.commands(self.index)
        return {pid: command for pid, command in commands.items() if not _SLURMS_OWN.match(command)}

    def popen(self, argv: Sequence[str], env: Mapping[str, str] | None = None, **options: Any) -> Process:
        """Start a program there; options as for ``subprocess.Popen``."""
        return self._lab.places.popen_on(self.index, argv, self._lab.env if env is None else env, **options)

    def run(self, argv: Sequence[str], env: Mapping[str, str] | None = None, **options: Any) -> Completed:
        """Run a program there to its end; options as for :meth:`SlurmLab.run`."""
        return run_to_end(self.popen, argv, env, **options)


def run_to_end(
    popen: Any,
    argv: Sequence[str],
    env: Mapping[str, str] | None,
    *,
    timeout: float = 60,
    check: bool = False,
    input: str | None = None,
    **options: Any,
) -> Completed:
    """Run a program that ``popen`` starts; see :meth:`slurm_lab.SlurmLab.run`."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
    process = popen(argv, env, **{"stdin": stdin, **pipes, **options})
    try:
        out, err = process.communicate(input, timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    done = subprocess.CompletedProcess(list(argv), process.returncode, out, err)
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: exit code {done.returncode}\n{out or ''}{err or ''}")
    return done
