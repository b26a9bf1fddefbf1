"""Running one task: its body, then its artifacts, then its record."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Optional

from ..dsl import FlowcError, FlowSpec
from ..dsl.current import set_current, swap_current
from ..dsl.plain import dataclass
from .address import Address
from .ahead import Ahead
from .context import StepContext, constants
from .datastore.base import Datastore, DatastoreError
from .facts import facts, facts_of_run
from .failure import caught, failure_of
from .outline import ContractError, StepOutline
from .place import GangPlace, place_of
from .record import DONE, FAILED, Failure, Next, Record
from .runs import RunInfo
from .transitions import planned, resolve

__all__ = [
    "DONE_CODE",
    "FAILED_CODE",
    "REFUSED_CODE",
    "GangPlace",
    "Surroundings",
    "TaskRequest",
    "fail_task",
    "prepare",
    "run_task",
]

DONE_CODE = 0
"""Exit code of a task that is done; its record says so."""

FAILED_CODE = 1
"""Exit code of a step that failed; its record says why."""

REFUSED_CODE = 2
"""Exit code of a task that could not begin, because what it was given does not fit its run; no record."""

TERMINATED_CODE = 128 + signal.SIGTERM
"""Exit code of a task that was told to end by SIGTERM; no record."""


class TaskRequest(NamedTuple):
    """One attempt of one task.

    Parameters
    ----------
    gang : GangPlace or None
        For a rank of a gang.
    caught : mapping or None
        What ended the last attempt of a step with @catch without leaving an exception: ``type``, ``message`` and
        perhaps ``traceback``. The body is not run; the failure is recorded and the flow goes on.
    retries_left : bool
        Whether a failure is followed by another attempt, so that @catch does not apply yet.
    """

    address: Address
    attempt: int = 0
    gang: Optional[GangPlace] = None
    caught: Optional[Mapping[str, Any]] = None
    retries_left: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What a rank of a formed gang runs its body in.

    Parameters
    ----------
    facts : mapping
        Added to ``current``.
    boot : callable
        A context manager around the body; what it yields is added to ``current``, too.
    instead : callable or None
        Called in place of the body, by a worker of a framework whose body runs on the control rank alone.
    """

    facts: Mapping[str, Any]
    boot: Callable[[], AbstractContextManager[Mapping[str, Any]]]
    instead: Optional[Callable[[], None]] = None


class Terminated(SystemExit):
    """SIGTERM, as an exception, so that ``finally`` blocks and context managers of the step run."""


def prepare(flow_class: type[FlowSpec], run: RunInfo) -> None:
    """Work out now what every task of the run would have to work out for itself after a fork."""
    # What only larger artifacts and failures need is not imported with the rest.
    import hashlib  # noqa: F401
    import traceback  # noqa: F401

    constants(flow_class)
    facts_of_run(run)
    for step in run.outline.steps.values():
        getattr(flow_class, step.name, None)
        if "checkpoint" in step.features:
            from . import checkpoint  # noqa: F401


def run_task(
    flow_class: type[FlowSpec],
    run: RunInfo,
    datastore: Datastore,
    request: TaskRequest,
    report: Optional[Callable[[FlowcError], None]] = None,
    surroundings: Optional[Surroundings] = None,
    ahead: Optional[Ahead] = None,
) -> int:
    """Run one attempt of a task in this process and commit its record.

    Errors are told on stderr. The environment of the step is set for good: the process is meant to end afterwards.
    ``report`` is also given the error of a task that leaves no record for it; on a full disk stderr is lost, too.
    ``ahead`` holds what the process that this one was forked from has read already.

    Returns
    -------
    int
        The exit code for the process: `DONE_CODE`, `FAILED_CODE`, `REFUSED_CODE`, or 128 plus the signal that ended it.
    """
    try:
        return _Task(flow_class, run, datastore, request, surroundings, ahead).run()
    except ContractError as error:
        _tell(f"flowc: {error}\n")
        if report is not None:
            report(error)
        return REFUSED_CODE
    except DatastoreError as error:
        _tell(f"flowc: {request.address} could not be recorded: {error}\n")
        if report is not None:
            report(error)
        return FAILED_CODE
    except Terminated:
        _flush()
        return TERMINATED_CODE


