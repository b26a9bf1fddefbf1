"""The scheduler: one loop that starts what is ready, hears what has ended, and decides what follows from it."""

from __future__ import annotations

import select
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from ...runtime import contract, gang_report
from ...runtime.address import Address
from ...runtime.cloning import Cloner
from ...runtime.frontier import Family, Frontier
from ...runtime.logs import said_last
from ...runtime.outline import FAN_OUTS, Outline
from ...runtime.processes import adopt_orphans
from ...runtime.record import Next, Records
from ...runtime.report import INTERRUPTED, TIMEOUT, Failure, exit_of, gang_failure, task_failure, too_long
from .attempts import Attempt, Member
from .events import (
    Listener,
    StepWidth,
    TaskCloned,
    TaskDone,
    TaskFailed,
    TaskOutput,
    TaskRetrying,
    TaskStarted,
    TaskStopped,
)
from .interrupts import Interrupts
from .ready import ReadyQueue, fits
from .server import Handle
from .settings import LocalSettings
from .starters import GANG_GRACE as CHECKPOINT_GRACE
from .tail import Tail
from .timers import Timers

if TYPE_CHECKING:
    from ...runtime.gang import GangFailure

STOP_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL when a run ends early or an attempt takes too long."""

GANG_GRACE = 6.0
"""The same for the ranks of a gang of which one has failed. Each of them ends its own processes in less time; this is
for one that does not."""

_LOOK = 0.1
_SLICE = 0.05


class Scheduler:
    """Runs the tasks of one run.

    Parameters
    ----------
    outline : Outline
        The flow.
    server : Handle
        Starts the processes; the run has been announced to it.
    records : Records
        Of this run.
    settings : LocalSettings
    listener : Listener
    cloner : Cloner or None
        Takes over tasks of the run that is resumed.
    """

    def __init__(
        self,
        outline: Outline,
        server: Handle,
        records: Records,
        settings: LocalSettings,
        listener: Listener,
        cloner: Cloner | None = None,
    ) -> None:
        self.state: str | None = None
        self.failure: Failure | None = None
        self.server_lost = False
        self._outline = outline
        self._channel = server.channel
        self._records = records
        self._settings = settings
        self._tell = listener
        self._cloner = cloner
        self._frontier = Frontier(outline)
        self._queue = ReadyQueue()
        self._again: list[Attempt] = []  # to be tried again, before anything new
        self._waiting = 0  # retries whose time has not come
        self._timers = Timers()
        self._members: dict[int, Member] = {}
        self._numbers = 0
        self._server_end = "was killed"
        self._not_cloned: tuple[Family, int] | None = None

    def run(self, interrupts: Interrupts) -> None:
        """Run everything; afterwards ``state`` is ``done``, ``failed`` or ``interrupted`` and ``failure`` says why."""
        self._admit(self._frontier.begin())
        poll = select.poll()
        poll.register(self._channel.read_fd, select.POLLIN)
        poll.register(interrupts.read_fd, select.POLLIN)
        heard = 0
        looked = time.monotonic()
        orphans = False
        while True:
            more = self._fill()
            self._channel.flush()
            if not (self._members or self._waiting or self._again or len(self._queue)):
                break
            if self._members and not orphans:
                # Should the server be killed, its tasks' descendants come to this process. The first task is under way
                # by now, so nothing waits for this.
                orphans = True
                adopt_orphans()
            if self._channel.pending:
                # Requests wait for room in the pipe. Meanwhile this end must read on, or neither would get any further.
                poll.register(self._channel.write_fd, select.POLLOUT)
            for fd, _ in poll.poll(0 if more else self._patience(looked)):
                if fd == interrupts.read_fd:
                    interrupts.drain()
                elif fd == self._channel.read_fd:
                    self._hear(self._channel.receive())
                else:
                    poll.unregister(fd)
            if interrupts.count > heard:
                heard = interrupts.count
                self._interrupted(interrupts.name)
            if self._channel.ended:
                self._lost()
                break
            self._timers.run_due()
            if time.monotonic() - looked >= _LOOK:
                for member in list(self._members.values()):
                    member.tail.read()
                looked = time.monotonic()
        if self._frontier.ended and self.state != "failed":
            self.state = "done"
        elif self.state is None:
            waiting = ", ".join(str(Address(join, index)) for join, index in self._frontier.waiting)
            text = f"no task is left to run, yet the flow has not ended; waiting: {waiting}"
            self._fail(Failure(None, 0, "Stalled", text))

    def _patience(self, looked: float) -> float | None:
        wait = self._timers.wait()
        if self._members:
            look = max(0.0, looked + _LOOK - time.monotonic())
            wait = look if wait is None else min(wait, look)
        # One millisecond more than asked for, so that what is due is due when poll returns.
        return None if wait is None else int(wait * 1000) + 1

    # Starting --------------------------------------------------------------------------------------------------------

    def _admit(self, family: Family) -> None:
        self._tell(StepWidth(family.step, family.size, family.round))
        self._queue.push(family)

    def _fill(self) -> bool:
        """Start what fits. Returns whether there is more to do at once, after a look at what has happened meanwhile."""
        until = time.monotonic() + _SLICE
        limit = self._settings.max_workers
        while self.state is None:
            if time.monotonic() > until:
                return True
            if self._again:
                if not fits(self._again[0].size, limit - len(self._members), limit):
                    return False
                self._start(self._again.pop(0))
                continue
            head = self._queue.head()
            if head is None:
                return False
            family, position = head
            if self._clone(family, position, until):
                continue
            if not fits(family.size if family.gang else 1, limit - len(self._members), limit):
                return False
            self._queue.pop()
            self._start(Attempt(self._outline[family.step], family, position))
        return False

    def _start(self, attempt: Attempt) -> None:
        last = attempt.retries_left == 0
        step = attempt.step
        for rank, address in enumerate(attempt.addresses):
            self._numbers += 1
            number = self._numbers
            gang = [rank, attempt.size] if attempt.gang else None
            self._channel.put(
                "start",
                number,
                [address.step, address.index, address.round, attempt.number, gang, attempt.caught, not last],
            )
            folder = self._records.datastore.path(self._records.folder(address, attempt.number))
            tail = Tail(folder, partial(self._output, address, attempt.number))
            member = Member(attempt, address, rank if attempt.gang else None, tail)
            self._members[number] = attempt.running[number] = member
            self._tell(TaskStarted(address, attempt.number, attempt.caught is not None))
        if step.timeout:
            attempt.timers.append(self._timers.after(step.timeout, partial(self._timeout, attempt)))

    def _output(self, address: Address, attempt: int, stream: str, line: str) -> None:
        self._tell(TaskOutput(address, attempt, stream, line))

    def _clone(self, family: Family, position: int, until: float) -> bool:
        """Take over what can be of the family at the head; whether anything was."""
        if self._cloner is None or not family.cloned or self._not_cloned == (family, position):
            return False
        first = family.address(position)
        ready: list[Family] = []
        count = 0
        for taken in self._cloner.clone(family, position):
            self._queue.pop()
            for address, next in taken:
                count += 1
                ready += self._follow(address, next, cloned=True)
            if self.state is not None or time.monotonic() > until:
                break
        if count:
            self._tell(TaskCloned(first, count))
            for new in ready:
                self._admit(new)
        else:
            self._not_cloned = (family, position)
        return count > 0

    # What has ended --------------------------------------------------------------------------------------------------

    def _hear(self, messages: list[list[Any]]) -> None:
        touched: dict[int, Attempt] = {}
        failed: list[tuple[Member, Failure]] = []
        for kind, number, *fields in messages:
            if kind == "broken":
                self._server_end = f"failed: {fields[0]}"
                continue
            member = self._members.pop(number)
            attempt = member.attempt
            touched[id(attempt)] = attempt
            del attempt.running[number]
            member.seconds = time.monotonic() - member.started
            member.tail.read(end=True)
            if kind == "refused":
                failure = Failure(str(member.address), attempt.number, "ProcessFailure", fields[0], member.rank)
                attempt.offer(failure, None)
                failed.append((member, failure))
            else:
                status, note, _ = fields
                self._ended(member, status, note, failed)
        for attempt in touched.values():
            if attempt.failure is not None and attempt.running and not attempt.ending:
                self._end(attempt, GANG_GRACE)
        for member, failure in failed:
            attempt = member.attempt
            final = not (attempt.retries_left or attempt.can_be_caught)
            self._tell(TaskFailed(member.address, attempt.number, failure, final))
        for attempt in touched.values():
            if not attempt.running:
                self._conclude(attempt)

    def _ended(self, member: Member, status: int, note: list[str] | None, failed: list[tuple[Member, Failure]]) -> None:
        attempt = member.attempt
        record = self._records.read(member.address, attempt.number)
        if record is not None and record.done and record.next is not None:
            # What is committed has happened, however its process ended after that.
            member.next = record.next
            member.caught = record.failure is not None
            attempt.done.append(member)
            return
        if self.state is not None:
            self._tell(TaskStopped(member.address, attempt.number))
            return
        report = gang_report.read(self._records, member.address, attempt.number) if attempt.gang else None
        code, name = exit_of(status)
        if attempt.timed_out:
            assert attempt.failure is not None
            if attempt.failure.address == str(member.address):
                attempt.failure = attempt.failure._replace(exit_code=code, signal=name, last_lines=self._last(member))
                failed.append((member, attempt.failure))
            else:
                self._tell(TaskStopped(member.address, attempt.number))
            return
        if report is not None:
            self._reported(member, report)
        elif attempt.ending and name in ("SIGTERM", "SIGKILL"):
            pass  # it ended because it was told to
        else:
            failure = task_failure(
                str(member.address),
                attempt.number,
                member.rank,
                status,
                None if record is None or record.failure is None else record.failure.to_json(),
                note,
                self._last(member),
            )
            attempt.offer(failure, record)
            if not attempt.gang:
                failed.append((member, failure))
                return
        if attempt.failure is not None and attempt.failure.address == str(member.address):
            failed.append((member, attempt.failure))
        else:
            self._tell(TaskStopped(member.address, attempt.number))

    def _reported(self, member: Member, report: GangFailure) -> None:
        """Every rank of a gang says the same about the one that failed first, whichever is heard first."""
        attempt = member.attempt
        address = attempt.addresses[report.rank]
        record = self._records.read(address, attempt.number)
        recorded = None if record is None or record.failure is None else record.failure.to_json()
        own = member.rank == report.rank
        last = self._lines_of(address, attempt.number) or report.last_lines
        attempt.report(gang_failure(str(address), attempt.number, report, recorded, last), report.kind, own)

    def _last(self, member: Member) -> tuple[str, ...]:
        return self._lines_of(member.address, member.attempt.number)

    def _lines_of(self, address: Address, attempt: int) -> tuple[str, ...]:
        return said_last(self._records.datastore, self._records.folder(address, attempt))

    def _conclude(self, attempt: Attempt) -> None:
        attempt.cancel_timers()
        if attempt.succeeded:
            ready = []
            for member in sorted(attempt.done, key=lambda member: member.rank or 0):
                assert member.next is not None
                self._tell(TaskDone(member.address, attempt.number, member.seconds, member.caught))
                ready += self._follow(member.address, member.next)
            if self.state is None:
                for family in ready:
                    self._admit(family)
            return
        for member in attempt.done:
            self._tell(TaskStopped(member.address, attempt.number))
        if self.state is not None:
            return
        failure = attempt.failure
        assert failure is not None
        if attempt.retries_left:
            assert attempt.step.retry is not None
            following = attempt.again()
            wait = (
                0.0 if attempt.preempted else attempt.step.retry.wait_before(following.number - following.preemptions)
            )
            self._waiting += 1
            self._timers.after(wait, partial(self._retry, following))
            self._tell(TaskRetrying(attempt.addresses[0], following.number, wait, failure))
        elif attempt.can_be_caught:
            caught = {"type": failure.type, "message": failure.message, "traceback": failure.traceback}
            self._again.insert(0, attempt.again(caught))
        else:
            self._fail(failure)

    def _retry(self, attempt: Attempt) -> None:
        self._waiting -= 1
        self._again.append(attempt)

    def _follow(self, address: Address, next: Next, cloned: bool = False) -> list[Family]:
        limit = self._settings.max_num_splits
        if next.kind in FAN_OUTS:
            width = next.width or 0
            if width > limit:
                self._fail(
                    Failure(
                        str(address),
                        0,
                        "TooManySplits",
                        f"step {address.step} fans out into {width:,} tasks of {next.to[0]}; the limit is {limit:,}. "
                        f"Give --max-num-splits {width} if that many are meant",
                    )
                )
                return []
            if width == 0:
                self._tell(StepWidth(next.to[0], 0, next.round))
        return self._frontier.done(address, next, cloned)

    # Ending ----------------------------------------------------------------------------------------------------------

    @staticmethod
    def _grace(attempt: Attempt) -> float:
        # The ranks of a gang end their own processes; only one that does not is killed with what it supervises.
        said = attempt.step.grace
        if not attempt.gang and said is None:
            return STOP_GRACE
        try:
            checkpoint = contract.preempt_grace(said, CHECKPOINT_GRACE)
        except ValueError:  # which the ranks say themselves
            checkpoint = said or CHECKPOINT_GRACE
        return max(STOP_GRACE, checkpoint + 1.0)

    def _timeout(self, attempt: Attempt) -> None:
        if attempt.ending:
            return
        seconds = attempt.step.timeout
        running = sorted(attempt.running.values(), key=lambda member: member.rank or 0)
        if attempt.gang:
            # The control rank stays until all are done; one that has committed its work is not late.
            running = [m for m in running if not self._committed(m)] or running
        late, ranks = running[0], [member.rank for member in running] if attempt.gang else []
        attempt.failure = Failure(str(late.address), attempt.number, TIMEOUT, too_long(seconds, ranks), late.rank)
        attempt.timed_out = True
        self._end(attempt, self._grace(attempt))

    def _committed(self, member: Member) -> bool:
        record = self._records.read(member.address, member.attempt.number)
        return record is not None and record.done

    def _end(self, attempt: Attempt, grace: float) -> None:
        attempt.ending = True
        self._signal(attempt.running, signal.SIGTERM)
        attempt.timers.append(self._timers.after(grace, partial(self._signal, attempt.running, signal.SIGKILL)))

    def _signal(self, members: dict[int, Member], number: int) -> None:
        for task in members:
            self._channel.put("signal", task, int(number))

    def _fail(self, failure: Failure) -> None:
        if self.state is None:
            self.failure = failure
            self._stop("failed")

    def _interrupted(self, name: str) -> None:
        if self.state is None:
            self.failure = Failure(None, 0, INTERRUPTED, f"ended by {name}")
            self._stop("interrupted")
        else:
            self._signal(self._members, signal.SIGKILL)

    def _stop(self, state: str) -> None:
        self.state = state
        self._queue.clear()
        self._again.clear()
        self._timers.clear()
        self._waiting = 0
        self._signal(self._members, signal.SIGTERM)
        grace = max((self._grace(member.attempt) for member in self._members.values()), default=STOP_GRACE)
        self._timers.after(grace, partial(self._signal, self._members, signal.SIGKILL))

    def _lost(self) -> None:
        self.server_lost = True
        for member in self._members.values():
            member.tail.read(end=True)
            self._tell(TaskStopped(member.address, member.attempt.number))
        self._members.clear()
        message = f"the process that starts tasks {self._server_end}; resume the run to go on"
        self._fail(Failure(None, 0, "ServerLost", message))
