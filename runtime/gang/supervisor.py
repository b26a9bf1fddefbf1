"""What supervises one rank: its body, its signals, its output; the control rank and the workers add their parts.

A supervisor runs none of the user's code, and all it does is done by one loop that never waits, so nothing that the
body does can stop it; only files, which may make one wait, are written by a thread of their own. It ends only when its
body and every process that came from it are gone.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from .. import contract, processes
from .body import Body, BodyCode
from .failure import EXIT_GANG_FAILED, EXIT_NOT_FORMED, EXIT_PREEMPTED, GangFailure, GangResult, RankEnd, signal_name
from .guard import Guard
from .handle import Member
from .loop import Loop, Timer
from .membership import Membership
from .wire import Frame, GangName, body_key

_LAST_DEEDS = 0.5
"""Seconds in which what a body left that ended well may end by itself, as helpers do that tidy up when it is gone."""


def _silence() -> float:
    try:
        return contract.seconds(contract.GANG_SILENCE) or 10.0
    except ValueError as error:
        from ..outline import ContractError

        raise ContractError(str(error)) from None


@dataclass(frozen=True)
class Limits:
    """Times, in seconds, and sizes that a gang keeps to.

    Parameters
    ----------
    timeout : float
        To form.
    grace : float
        Between SIGTERM and SIGKILL for the bodies of a gang that failed.
    preempt_grace : float
        The same for a gang that is asked to end from outside, so that it can checkpoint.
    heartbeat, silence : float
        How often each side gives a sign of life, and after how long without any a rank counts as lost; as
        FLOWC_GANG_SILENCE says.
    handshake : float
        For a new connection to prove the token.
    strangers : int
        Connections that have not proved it, at most.
    """

    timeout: float = 600.0
    grace: float = 2.0
    preempt_grace: float = 30.0
    heartbeat: float = 1.0
    silence: float = field(default_factory=_silence)
    handshake: float = 5.0
    strangers: int = 256


@dataclass(frozen=True)
class Setting:
    """All that a supervisor is told."""

    membership: Membership
    token: bytes
    name: GangName
    code: BodyCode
    host: str
    slots: int
    limits: Limits
    outputs: tuple[int, int]
    early_warnings: Sequence[int]
    log: Callable[[str], None]
    formed: Optional[Callable[[tuple[Member, ...]], None]]
    lack: str = ""


class Supervisor:
    """The part that the control rank and the workers share; subclasses fill the hooks at the end."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.limits = setting.limits
        self.rank = setting.membership.rank
        self.size = setting.membership.size
        self.loop = Loop()
        self.body: Optional[Body] = None
        self.body_done = False
        self.exit_code: Optional[int] = None
        self.exit_signal: Optional[int] = None
        self.result: Optional[GangResult] = None
        self.ending = False
        self._requested = False
        self._asked = ""
        self._hurry: Optional[float] = None
        self._kill: Optional[Timer] = None
        self._signals: Optional[processes.Signals] = None
        self._others: frozenset[int] = frozenset()
        self._guarded = True
        self._guard: Optional[Guard] = None

    def run(self) -> GangResult:
        """Form the gang, run the body, and give the outcome once everything of this rank is gone.

        Raises
        ------
        RuntimeError
            If it is called in a thread, which takes no signals.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a rank is supervised in the main thread of a process: signals come nowhere else")
        self._others = frozenset(processes.children())
        adopted = processes.adopts_orphans()
        # Who has told this process so ends all that is left of it.
        self._guarded = not adopted
        processes.adopt_orphans()
        numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, *self.setting.early_warnings}
        self._signals = processes.Signals(numbers)
        try:
            self.loop.watch(self._signals.fileno(), self._signalled)
            self.begin()
            while self.result is None:
                self.loop.turn()
            return self.result
        finally:
            self.close()
            if self.body is not None:
                self.body.close()
            self._kill_now()
            if self._guard is not None:
                self._guard.dismiss()
            self.loop.close()
            self._signals.restore()
            processes.adopt_orphans(adopted)

    # The body.

    def start_body(self, members: tuple[Member, ...]) -> None:
        """Run this rank's code; the gang has formed."""
        if self.setting.formed is not None:
            self.setting.formed(members)
        assert self._signals is not None
        mark = os.urandom(8).hex()
        if self._guarded:
            with suppress(OSError):  # the gang can do without it
                self._guard = Guard(mark, self.in_child)
                self._others |= {self._guard.pid}
        environment = {
            contract.GANG_MARK: mark,
            contract.GANG_SIZE: str(self.size),
            contract.GANG_RANK: str(self.rank),
            contract.GANG_MAIN: members[0].address,
        }
        self.body = Body(
            self.loop,
            self.setting.code,
            self.rank,
            members,
            key=body_key(self.setting.token, self.setting.name),
            environment=environment,
            outputs=self.setting.outputs,
            signals=self._signals,
            on_frame=self._from_body,
            private=() if self._guard is None else (self._guard.descriptor,),
        )
        if self._guard is not None:
            self._guard.watch(self.body.pid)

    def end_body(self, grace: float) -> None:
        """SIGTERM now, SIGKILL for it and all its descendants after the grace; :meth:`body_finished` follows.

        Called once more, it changes the grace.
        """
        if self.body is None:
            if not self.body_done:
                self.body_done = True
                self.body_finished()
            return
        if not self.ending:
            # One that has ended by now has done so by itself.
            self._reap()
            self.ending = True
            if self.body.running:
                self._asked = "to end"
                self.body.signal(signal.SIGTERM)
        if self._kill is not None:
            self._kill.cancel()
        self._kill = self.loop.after(grace, self._kill_body)
        self._hurry = self.loop.now + grace + 1.0

    def in_child(self) -> None:
        """In a forked helper: give up what is this process's alone."""
        os.setsid()
        assert self._signals is not None
        self._signals.in_child()
        self.loop.abandon()

    def _kill_body(self) -> None:
        if self.body is not None and self.body.running:
            self._asked = "killed"
            self.body.signal(signal.SIGKILL)
            processes.kill_and_reap_children_except({*self._others, self.body.pid})

    def _from_body(self, frame: Frame) -> None:
        if frame.type == "abort":
            self.body_failing("abort", f"aborted the gang: {frame.header.get('message')}")
        elif frame.type in ("call", "chunk", "ack"):
            self.collective(frame)

    def _signalled(self, events: int) -> None:
        assert self._signals is not None
        arrived = self._signals.arrived()
        # Who signals every process of a rank may end its body before that can take SIGTERM: it has not failed.
        for number in arrived:
            if number != signal.SIGCHLD and self.result is None:
                self._requested = True
                self.asked_to_end(f"was asked to end by {signal_name(number)}")
                break
        if signal.SIGCHLD in arrived:
            self._reap()

    def _reap(self) -> None:
        body = self.body
        if body is not None and body.running:
            status = processes.reap(body.pid)
            processes.reap_all_except({*self._others, body.pid})
            if status is None:
                return
            body.running = False
            if os.WIFSIGNALED(status):
                self.exit_signal = os.WTERMSIG(status)
                if self._requested and self.exit_signal == signal.SIGTERM:
                    self._asked = self._asked or "to end"
            else:
                self.exit_code = os.WEXITSTATUS(status)
            body.drain()
            if self.exit_code != 0:
                kind = "exit" if self.exit_signal is None else "signal"
                self.body_failing(kind, how_ended(self.exit_code, self.exit_signal))
            if self.exit_code == 0:
                self._let_end(self.loop.now + _LAST_DEEDS)
            else:
                self._sweep(self.loop.now + 5.0)
        else:
            processes.reap_all_except(self._others)

    def _let_end(self, deadline: float) -> None:
        processes.reap_all_except(self._others)
        if self.ending or self.loop.now >= deadline or self._others.issuperset(processes.children()):
            self._sweep(self.loop.now + 5.0)
        else:
            self.loop.after(0.005, lambda: self._let_end(deadline))

    def _sweep(self, deadline: float) -> None:
        """Whatever the body left behind goes with it."""
        if processes.kill_and_reap_children_except(self._others) and self.loop.now < deadline:
            self.loop.after(0.002, lambda: self._sweep(deadline))
        else:
            self._finish_output(self.loop.now + 0.5)

    def _finish_output(self, deadline: float) -> None:
        body = self.body
        assert body is not None
        body.drain()
        # All writers are gone, so the pipes end; only a slow reader of what we pass on can keep us, and only if all is
        # well.
        if not body.output_done and (self._hurry is None or self.loop.now < max(self._hurry, deadline)):
            self.loop.after(0.002, lambda: self._finish_output(deadline))
            return
        self.body_done = True
        self.body_finished()

    def _kill_now(self) -> None:
        import time

        deadline = time.monotonic() + 5.0
        while processes.kill_and_reap_children_except(self._others) and time.monotonic() < deadline:
            time.sleep(0.001)

    def lines(self) -> tuple[str, ...]:
        """The last lines of the body's output so far."""
        return () if self.body is None else self.body.lines()

    def state(self) -> dict[str, Any]:
        """How this rank's body stands, as the control rank is told; ``asked`` if it still ran when it was to end."""
        return {"code": self.exit_code, "signal": self.exit_signal, "lines": list(self.lines()), "asked": self._asked}

    def own_failure(self, kind: str, reason: str) -> GangFailure:
        """A report on this rank."""
        return GangFailure(self.rank, self.setting.host, self.exit_code, self.exit_signal, self.lines(), reason, kind)

    def unable(self) -> GangFailure:
        """The report that this rank cannot take part."""
        return self.own_failure("unable", cannot_take_part(self.setting.lack))

    def conclude(self, failure: Optional[GangFailure]) -> None:
        """Set the result that :meth:`run` gives."""
        if self.result is None:
            if failure is not None:
                failure = replace(failure, ranks=self.ends())
            self.result = GangResult(self._code(failure), failure)

    def _code(self, failure: Optional[GangFailure]) -> int:
        if failure is None:
            return 0
        if failure.kind in ("formation", "unable"):
            return EXIT_NOT_FORMED
        if failure.kind == "preempted":
            return EXIT_PREEMPTED
        if failure.rank == self.rank and failure.kind == "abort":
            return self.exit_code or 1
        if failure.rank == self.rank and failure.kind in ("exit", "signal"):
            return 128 + self.exit_signal if self.exit_signal else self.exit_code or EXIT_GANG_FAILED
        return EXIT_GANG_FAILED

    # What the control rank and the workers do differently.

    def begin(self) -> None:
        """Start to form the gang."""
        raise NotImplementedError

    def collective(self, frame: Frame) -> None:
        """The body sent something for the others."""
        raise NotImplementedError

    def body_failing(self, kind: str, reason: str) -> None:
        """The body failed or asked for the gang's end; more about it follows when it is finished."""
        raise NotImplementedError

    def body_finished(self) -> None:
        """The body and all that came from it are gone; so is its output."""
        raise NotImplementedError

    def asked_to_end(self, reason: str) -> None:
        """A signal asked this rank to end."""
        raise NotImplementedError

    def ends(self) -> tuple[RankEnd, ...]:
        """How the ranks ended, as far as it is known here, for the report of a gang that failed."""
        raise NotImplementedError

    def close(self) -> None:
        """Let every connection go."""
        raise NotImplementedError


def completed(failure: GangFailure, code: Optional[int], number: Optional[int], lines: tuple[str, ...]) -> GangFailure:
    """A report on a rank, with what is known when its body is gone."""
    if failure.kind == "abort" and number is not None:
        code = number = None  # it was on its way out when it was ended with the others
    return replace(failure, exit_code=code, signal=number, last_lines=lines)


def how_ended(code: Optional[int], number: Optional[int]) -> str:
    """``exited with code 3`` or ``was killed by SIGKILL``."""
    return f"exited with code {code}" if number is None else f"was killed by {signal_name(number)}"


def cannot_take_part(lack: str) -> str:
    """Why the gang did not form, as a report gives it."""
    return f"cannot take part: {lack}"


def own_host() -> str:
    """What this host calls itself; nothing is looked up."""
    return socket.gethostname() or "unknown"
