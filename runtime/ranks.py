"""Running one rank of a gang: its process supervises, and runs the step in a process of its own once all are there."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Optional

from ..dsl import FlowcError, FlowSpec
from . import contract, gang_report, gang_token, preemptions
from .address import Address
from .datastore.base import Datastore, DatastoreError
from .frameworks.base import Framework, FrameworkMissing, Site, get_framework
from .frameworks.parallel import parallel_of
from .gang import EXIT_PREEMPTED, GangHandle, GangResult, Limits, Membership, supervise
from .lineage import Lineage
from .outline import ContractError, StepOutline
from .place import GangPlace, place_of
from .runs import RunInfo
from .scratch import scratch_folder
from .task import FAILED_CODE, REFUSED_CODE, Surroundings, TaskRequest, fail_task, run_task

_EARLY_WARNINGS = (signal.SIGUSR1,)
"""srun hands this on; at SIGTERM it would kill the ranks at once."""

_FAILED_END = 0.5
"""Seconds in which a rank that failed may do what it has registered for its end."""


Load = Callable[[], type[FlowSpec]]
"""Gives the class of the flow, importing its file where that has not been done; ContractError where it cannot be."""


def run_rank(
    load: Load,
    run: RunInfo,
    datastore: Datastore,
    request: TaskRequest,
    membership: Membership,
    *,
    preempt_grace: Optional[float] = None,
    report: Optional[Callable[[FlowcError], None]] = None,
) -> int:
    """Run one rank of one attempt of a gang, from forming to the end of all ranks.

    Its step runs in a child process, which loads the flow and commits the rank's record; this process commits one only
    where the rank failed before the gang formed. It does without the flow: what a module starts or finds out when it is
    imported (a pool of threads, the devices of the machine) may be of no use in a process that is forked after. If the
    gang fails, every rank leaves the same report beside its logs.

    Parameters
    ----------
    load : callable
        Gives the flow's class; called in the child.
    request : TaskRequest
        Its address and attempt; its place is that of the membership.
    preempt_grace : float, optional
        Seconds to checkpoint in when the gang is asked to end, where neither FLOWC_PREEMPT_GRACE nor the step says.
    report : callable, optional
        Given the error of a rank that could leave nothing in the datastore.

    Returns
    -------
    int
        The exit code for the process: 0 if every rank is done; that of the step where this rank failed first, but
        for EXIT_PREEMPTED; else one of the ``EXIT_`` constants of the gang.
    """
    request = request._replace(gang=membership.place, attempt=membership.attempt)
    try:
        return _Rank(load, run, datastore, request, membership, report).run(preempt_grace)
    except ContractError as error:
        _tell(str(error))
        problem: FlowcError = error
        code = REFUSED_CODE
    except DatastoreError as error:
        _tell(f"{request.address} could not be recorded: {error}")
        problem = error
        code = FAILED_CODE
    if report is not None:
        report(problem)
    return code


class _Rank:
    def __init__(
        self,
        load: Load,
        run: RunInfo,
        datastore: Datastore,
        request: TaskRequest,
        membership: Membership,
        report: Optional[Callable[[FlowcError], None]],
    ) -> None:
        self.load = load
        self.run_info = run
        self.datastore = datastore
        self.request = request
        self.membership = membership
        self.report = report
        self.address: Address = request.address
        self.step: StepOutline = run.outline.check(self.address)
        self.lineage = Lineage(run.outline, run.records(datastore), self.address)
        self.framework: Framework = get_framework(self.step.framework or "parallel")
        self.folder = ""
        self.limits = Limits()

    def run(self, preempt_grace: Optional[float]) -> int:
        self._check_place()
        os.environ.update(self.step.env)
        self.limits = self._limits(preempt_grace)
        token = gang_token.read(self.lineage)
        try:
            self._require()
        except FrameworkMissing as error:
            # It is told and recorded now; the other ranks, which would wait for this one, may take a while to come.
            code = fail_task(self._class_to_record_with(), self.run_info, self.datastore, self.request, error)
            self._report(self._supervise(token, lack=str(error)))
            return code
        with scratch_folder(os.environ.get(contract.SCRATCH)) as self.folder:
            result = self._supervise(token)
        self._report(result)
        # A scheduler may take the code for a preemption; a program that ends with it has failed.
        return FAILED_CODE if result.code == EXIT_PREEMPTED and not result.preempted else result.code

    def _report(self, result: GangResult) -> None:
        failure = result.failure
        if failure is None:
            return
        # The step's own traceback, or what is missing here, has been told already; who is killed tells nothing.
        if failure.rank != self.membership.rank or failure.kind not in ("exit", "unable"):
            _tell(str(failure))
        try:
            gang_report.write(self.lineage.records, self.address, self.request.attempt, failure)
        except DatastoreError as error:
            # The exit code says more than that it failed: who gets 75 tries again.
            _tell(f"why the gang of {self.address} failed could not be recorded: {error}")
            if self.report is not None:
                self.report(error)

    def _require(self) -> None:
        works = self.membership.rank == 0 or not self.framework.on_control_only
        calls = self.step.framework_calls if works else ()
        try:
            self.framework.require(self.step.framework_options, calls)
        except FrameworkMissing:
            # Flows say where it is when they are imported, too: by PATH, by sys.path.
            self._class_to_record_with()
            self.framework.require(self.step.framework_options, calls)

    def _class_to_record_with(self) -> type[FlowSpec]:
        try:
            return self.load()
        except ContractError:
            return FlowSpec  # its file imports what is missing here

    def _check_place(self) -> None:
        size = place_of(self.address, self.request.gang).size
        opened = self.lineage.width(len(self.address.index) - 1)
        if size != opened:
            raise ContractError(f"{self.address} was started as one of {size} ranks; the gang was opened with {opened}")

    def _limits(self, preempt_grace: Optional[float]) -> Limits:
        limits = Limits()
        try:
            timeout = contract.seconds(contract.GANG_TIMEOUT)
            preempt_grace = contract.preempt_grace(self.step.grace, preempt_grace or limits.preempt_grace)
        except ValueError as error:
            raise ContractError(str(error)) from None
        if self.step.grace is not None and not os.environ.get(contract.PREEMPT_GRACE):
            # Frameworks have clocks of their own, which go by the variable.
            os.environ[contract.PREEMPT_GRACE] = f"{self.step.grace:.15g}"
        timeout = timeout or self.step.framework_options.get("all_nodes_started_timeout")
        forms = float(timeout or limits.timeout)
        if self.membership.group and self.membership.restarts:
            forms += preemptions.REPLACEMENT
        return replace(limits, timeout=forms, preempt_grace=preempt_grace)

    def _supervise(self, token: bytes, lack: str = "") -> GangResult:
        address = self.address
        result = supervise(
            self.membership,
            token,
            self._body,
            run=self.run_info.prefix,
            address=str(Address(address.step, address.index[:-1], address.round)),
            limits=self.limits,
            slots=max(1, int(self.step.cpus)),
            early_warnings=self._early_warnings(),
            log=_tell,
            lack=lack,
        )
        # Whoever ends the ranks of a gang that failed may come late: there is nothing left to end but the report on it.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return result

    def _early_warnings(self) -> tuple[int, ...]:
        return _EARLY_WARNINGS if self.membership.source == "slurm" else ()

    def _storage(self, key: str) -> str:
        try:
            return self.datastore.path(key)
        except DatastoreError:
            return f"{self.datastore.url}/{key}"  # frameworks take URLs of object stores, too

    # In the process of the body --------------------------------------------------------------------------------------

    def _body(self, gang: GangHandle) -> int:
        for number in self._early_warnings():
            # Every process of the step gets it; to this one and those that it starts the supervisor's SIGTERM counts.
            signal.signal(number, signal.SIG_IGN)
        # What a framework leaves in the folder for temporary files goes with the attempt.
        os.environ["TMPDIR"] = self.folder
        tempfile.tempdir = None
        try:
            flow_class = self.load()
        except ContractError as error:
            _tell(str(error))
            return REFUSED_CODE
        module = sys.modules.get(flow_class.__module__)
        source = os.path.dirname(os.path.abspath(getattr(module, "__file__", None) or "."))
        control = Address(self.address.step, (*self.address.index[:-1], 0), self.address.round)
        task = f"{self.run_info.prefix}/{control.folder}/{control.task_id}"
        storage = self._storage(f"{task}/{self.step.framework}")
        site = Site(
            gang, self.step.framework_options, self.folder, self.step.gpus, source, storage, self.limits.timeout
        )
        stands_by = self.framework.on_control_only and gang.rank != 0
        surroundings = Surroundings(
            {"parallel": parallel_of(gang, control.task_id, self.framework.on_control_only)},
            partial(self.framework.boot, site),
            partial(self.framework.stand_by, site) if stands_by else None,
        )
        request = self.request._replace(gang=GangPlace(gang.rank, gang.size, gang.members[0].address))
        code = run_task(flow_class, self.run_info, self.datastore, request, surroundings=surroundings)
        children = sys.modules.get("multiprocessing.util")
        if code != 0:
            # What is registered for the end may wait for the other ranks, and those wait for this one.
            timer = threading.Timer(_FAILED_END, os._exit, (code,))
            timer.daemon = True
            timer.start()
        if children is not None:
            # Registered for the interpreter's end by whoever imported it, which may have been the process before.
            children._exit_function()
        return code


def _tell(text: str) -> None:
    try:
        sys.stdout.flush()
        sys.stderr.write(f"flowc: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # nowhere to tell it
