"""`run_local`: one run of a flow on this machine, from its number to its last status."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...compiler.plan import Plan
from ...dsl.flow import FlowSpec
from ...dsl.loading import LoadedFile
from ...runtime.cloning import Cloner
from ...runtime.datastore import Datastore, DatastoreError, open_datastore
from ...runtime.processes import adopt_orphans, children, signal_process
from ...runtime.record import Records
from ...runtime.report import INTERRUPTED, Failure
from ...runtime.runs import RunError, RunInfo, RunStatus, create_run, hold_lock, is_alive, read_run, write_status
from .events import Event, Listener, RunEnded, RunStarted, ignore
from .interrupts import Interrupts
from .native import cuda_has_begun, end_native_threads
from .scheduler import Scheduler
from .server import Handle, start_server
from .settings import LocalSettings, RunResult
from .starters import by_fork, by_spawn


def run_local(
    plan: Plan,
    flow_class: type[FlowSpec],
    loaded: LoadedFile,
    parameters: Mapping[str, Any],
    settings: LocalSettings,
    listener: Listener = ignore,
) -> RunResult:
    """Run a flow here and wait for its end.

    Parameters
    ----------
    plan : Plan
        The flow, compiled.
    flow_class, loaded
        The same flow as Python has imported it.
    parameters : mapping
        Values as `flowc.runtime.parameters.parameter_values` gives them.
    settings : LocalSettings
    listener : callable
        Told of everything that happens, in this thread. If it raises an exception, stderr says so once, and the run
        goes on without it.

    Raises
    ------
    DatastoreError, RunError
        If the run cannot be started: the datastore cannot be written, or there is no such run to resume. Whatever goes
        wrong after that is in the result.
    ValueError
        If a setting makes no sense.
    """
    if settings.max_workers < 1:
        raise ValueError(f"max_workers is {settings.max_workers}; at least 1 task must be able to run")
    datastore = open_datastore(settings.datastore)
    with Interrupts() as interrupts:
        fresh = settings.isolation == "spawn"
        if not fresh and cuda_has_begun():
            fresh = True
            print(
                "flowc: warning: the flow began to use CUDA while it was imported, which no forked process could go on "
                "with: each task starts afresh, as with --isolation spawn. It is faster to use devices in steps only.",
                file=sys.stderr,
            )
        if fresh:
            graces = {step.name: step.grace for step in plan.steps if step.grace is not None}
            prepare = by_spawn(loaded.file, plan.name, datastore, graces)
        else:
            gangs = any(step.kind == "gang" for step in plan.steps)
            foreaches = any(step.leave.kind == "foreach" for step in plan.steps)
            prepare = by_fork(flow_class, plan.name, datastore, gangs=gangs, foreaches=foreaches)
            end_native_threads()
        # The server comes first: it imports what tasks need while this process writes down the run.
        server = start_server(prepare, close=interrupts.descriptors)
        try:
            return _Run(plan, loaded.file, parameters, settings, listener, datastore).go(server, interrupts)
        finally:
            server.close()
            adopt_orphans(False)


class _Run:
    def __init__(
        self,
        plan: Plan,
        file: str,
        parameters: Mapping[str, Any],
        settings: LocalSettings,
        listener: Listener,
        datastore: Datastore,
    ) -> None:
        self._settings = settings
        self._listener: Listener | None = listener
        self._datastore = datastore
        self._began = time.monotonic()
        first = settings.resume_from
        if first is not None and first not in {step.name for step in plan.steps}:
            raise RunError(f"flow {plan.name} has no step {first!r} to resume from")
        origin = self._origin(plan.name)
        # Held before there is a run.json, so that the run never looks as if nobody ran it.
        self._lock = -1
        self._run = create_run(
            datastore,
            plan.to_json(),
            parameters,
            file=file,
            tags=settings.tags,
            user=settings.user,
            origin_run_id=settings.origin_run_id,
            taken=self._hold,
        )
        self._status = RunStatus.begun()
        write_status(datastore, self._run, self._status)
        self._records = self._run.records(datastore)
        self._cloner = None
        if origin is not None:
            self._cloner = Cloner(self._run.outline, origin, self._records, first)

    def _hold(self, run: RunInfo) -> None:
        self._lock = hold_lock(self._datastore, run)

    def _tell(self, event: Event) -> None:
        if self._listener is None:
            return
        try:
            self._listener(event)
        except Exception as error:
            # Whoever only looks on must not decide how the run ends.
            self._listener = None
            warning = f"flowc: warning: the run is no longer shown ({type(error).__name__}: {error}); it goes on\n"
            try:
                sys.stderr.write(warning.encode("ascii", "backslashreplace").decode())
            except (AttributeError, OSError, ValueError):
                pass

    def _origin(self, flow: str) -> Records | None:
        if self._settings.origin_run_id is None:
            return None
        origin: RunInfo = read_run(self._datastore, flow, self._settings.origin_run_id)
        if is_alive(self._datastore, origin):
            raise RunError(f"run {origin.prefix} is still running; it can be resumed once it has ended")
        return origin.records(self._datastore)

    def go(self, server: Handle, interrupts: Interrupts) -> RunResult:
        scheduler = Scheduler(self._run.outline, server, self._records, self._settings, self._tell, self._cloner)
        try:
            if self._settings.run_id_file is not None:
                _write_run_id(self._settings.run_id_file, self._run.run_id)
            if self._settings.runner_attribute_file is not None:
                names = {"flow_name": self._run.flow, "run_id": self._run.run_id}
                _write_run_id(self._settings.runner_attribute_file, json.dumps(names))
            server.channel.put("run", self._run.run_id)
            self._tell(RunStarted(self._run.flow, self._run.run_id, self._run.origin_run_id))
            scheduler.run(interrupts)
            if scheduler.server_lost:
                _end_orphans()
            state, failure = scheduler.state or "failed", scheduler.failure
        except (DatastoreError, RunError) as error:
            state, failure = "failed", Failure(None, 0, type(error).__name__, str(error))
        except BaseException as error:
            # The end of this process, or a defect: tasks first, then the status, then whoever called.
            server.close()
            stopped = isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit))
            text = str(error) or type(error).__name__
            if stopped:
                self._ended("interrupted", Failure(None, 0, INTERRUPTED, f"ended by {text}"))
            else:
                self._ended("failed", Failure(None, 0, type(error).__name__, text))
            raise
        server.channel.close()
        failure = self._ended(state, failure)
        if failure is not None and state == "done":
            state = "failed"
        seconds = time.monotonic() - self._began
        self._tell(RunEnded(state, seconds, failure))
        return RunResult(self._run.run_id, state, seconds, failure)

    def _ended(self, state: str, failure: Failure | None) -> Failure | None:
        """Write down how the run ended; returns what it failed on, be it that nothing can be written."""
        said = None if failure is None else failure.to_json()
        try:
            write_status(
                self._datastore, self._run, replace(self._status, state=state, finished=time.time(), failure=said)
            )
        except DatastoreError as error:
            return failure or Failure(None, 0, type(error).__name__, str(error))
        finally:
            os.close(self._lock)
        return failure


def _write_run_id(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"the run's id cannot be written to {path}: {error.strerror}") from error


def _end_orphans(patience: float = 2.0) -> None:
    """Kill what a server that was killed itself has left behind."""
    deadline = time.monotonic() + patience
    mine = os.getsid(0)
    while time.monotonic() < deadline:
        # Every task leads a session of its own; what else this process has started is in its own session.
        left = [pid for pid in children() if _session(pid) != mine]
        if not left:
            return
        for pid in left:
            signal_process(pid, signal.SIGKILL)
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        time.sleep(0.005)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return os.getsid(0)
