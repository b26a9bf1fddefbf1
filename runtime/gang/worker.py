"""A worker rank: it joins the control rank, runs its body, and does what the control says about the gang's end."""

from __future__ import annotations

from typing import Any, Optional

from .ends import end_of
from .failure import GangFailure, RankEnd
from .handle import Member
from .loop import Channel
from .ports import candidate_ports
from .rendezvous import Approach
from .supervisor import Setting, Supervisor
from .wire import Frame, WireError, WorkerInfo


class Worker(Supervisor):
    """Rank 1 and up."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._approach: Optional[Approach] = None
        self._control: Optional[Channel] = None
        self._failure: Optional[GangFailure] = None
        self._verdict = False
        self._save_until = 0.0
        self._end: Optional[RankEnd] = None

    def begin(self) -> None:
        """Set out for the control rank."""
        membership = self.setting.membership
        ports = candidate_ports(self.setting.name, membership.port)
        self._approach = Approach(
            self.loop,
            self.setting.token,
            self.setting.name,
            membership.main,
            ports,
            info=WorkerInfo(self.rank, self.size, self.setting.host, self.setting.slots, self.setting.lack),
            handshake=min(self.limits.handshake, self.limits.timeout),
            on_member=self._joined,
            on_refused=self._refused,
            in_child=self.in_child,
            spare=membership.spare,
        )
        self.loop.after(self.limits.timeout, lambda: self._too_late(ports))

    def _joined(self, channel: Channel) -> None:
        self._control = channel
        channel.on_frame, channel.on_closed = self._from_control, self._control_lost
        channel.keep_alive(self.limits.heartbeat, self.limits.silence)

    def _refused(self, reason: str) -> None:
        self._not_formed(f"the control rank at {self.setting.membership.main} refused rank {self.rank}: {reason}")

    def _too_late(self, ports: tuple[int, ...]) -> None:
        # Once let in, it is the control that knows how long to wait for the others.
        if self._control is None and self._approach is not None:
            self._approach.close()
            listed = f"{ports[0]} and {len(ports) - 1} more"
            self._not_formed(
                f"rank {self.rank} of {self.setting.name} did not reach the control rank at "
                f"{self.setting.membership.main} (ports {listed}) within {self.limits.timeout:g} s: "
                f"{self._approach.problem}"
            )

    def _not_formed(self, reason: str) -> None:
        self.conclude(GangFailure(self.rank, self.setting.host, None, None, (), reason, "formation"))

    # Messages.

    def _tell(self, header: dict[str, Any]) -> None:
        if self._control is not None:
            self._control.send(header)

    def collective(self, frame: Frame) -> None:
        """Pass the body's part on."""
        if self._control is not None:
            self._control.send(frame.header, frame.body)

    def _from_control(self, channel: Channel, frame: Frame) -> None:
        header = frame.header
        if frame.type in ("result", "parts", "chunk", "credit", "error"):
            if self.body is not None:
                self.body.channel.send(header, frame.body)
        elif frame.type == "start":
            self.start_body(_members(header))
        elif frame.type in ("abort", "preempt"):
            self._failure = _failure(header)
            grace = header.get("grace", self.limits.grace)
            self.end_body(float(grace))
        elif frame.type == "end":
            self._failure = _failure(header) if header.get("failure") else None
            self._verdict = True
            channel.close()
            self._check_over()

    def _control_lost(self, channel: Channel, why: str) -> None:
        self._verdict = True
        if self._failure is None:
            reason = f"was lost, rank {self.rank} says: {why}"
            self._failure = GangFailure(0, self.setting.membership.main or None, None, None, (), reason, "lost")
        self._check_over()

    # The end.

    def body_failing(self, kind: str, reason: str) -> None:
        """Tell the control at once; the rest follows."""
        self._say({"t": "failing", "kind": kind, "reason": reason})

    def body_finished(self) -> None:
        """Tell the control, and wait for what it says about the gang."""
        self._say({"t": "ended"})
        self._check_over()

    def asked_to_end(self, reason: str) -> None:
        """SIGTERM here: the control lets all ranks checkpoint together."""
        self._save_until = self._save_until or self.loop.now + self.limits.preempt_grace
        if self._control is not None and self._control.open:
            self._tell({"t": "asked", "reason": reason})
            return
        if self._approach is not None:
            self._approach.close()
        if self._failure is None:
            self._failure = self.own_failure("preempted", reason)
        self._verdict = True
        self._check_over()

    def ends(self) -> tuple[RankEnd, ...]:
        """This rank's own: all of them together may be much, and is with the control."""
        return () if self._end is None else (self._end,)

    def _say(self, header: dict[str, Any]) -> None:
        header.update(self.state())
        self._end = end_of(self.rank, self.setting.host, header, self._end)
        if self._failure is not None and self._failure.rank != self.rank:
            # Thousands may say so at once.
            header["lines"] = list(self._end.last_lines)
        self._tell(header)

    def _check_over(self) -> None:
        if not self._verdict:
            return
        if self.body is None or self.body_done:
            self.conclude(self._failure)
        elif self._failure is None:
            self.end_body(0.0)
        elif not self.ending:
            # The control was lost before it answered that this rank is asked to end.
            self.end_body(max(self.limits.grace, self._save_until - self.loop.now))
        # Else the body keeps the time that it was given when it was asked to end, whatever becomes of the control.

    def close(self) -> None:
        """Let the connection go."""
        if self._approach is not None:
            self._approach.close()
        if self._control is not None:
            self._control.close()


def _members(header: dict[str, Any]) -> tuple[Member, ...]:
    try:
        return tuple(Member(int(rank), str(host), str(at), int(slots)) for rank, host, at, slots in header["members"])
    except (KeyError, TypeError, ValueError):
        raise WireError("the control rank sent no list of members") from None


def _failure(header: dict[str, Any]) -> GangFailure:
    try:
        return GangFailure.from_json(header["failure"])
    except (KeyError, TypeError, ValueError):
        raise WireError("the control rank sent no report") from None
