"""The control rank: it receives the workers, waits for all of them, and decides how the gang ended."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Optional

from .collectives import Collectives
from .ends import Ends
from .failure import GangFailure, RankEnd, rank_on, ranks_text
from .handle import Member
from .loop import Channel, Timer
from .output import as_lines
from .ports import candidate_ports
from .rendezvous import Reception
from .supervisor import Setting, Supervisor, cannot_take_part, completed, how_ended
from .wire import Buffer, Frame, WorkerInfo, digest_of

_FIRST_WORD, _NEXT_WORD = 10.0, 30.0

_PATIENCE = 3.0
"""Seconds after the grace in which every rank has to say how it ended."""

_SAME_MOMENT = 0.5
"""Seconds in which a request to end explains why a body has died of SIGTERM: who signals every process of a rank may
reach its supervisor last."""


@dataclass
class _Worker:
    info: WorkerInfo
    channel: Channel
    ended: bool = False


class Control(Supervisor):
    """Rank 0."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._workers: dict[int, _Worker] = {}
        self._by_channel: dict[Channel, _Worker] = {}
        self._reception: Optional[Reception] = None
        self._formed = False
        self._failure: Optional[GangFailure] = None
        self._explained_until = 0.0
        self._last_call: Optional[Timer] = None
        self._sending_home = False
        self._finishing = False
        self._notes: dict[str, None] = {}
        self._ends = Ends(self.size)
        self._hashed: tuple[Buffer, bytes] = (b"", b"")
        self._collectives = Collectives(self.size, self._deliver)

    def begin(self) -> None:
        """Listen; a gang of one has formed already."""
        if self.setting.lack:
            self._ends.note(0, self.setting.host, "unable", cannot_take_part(self.setting.lack))
        if self.size == 1:
            if self.setting.lack:
                self.conclude(self.unable())
            else:
                self._form()
            return
        ports = candidate_ports(self.setting.name, self.setting.membership.port)
        try:
            self._reception = Reception(
                self.loop,
                self.setting.token,
                self.setting.name,
                self.setting.membership.main,
                ports,
                handshake=min(self.limits.handshake, self.limits.timeout),
                strangers=self.limits.strangers,
                on_member=self._arrived,
            )
        except OSError as error:
            reason = (
                f"the control rank of {self.setting.name} cannot listen on any of the ports "
                f"{', '.join(map(str, ports))} on host {self.setting.host}: {error.strerror or error}"
            )
            self.conclude(GangFailure(0, self.setting.host, None, None, (), reason, "formation"))
            return
        self.loop.after(self.limits.timeout, self._too_late)
        self.loop.after(_FIRST_WORD, self._tell_who_is_missing)
        if self.setting.lack:
            self._send_all_home(self.unable())

    # Forming.

    def _arrived(self, info: WorkerInfo, channel: Channel) -> None:
        other = self._workers.get(info.rank)
        if info.size != self.size:
            refusal = f"this gang has {self.size} ranks, but rank {info.rank} was told that it has {info.size}"
        elif not 0 < info.rank < self.size:
            refusal = f"a gang of {self.size} has no worker of rank {info.rank}"
        elif other is not None:
            refusal = f"rank {info.rank} is here already, from host {other.info.host}"
        else:
            channel.on_frame, channel.on_closed = self._from_worker, self._worker_lost
            self._workers[info.rank] = self._by_channel[channel] = _Worker(info, channel)
            channel.send({"t": "welcome"})
            channel.keep_alive(self.limits.heartbeat, self.limits.silence)
            self._ends.forget(info.rank)
            reason = cannot_take_part(info.lack) if info.lack else ""
            if reason:
                self._ends.note(info.rank, info.host, "unable", reason)
            if self._sending_home:
                self._send_home(self._workers[info.rank])
            elif reason:
                self._send_all_home(GangFailure(info.rank, info.host, None, None, (), reason, "unable"))
            elif len(self._workers) == self.size - 1:
                self._form()
            return
        if len(self._notes) < 20:
            self._notes[f"{rank_on(info.rank, info.host)} was refused: {refusal}"] = None
        channel.on_frame, channel.on_closed = _ignore, _ignore
        channel.send({"t": "refuse", "reason": refusal, "final": other is None})
        channel.finish()
        self.loop.after(1.0, channel.close)

    def _send_all_home(self, failure: GangFailure) -> None:
        """A rank cannot take part: whoever is here, and whoever comes while there is time to form, is told so."""
        self._failure, self._sending_home = failure, True
        for worker in self._workers.values():
            self._send_home(worker)

    def _send_home(self, worker: _Worker) -> None:
        assert self._failure is not None
        worker.ended = True
        worker.channel.send({"t": "end", "failure": self._failure.to_json()})
        worker.channel.finish()

    def _form(self) -> None:
        self._formed = True
        if self._reception is not None:
            self._reception.close()
        members = self._members()
        listed = [[each.rank, each.host, each.address, each.slots] for each in members]
        self._tell_all({"t": "start", "members": listed})
        self.start_body(members)

    def _members(self) -> tuple[Member, ...]:
        # Each rank has the address at which it was met. A worker that shares the control's host may have come over
        # loopback, which means something else to all the others.
        mine = Counter(_plain(worker.channel.sock.getsockname()[0]) for worker in self._workers.values())
        outside = [address for address, _ in mine.most_common() if not _loopback(address)]
        own = outside[0] if outside else next(iter(mine), "127.0.0.1")
        members = [Member(0, self.setting.host, own, self.setting.slots)]
        for rank in range(1, self.size):
            worker = self._workers[rank]
            address = _plain(worker.channel.sock.getpeername()[0])
            members.append(Member(rank, worker.info.host, own if _loopback(address) else address, worker.info.slots))
        return tuple(members)

    def _missing(self) -> list[int]:
        return [rank for rank in range(1, self.size) if rank not in self._workers]

    def _tell_who_is_missing(self) -> None:
        if not self._formed and self._failure is None:
            missing = self._missing()
            here = self.size - len(missing)
            self.setting.log(f"{here} of {self.size} ranks are here; waiting for {ranks_text(missing)}")
            self.loop.after(_NEXT_WORD, self._tell_who_is_missing)

    def _too_late(self) -> None:
        if self._sending_home:
            self.conclude(self._failure)
        if self._formed or self._failure is not None:
            return
        missing, reception = self._missing(), self._reception
        here = self.size - len(missing)
        assert reception is not None
        notes = list(self._notes)
        if reception.refused:
            count = sum(reception.refused.values())
            notes.append(f"{count} connection(s) were refused ({'; '.join(reception.refused)})")
        reason = (
            f"{self.setting.name} did not form within {self.limits.timeout:g} s: {ranks_text(missing)} never came "
            f"({here} of {self.size} are here; the control rank listens on host {self.setting.host}, "
            f"port {reception.port})"
        )
        text = ". ".join([reason, *notes])
        self._fail(GangFailure(missing[0], None, None, None, (), text, "formation"))

    # Messages.

    def _tell_all(self, header: dict[str, Any]) -> None:
        for worker in self._workers.values():
            worker.channel.send(header)

    def _deliver(self, rank: int, header: dict[str, Any], body: Buffer) -> None:
        if rank:
            # One body goes to many ranks: hashed for each, a large one would keep the heartbeats waiting.
            if body is not self._hashed[0]:
                self._hashed = (body, digest_of(body))
            self._workers[rank].channel.send(header, body, self._hashed[1])
        elif self.body is not None:
            self.body.channel.send(header, body)

    def collective(self, frame: Frame) -> None:
        """A call of this rank's own body."""
        self._collectives.take(0, frame)

    def _from_worker(self, channel: Channel, frame: Frame) -> None:
        worker = self._by_channel.get(channel)
        if worker is None:
            return
        rank, header = worker.info.rank, frame.header
        if frame.type in ("call", "chunk", "ack"):
            self._collectives.take(rank, frame)
        elif frame.type == "failing":
            self._fail(self._report(worker, header, str(header.get("kind")), str(header.get("reason"))))
        elif frame.type == "ended":
            self._worker_ended(worker, header)
        elif frame.type == "asked":
            self._preempt(GangFailure(rank, worker.info.host, None, None, (), str(header.get("reason")), "preempted"))

    def _report(self, worker: _Worker, header: dict[str, Any], kind: str, reason: str) -> GangFailure:
        end = self._ends.told(worker.info.rank, worker.info.host, header)
        lines = as_lines(header.get("lines"))
        return GangFailure(end.rank, end.host, end.exit_code, end.signal, lines, reason, kind)

    def _worker_ended(self, worker: _Worker, header: dict[str, Any]) -> None:
        worker.ended = True
        report = self._report(worker, header, "exit", "")
        if self._failure is not None and self._failure.rank == worker.info.rank and self._failure.kind != "lost":
            self._failure = completed(self._failure, report.exit_code, report.signal, report.last_lines)
        elif report.exit_code != 0:
            kind = "exit" if report.signal is None else "signal"
            self._fail(replace(report, kind=kind, reason=how_ended(report.exit_code, report.signal)))
        self._collectives.ended(worker.info.rank)
        self._check_all_ended()

    def _worker_lost(self, channel: Channel, why: str) -> None:
        worker = self._by_channel.get(channel)
        if worker is None or worker.ended:
            self._check_closed()
            return
        if not self._formed and self._failure is None:
            # It may come again, or another in its place.
            del self._workers[worker.info.rank], self._by_channel[channel]
            self._ends.note(worker.info.rank, worker.info.host, "lost", f"was here and went again: {why}")
            self._notes[f"{rank_on(worker.info.rank, worker.info.host)} was here and went again: {why}"] = None
            return
        worker.ended = True
        self._ends.note(worker.info.rank, worker.info.host, "lost", f"lost: {why}")
        self._fail(GangFailure(worker.info.rank, worker.info.host, None, None, (), f"was lost: {why}", "lost"))
        self._check_all_ended()
        self._check_closed()

    # The end.

    def body_failing(self, kind: str, reason: str) -> None:
        """Rank 0 itself failed."""
        self._ends.told(0, self.setting.host, {"kind": kind, "reason": reason, **self.state()})
        self._fail(self.own_failure(kind, reason))

    def body_finished(self) -> None:
        """Complete the report on rank 0 if it is the one."""
        self._ends.told(0, self.setting.host, self.state())
        failure = self._failure
        if failure is not None and failure.rank == 0 and failure.kind in ("exit", "signal", "abort", "preempted"):
            self._failure = completed(failure, self.exit_code, self.exit_signal, self.lines())
        self._collectives.ended(0)
        self._check_all_ended()

    def asked_to_end(self, reason: str) -> None:
        """SIGTERM at rank 0."""
        if self._sending_home:
            self.conclude(self._failure)
        self._preempt(GangFailure(0, self.setting.host, None, None, (), reason, "preempted"))

    def ends(self) -> tuple[RankEnd, ...]:
        """Those of all ranks."""
        hosts = {rank: worker.info.host for rank, worker in self._workers.items()}
        return self._ends.report({0: self.setting.host, **hosts}, self._formed)

    def _fail(self, failure: GangFailure) -> None:
        if self._failure is not None:
            return
        self._failure = failure
        if failure.kind == "signal" and failure.signal == signal.SIGTERM:
            self._explained_until = self.loop.now + _SAME_MOMENT
            self.loop.after(_SAME_MOMENT, self._check_all_ended)
        self._tell_all({"t": "abort", "failure": failure.to_json()})
        self._end(self.limits.grace)

    def _preempt(self, failure: GangFailure) -> None:
        if self._failure is not None and self.loop.now >= self._explained_until:
            return
        self._explained_until = 0.0
        self._failure = failure
        grace = self.limits.preempt_grace if self._formed else 0.0
        self._tell_all({"t": "preempt", "failure": failure.to_json(), "grace": grace})
        self._end(grace)

    def _end(self, grace: float) -> None:
        if self._reception is not None:
            self._reception.close()
        self.end_body(grace)
        if self._last_call is not None:
            self._last_call.cancel()
        self._last_call = self.loop.after(grace + _PATIENCE, self._finish)
        self._check_all_ended()

    def _check_all_ended(self) -> None:
        if not self._formed and self._failure is None:
            return
        if self.loop.now < self._explained_until:
            return  # nobody is kept from ending; only what the gang died of is not settled yet
        if self.body_done and all(worker.ended for worker in self._workers.values()):
            self._finish()

    def _finish(self) -> None:
        if self._finishing:
            return
        self._finishing = True
        failure = None if self._failure is None else self._failure.to_json()
        self._tell_all({"t": "end", "failure": failure})
        for worker in self._workers.values():
            worker.channel.finish()
        # The workers close when they have read it; one that is cut off is not waited for.
        self.loop.after(1.0, lambda: self.conclude(self._failure))
        self._check_closed()

    def _check_closed(self) -> None:
        # Who is being sent home need not all be here yet.
        over = self._finishing or (self._sending_home and not self._missing())
        if over and not any(worker.channel.open for worker in self._workers.values()):
            self.conclude(self._failure)

    def close(self) -> None:
        """Shut the door and every connection."""
        if self._reception is not None:
            self._reception.close()
        for worker in self._workers.values():
            worker.channel.close()


def _ignore(channel: Channel, what: object) -> None:
    pass


def _plain(address: str) -> str:
    """An IPv4 address that came over an IPv6 socket, as an IPv4 address (RFC 4291, 2.5.5.2)."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def _loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
