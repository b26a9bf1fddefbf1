"""What the workers do while the step's body runs on the control rank alone: they stand by, and run what it says."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Optional, Union

from .. import contract
from ..gang import GangHandle
from ..gang.failure import rank_on
from ..gang.supervisor import Limits
from ..gang.wire import WireError
from . import environment, exec_link, programs
from .base import Site
from .exec_agent_host import AgentHost
from .exec_service import ExecService
from .programs import ProgramFailed
from .scripts import is_consequence

_SETTLE = 0.3
_SETTLE_FOR_CAUSE = 10.0
"""Seconds to wait for the outcomes of other ranks once one has failed; longer where it failed because of another."""
_SETTLE_FOR_KILLER = 1.0
"""The same where it was killed, which may be what another did about its own end."""
_KILLED = (-signal.SIGTERM, -signal.SIGKILL)
_POLL = 0.05


@dataclass(frozen=True)
class Command:
    """A program for one rank.

    Attributes
    ----------
    argv : sequence of str
        The program and its arguments; no shell sees them.
    env : mapping
        Variables on top of the rank's own.
    cwd : str, optional
        Its folder, where the rank has one of that name.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Optional[str] = None


@dataclass(frozen=True)
class Outcome:
    """How a rank's program ended; a negative code is that of a signal."""

    rank: int
    code: int
    lines: tuple[str, ...]
    unknown: bool = False
    """The connection to the rank was lost; its supervisor says why, or is found to be gone."""

    @property
    def lost_another(self) -> bool:
        """Whether it says that it lost a process of another rank, which is then the one to ask why."""
        return is_consequence("\n".join(self.lines))

    @property
    def settles_in(self) -> float:
        """Seconds in which others may still say that they were first."""
        if self.unknown:
            # So long it takes until a supervisor that gives no sign of life is lost.
            return Limits().silence + 3 * Limits().heartbeat
        if self.lost_another:
            return _SETTLE_FOR_CAUSE
        return _SETTLE_FOR_KILLER if self.code in _KILLED else _SETTLE


class Nodes:
    """All ranks of a gang, as the control rank has them run programs.

    ``current.mpi.nodes`` and ``current.deepspeed.nodes`` are that for the step.

    Parameters
    ----------
    gang : GangHandle
        The gang.
    ports : sequence of int
        Where each rank's service listens.
    pythons, interfaces : sequence
        Each rank's Python, and the network interface that has the rank's address, None where it is not known.
    folder : str
        This rank's own; the agent that launchers start comes to lie there.
    """

    def __init__(
        self,
        gang: GangHandle,
        ports: Sequence[int],
        pythons: Sequence[str],
        interfaces: Sequence[Optional[str]],
        folder: str,
    ) -> None:
        self.gang = gang
        self.pythons = pythons
        self.interfaces = interfaces
        self._ports = ports
        self._secret = gang.secret("standby")
        self._agents = AgentHost(folder, self.connect_host)

    @property
    def agent(self) -> str:
        """Path of a program ``agent HOST WORD...`` that does what ssh would."""
        return self._agents.program()

    def connect(self, rank: int) -> exec_link.Link:
        """A connection to a rank's service.

        Raises
        ------
        ProgramFailed
            If it cannot be reached.
        """
        member = self.gang.members[rank]
        try:
            return exec_link.connect(member.address, self._ports[rank], self._secret, rank)
        except (OSError, WireError) as error:
            where = f"{member.address} port {self._ports[rank]}"
            raise ProgramFailed(f"cannot reach {rank_on(rank, member.host)} at {where}: {error}", 255) from None

    def connect_host(self, host: str) -> exec_link.Link:
        """A connection to the first rank on a host, given by address or name."""
        for member in self.gang.members:
            if host in (member.address, member.host):
                return self.connect(member.rank)
        raise ProgramFailed(f"{host} is no host of this gang", 255)

    def first_ranks(self) -> list[int]:
        """The first rank of each host."""
        found: dict[str, int] = {}
        for member in self.gang.members:
            found.setdefault(member.address, member.rank)
        return list(found.values())

    def run(self, commands: Mapping[int, Union[Command, Sequence[str]]], name: Optional[str] = None) -> None:
        """Run a program on each of the ranks at once, to the end of all. Their output goes to each rank's own log.

        When one fails, the others are ended.

        Parameters
        ----------
        commands : mapping
            From the rank to what runs there: the program and its arguments, which no shell sees.
        name : str, optional
            What the program is called in errors; its own name if not given.

        Raises
        ------
        ProgramFailed
            Naming the ranks on which it failed, the first one first, with their exit codes and last lines.
        """
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        links: list[exec_link.Link] = []
        outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        try:
            for rank, given in commands.items():
                command = given if isinstance(given, Command) else Command(given)
                name = name or os.path.basename(command.argv[0])
                link = self.connect(rank)
                links.append(link)
                link.send({"t": "run", "argv": list(command.argv), "env": dict(command.env), "cwd": command.cwd})
            for rank, link in zip(commands, links):
                threading.Thread(target=_watch, args=(rank, link, outcomes), daemon=True).start()
            failed: list[Outcome] = []
            waiting = set(commands)
            try:
                self._wait(waiting, outcomes, failed)
            except BaseException as reason:
                # Whoever interrupts has its own clock; until it runs out the programs may put their things in order.
                if self._ask_to_end(links, waiting, outcomes):
                    raise
                raise self._never_ended(waiting, name or "the program") from reason
        finally:
            for link in links:
                link.close()
        if failed:
            raise self._failure(failed, name or "the program")

    def close(self) -> None:
        """Take no more agents."""
        self._agents.close()

    def _wait(self, waiting: set[int], outcomes: queue.SimpleQueue[Outcome], failed: list[Outcome]) -> None:
        # The first one drags the others down, and which of them is told of first may be chance. For one that was lost
        # the gang's own word is waited for, which ends this process, too.
        deadline: Optional[float] = None
        while waiting or any(outcome.unknown for outcome in failed):
            try:
                outcome = outcomes.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            waiting.discard(outcome.rank)
            if outcome.code:
                failed.append(outcome)
                settles = time.monotonic() + outcome.settles_in
                deadline = max(deadline or 0.0, settles) if outcome.unknown else deadline or settles

    def _ask_to_end(self, links: list[exec_link.Link], waiting: set[int], outcomes: queue.SimpleQueue[Outcome]) -> bool:
        # Whether all have ended in the time that the gang has for that.
        for link in links:
            try:
                link.send({"t": "signal", "number": int(signal.SIGTERM)})
            except OSError:
                pass
        deadline = time.monotonic() + seconds_to_end()
        while waiting:
            try:
                waiting.discard(outcomes.get(timeout=max(0.0, deadline - time.monotonic())).rank)
            except queue.Empty:
                return False
        return True

    def _never_ended(self, waiting: set[int], name: str) -> ProgramFailed:
        where = ", ".join(rank_on(rank, self.gang.members[rank].host) for rank in sorted(waiting))
        within = f"within {seconds_to_end():g} s of SIGTERM"
        text = f"{name} on {where} did not end {within}; {contract.PREEMPT_GRACE} gives it more"
        return ProgramFailed(text, programs.shell_code(-signal.SIGKILL))

    def _failure(self, failed: list[Outcome], name: str) -> ProgramFailed:
        failed.sort(key=lambda outcome: outcome.code in _KILLED or outcome.lost_another)
        first, others = failed[0], failed[1:]

        def where(outcome: Outcome) -> str:
            return rank_on(outcome.rank, self.gang.members[outcome.rank].host)

        text = f"{name} on {where(first)} {programs.how_it_ended(first.code)}"
        for other in others:
            text += f"; on {where(other)} it {programs.how_it_ended(other.code)}"
        return ProgramFailed(text, programs.shell_code(first.code), first.lines)