def fail_task(
    flow_class: type[FlowSpec], run: RunInfo, datastore: Datastore, request: TaskRequest, error: Exception
) -> int:
    """Record that an attempt failed before its body could begin; tells the error on stderr, returns the exit code.

    Raises
    ------
    ContractError, DatastoreError
        If there is no such task, or nothing can be recorded.
    """
    return _Task(flow_class, run, datastore, request)._failed(error)


class _Task:
    def __init__(
        self,
        flow_class: type[FlowSpec],
        run: RunInfo,
        datastore: Datastore,
        request: TaskRequest,
        surroundings: Optional[Surroundings] = None,
        ahead: Optional[Ahead] = None,
    ) -> None:
        self.surroundings = surroundings
        self.started = time.time()
        self.request = request
        self.address = request.address
        self.run_info = run
        self.datastore = datastore
        self.context = StepContext(flow_class, run, datastore, request.address, ahead)
        self.step: StepOutline = self.context.step
        self.gang = place_of(self.address, request.gang) if self.step.kind == "gang" else None
        self.flow_class = flow_class
        self.asked_to_end = False

    def run(self) -> int:
        values = facts(self.run_info, self.datastore, self.step, self.address, self.request.attempt, self.gang)
        if self.step.env:
            os.environ.update(self.step.env)
        before = swap_current(values)
        try:
            return self._attempt()
        finally:
            swap_current(before)
            if "checkpoint" in values:
                values["checkpoint"].close()

    def _attempt(self) -> int:
        if self.request.caught is not None:
            return self._record_caught(self.request.caught)
        flow: Optional[FlowSpec] = None
        try:
            flow = self._flow()
            mask = os.umask(0o022)
            os.umask(mask)
            handler = _end if self.surroundings is None else self._end_once(os.getpid())
            before = _raise_at_sigterm(handler)
            try:
                if self.surroundings is None:
                    self._body(flow)
                else:
                    self._surrounded(flow, self.surroundings)
            finally:
                # Others must be able to read what is written now, whatever the step kept for itself.
                os.umask(mask)
                if before is not _NOT_MAIN:
                    _set_handler(_SIGTERM, handler if self.asked_to_end else before)
            artifacts, onward = self._results(flow)
        except (Terminated, ContractError):
            raise
        except BaseException as error:
            # A store that cannot be written, or an interrupt, is no failure of the step that may be passed over.
            if flow is None or isinstance(error, (DatastoreError, KeyboardInterrupt)) or not self._catches():
                return self._failed(error)
            return self._caught_here(flow, error)
        self._commit(DONE, artifacts, onward)
        return DONE_CODE

    def _end_once(self, body: int) -> Callable[[int, Any], None]:
        """A handler for the body of a gang, whose supervisor has the clock and kills it when that has run out.

        A scheduler may signal every process of a rank, and the supervisor then does once more; it is all one request.
        To ignore the signal would be simpler, and programs that the step starts from then on would ignore it, too.
        """

        def end(number: int, frame: Any) -> None:
            if os.getpid() != body:
                _end(number, frame)  # forked by the step, and nobody has a clock for it alone
            if not self.asked_to_end:
                self.asked_to_end = True
                raise Terminated(TERMINATED_CODE)

        return end

    def _flow(self) -> FlowSpec:
        flow = self.flow_class(use_cli=False)
        self.context.begin(flow)
        return flow

    def _surrounded(self, flow: FlowSpec, surroundings: Surroundings) -> None:
        set_current(surroundings.facts)
        with surroundings.boot() as facts:
            set_current(facts)
            if surroundings.instead is None:
                self._body(flow)
            else:
                surroundings.instead()

    def _body(self, flow: FlowSpec) -> None:
        body = getattr(flow, self.step.name)
        try:
            if self.context.inputs is not None:
                body(self.context.inputs)
            else:
                body()
        except Terminated:
            raise
        except SystemExit as error:
            # After self.next nothing is left to do, so a program's usual last line does no harm there.
            if error.code not in (None, 0) or self.context.transition is None:
                raise
        finally:
            if sys.getrecursionlimit() < 1000:
                sys.setrecursionlimit(1000)  # the step may have set it too low for what is left to do

    def _results(self, flow: FlowSpec) -> tuple[dict[str, Any], Next]:
        context = self.context
        parameters = self.run_info.parameters
        if self.surroundings is not None and self.surroundings.instead is not None:
            onward = planned(context.outline, self.address)
        else:
            onward = resolve(flow, context.transition, context.outline, self.address, context.store, parameters)
        catch = self.step.catch
        if catch is not None and catch.var:
            flow.__dict__[catch.var] = None
        return self.context.collect(flow), onward

    # Failing ---------------------------------------------------------------------------------------------------------

    def _failed(self, error: BaseException) -> int:
        failure = self._told(error)
        self._commit(FAILED, {}, None, failure)
        return FAILED_CODE

    def _told(self, error: BaseException) -> Failure:
        failure = failure_of(error)
        _tell(failure.traceback)
        if isinstance(error, SystemExit):
            _tell(f"flowc: {failure.message}\n")
        return failure

    def _catches(self) -> bool:
        return self.step.catch is not None and not self.request.retries_left

    def _caught_here(self, flow: FlowSpec, error: BaseException) -> int:
        catch = self.step.catch
        assert catch is not None
        failure = failure_of(error)
        if catch.print_exception:
            _tell(failure.traceback)
        return self._go_on(flow, failure)

    def _record_caught(self, what: Mapping[str, Any]) -> int:
        if self.step.catch is None:
            raise ContractError(f"step {self.step.name} has no @catch, so its failure cannot be passed over")
        failure = Failure(
            str(what.get("type") or "ProcessFailure"), str(what.get("message") or ""), str(what.get("traceback") or "")
        )
        return self._go_on(self._flow(), failure)

    def _go_on(self, flow: FlowSpec, failure: Failure) -> int:
        catch = self.step.catch
        assert catch is not None
        if catch.var:
            flow.__dict__[catch.var] = caught(failure)
        self._commit(
            DONE, self.context.collect(flow, leave_out_bad=True), planned(self.context.outline, self.address), failure
        )
        return DONE_CODE

    def _commit(
        self, state: str, artifacts: Mapping[str, Any], onward: Optional[Next], failure: Optional[Failure] = None
    ) -> None:
        rank, size = (None, None) if self.gang is None else (self.gang.rank, self.gang.size)
        record = Record(
            self.address,
            self.request.attempt,
            state,
            self.started,
            time.time(),
            artifacts,
            onward,
            failure,
            None,
            rank,
            size,
        )
        _flush()
        self.context.lineage.records.commit(record)


_NOT_MAIN: Any = object()
_SIGTERM = int(signal.SIGTERM)
# Without the enums that signal.signal makes of what it takes and gives.
_set_handler = getattr(signal, "_signal", signal).signal


def _raise_at_sigterm(handler: Callable[[int, Any], None]) -> Any:
    """Let SIGTERM raise from now on, by this handler; what it did before. Only the main thread can say.

    The module threading is not asked: where nobody has imported it, a fork is the cheaper for it.
    """
    try:
        return _set_handler(_SIGTERM, handler)
    except ValueError:
        return _NOT_MAIN


def _end(number: int, frame: Any) -> None:
    # A second SIGTERM ends the process at once, whatever the step's clean-up is doing.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated(TERMINATED_CODE)


def _tell(text: str) -> None:
    try:
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # nowhere to tell it


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # closed by the step, or a full disk