@contextmanager
def nodes(site: Site) -> Iterator[Nodes]:
    """On the control rank, while its body runs: the ranks that stand by. The workers call :func:`serve`."""
    gang = site.gang
    service = ExecService(gang.members[0].address, gang.secret("standby"), 0)
    try:
        ports, pythons, interfaces = zip(*gang.allgather(_about(gang, service)))
        found = Nodes(gang, ports, pythons, interfaces, site.folder)
        try:
            yield found
        finally:
            found.close()
        over(gang)
    finally:
        service.close()


def serve(site: Site) -> None:
    """On a worker: run what the control rank says until its body has ended."""
    gang = site.gang
    service = ExecService(gang.members[gang.rank].address, gang.secret("standby"), gang.rank)
    try:
        gang.allgather(_about(gang, service))
        wait_until_over(gang)
    finally:
        service.close()


def _about(gang: GangHandle, service: ExecService) -> tuple[int, str, Optional[str]]:
    return service.port, sys.executable, environment.interface_of(gang.members[gang.rank].address)


def over(gang: GangHandle) -> None:
    """On the control rank: the body has ended well; let the workers go."""
    gang.barrier()


def wait_until_over(gang: GangHandle, check: Callable[[], None] = lambda: None) -> None:
    """On a worker: wait for :func:`over`, and call ``check`` now and then, whose exceptions end the wait.

    SIGTERM takes effect when the control rank has ended: until then it may need this node, to put its things in order.
    Whoever sent it has a clock of its own.
    """
    ended: list[Optional[Exception]] = []
    done = threading.Event()

    def wait() -> None:
        try:
            gang.barrier()
            ended.append(None)
        except Exception as error:
            ended.append(error)
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    with _noting_sigterm() as asked:
        while not done.wait(_POLL):
            if not asked.is_set():
                check()
        error = ended[0]
        if error is None:
            return
        # The control rank failed and the gang is about to be ended; its report is to be the first.
        asked.wait(5.0)
    if asked.is_set():
        signal.raise_signal(signal.SIGTERM)
    raise error


@contextmanager
def _noting_sigterm() -> Iterator[threading.Event]:
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


def seconds_to_end() -> float:
    """How long programs have after SIGTERM where the attempt is asked to end."""
    return contract.seconds(contract.PREEMPT_GRACE) or Limits().preempt_grace


def _watch(rank: int, link: exec_link.Link, outcomes: queue.SimpleQueue[Outcome]) -> None:
    try:
        for frame in link.frames():
            if frame.type == "exit":
                outcomes.put(Outcome(rank, int(frame.header["code"]), tuple(map(str, frame.header["lines"]))))
                return
    except (WireError, OSError, ValueError, KeyError):
        pass
    outcomes.put(Outcome(rank, -signal.SIGKILL, ("the connection to the rank was lost",), unknown=True))
