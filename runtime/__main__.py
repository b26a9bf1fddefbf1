"""``python -m flowc.runtime step STEP --index 0.3``: run one task, on any target; FLOWC_ variables say the rest."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from ..dsl import FlowcError, FlowSpec
from ..dsl.loading import load_file
from . import contract
from .address import Address, parse_index
from .datastore import Datastore, DatastoreError, open_datastore
from .outline import ContractError, StepOutline
from .place import place_of
from .record import Records
from .runs import RunInfo, read_run
from .task import DONE_CODE, FAILED_CODE, REFUSED_CODE, TaskRequest, fail_task, run_task
from .variables import required

if TYPE_CHECKING:
    from .gang.membership import Membership
    from .gang_attempts import GangAttempt


_CODE = ("/flowc/code", "/tmp/flowc/code")  # noqa: S108 (in a pod of its own)
"""Where a pod of Argo has the code, and starts: `flowc.backends.argo.code.CODE`, `flowc.runtime.fetch.CODE`."""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the task that the arguments and the environment describe; returns its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["slurm"]:
        from .slurm.command_line import main as slurm

        return slurm(words[1:])
    import argparse

    parser = argparse.ArgumentParser(prog="python -m flowc.runtime", description="Run one task of a flowc run.")
    commands = parser.add_subparsers(dest="command", required=True)
    step = commands.add_parser(
        "step",
        help="run one task of a step",
        description=f"The run is named by {contract.DATASTORE}, {contract.FLOW_NAME}, {contract.RUN_ID}; the attempt "
        f"by {contract.ATTEMPT}; the place in a gang by FLOWC_GANG_*.",
    )
    step.add_argument("step", help="name of the step")
    step.add_argument(
        "--index", default="", help="index in every fan-out around it, as in 0.3; a gang's rank may be left out"
    )
    end = commands.add_parser(
        "end",
        help="write down how a run ended",
        description=f"The run is named as for step; {contract.FAILURES} may say what the scheduler knows.",
    )
    end.add_argument("--status", required=True, help="how it ended: Succeeded, Failed or Error")
    commands.add_parser("slurm", help="submit a run to Slurm, see to its jobs, ask after it, cancel it", add_help=False)
    given = parser.parse_args(words)
    if given.command == "end":
        return _in_order(lambda: _end(given.status))
    return run_step(given.step, given.index)


def run_step(step: str, index: str) -> int:
    """Run one task of a step, described by the environment for the rest; returns the exit code."""
    return _in_order(lambda: _step(step, index))


def _in_order(work: Callable[[], int]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # A line that the step printed is in the log even if the process is killed right after.
        # What the encoding cannot hold is no reason to fail.
        getattr(stream, "reconfigure", lambda **_: None)(
            encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
    _go_to_the_flow()
    try:
        if os.environ.get(contract.CODE_DIGEST):
            from .image_code import check_code

            check_code()
        return work()
    except FlowcError as error:
        sys.stderr.write(f"flowc: {error}\n")
        return REFUSED_CODE


def _go_to_the_flow() -> None:
    """Go on in the flow's folder where Python was started above it: it looks for modules where it starts, and would
    take a flow called random.py for its own."""
    folder = os.path.dirname(os.environ.get(contract.FLOW_FILE, ""))
    if os.path.isdir(folder) and os.getcwd() in map(os.path.realpath, _CODE):
        os.chdir(folder)


def _step(step: str, index: str) -> int:
    datastore = open_datastore()
    run = _run(datastore)
    try:
        place = parse_index(index)
        outline = run.outline
        planned = outline.steps.get(step)
        membership = None
        if planned is not None and planned.kind == "gang":
            from .gang.membership import detect

            membership = detect()
            if membership is not None and len(place) == len(planned.scope) - 1:
                place = (*place, membership.rank)
        address = Address(step, place, _round(run, datastore, step, place))
    except ValueError as error:
        raise ContractError(str(error)) from error
    planned = outline.check(address)
    attempt = _number(contract.ATTEMPT, "0")
    if planned.kind != "gang":
        _begin_process(datastore, run.records(datastore), address, _Attempt(attempt, attempt), None, planned.grace)
        run = _begun(run, datastore)
        caught = _caught(run.records(datastore), address, attempt)
        return _task(run, datastore, TaskRequest(address, attempt, None, caught, _retries_left(planned, attempt)))
    return _rank(run, datastore, address, attempt, membership, planned)


def _rank(
    run: RunInfo,
    datastore: Datastore,
    address: Address,
    attempt: int,
    membership: Optional[Membership],
    planned: StepOutline,
) -> int:
    """Run one rank of a gang; ``attempt`` counts those that ``@retry`` pays for, where a scheduler knows of others."""
    from .gang.membership import Membership
    from .gang_attempts import begin_attempt

    records = run.records(datastore)
    if membership is None:
        alone = place_of(address, None)
        membership = Membership(alone.size, alone.rank, attempt=attempt)
    began, own = _Attempt(membership.attempt, membership.attempt), begin_attempt(records, address, membership)
    if own is not None:
        # Who was only asked to end is tried again at once.
        began = _Attempt(own.number, 0 if membership.restarts else attempt, own)
        membership = replace(membership, attempt=own.number)
    _begin_process(datastore, records, address, began, membership, planned.grace)
    from .gang import EXIT_PREEMPTED
    from .ranks import run_rank

    run = _begun(run, datastore)
    request = TaskRequest(address, began.number, membership.place, retries_left=_retries_left(planned, attempt))
    if own is not None and own.refused:
        return fail_task(FlowSpec, run, datastore, request, ContractError(f"{address}: {own.refused}"))
    # What the gang needs is looked for before it forms; the flow is imported by the process of the body alone.
    _install_packages()
    code = run_rank(lambda: _flow_class(run), run, datastore, request, membership)
    counts = code == EXIT_PREEMPTED and own is not None and planned.retry is not None and _counts(own, address)
    return FAILED_CODE if counts else code


def _counts(attempt: GangAttempt, address: Address) -> bool:
    """Whether an attempt that was asked to end counts as a failure, which is then told."""
    try:
        why = attempt.why_not_again()
    except DatastoreError as error:
        # Then nothing can begin either, and ends by that.
        why = None
        sys.stderr.write(f"flowc: whether {address} may be tried again cannot be seen: {error}\n")
    if why is not None:
        sys.stderr.write(f"flowc: {address} is tried again only as after a failure: {why}\n")
    return why is not None


class _Attempt(NamedTuple):
    """Which attempt this is, how many waits were before it, and what a JobSet's is beside that."""

    number: int
    waits: int
    of_jobset: Optional[GangAttempt] = None


def _run(datastore: Datastore) -> RunInfo:
    flow, run_id = _required(contract.FLOW_NAME), _required(contract.RUN_ID)
    if not os.environ.get(contract.PLAN):
        return read_run(datastore, flow, run_id)
    from .beginning import planned_run

    return planned_run(datastore, flow, run_id)


def _begun(run: RunInfo, datastore: Datastore) -> RunInfo:
    if not os.environ.get(contract.PLAN):
        return run
    from .beginning import begin

    return begin(datastore, run.flow, run.run_id, _named_flow)


def _round(run: RunInfo, datastore: Datastore, step: str, index: tuple[int, ...]) -> int:
    if os.environ.get(contract.ROUND) != "auto":
        return _number(contract.ROUND, "1")
    run.outline.check(Address(step, index))
    from .rounds import due_round

    return due_round(run.outline, run.records(datastore), step, index)


def _named_flow() -> tuple[type[FlowSpec], str]:
    file = _required(contract.FLOW_FILE)
    return _loaded(file, _required(contract.FLOW_NAME)), os.path.abspath(file)


def _begin_process(
    datastore: Datastore,
    records: Records,
    address: Address,
    attempt: _Attempt,
    membership: Optional[Membership],
    grace: Optional[float],
) -> None:
    """Set up what the task runs in: where its output goes, a first process that is not the task, a folder."""
    folder = records.folder(address, attempt.number)
    logs = os.environ.get(contract.LOGS)
    limit, rest, watch = None, 0.0, None
    if os.environ.get(contract.TIMEOUT) or os.environ.get(contract.WAIT):
        from .time_limit import rest_of_wait, time_limit

        rest = rest_of_wait(attempt.waits)
        os.environ.pop(contract.WAIT, None)
        limit = time_limit(records, address, attempt.number, membership.size if membership else None, grace)
        if limit is not None:
            limit = limit._replace(seconds=limit.seconds + rest)
    if membership is not None and membership.rank == 0 and os.environ.get(contract.WORKFLOW):
        from .workflow_watch import workflow_watch

        watch = workflow_watch(grace)
    if logs == "datastore":
        from .logs import redirect

        redirect(datastore, folder)
    if logs == "tee" or os.getpid() == 1 or limit is not None or watch is not None:
        from .first_process import attend
        from .logs import copies

        for_good = None if attempt.of_jobset is None else attempt.of_jobset.set_over
        attend(copies(datastore, folder) if logs == "tee" else (), limit, watch, for_good)
    if rest:
        time.sleep(rest)
    _go_where_it_may_write()


def _go_where_it_may_write() -> None:
    if not os.access(".", os.W_OK):
        from .working_folder import make_writable

        make_writable()


def _task(run: RunInfo, datastore: Datastore, request: TaskRequest) -> int:
    outputs = os.environ.get(contract.OUTPUTS)
    if not outputs:
        return run_task(_flow_class(run), run, datastore, request)
    from .outputs import OutputsError, leave_outputs

    records = run.records(datastore)
    record = records.read(request.address)
    if record is None:
        code = run_task(_flow_class(run), run, datastore, request)
        if code != DONE_CODE:
            return code
        record = records.read(request.address, request.attempt)
        assert record is not None
    else:
        sys.stderr.write(f"flowc: {request.address} is done already, since attempt {record.attempt}\n")
    try:
        leave_outputs(outputs, record)
    except OutputsError as error:
        sys.stderr.write(f"flowc: {error}\n")
        return FAILED_CODE
    return DONE_CODE


def _end(status: str) -> int:
    from .ending import end

    datastore = open_datastore()
    # It may have to load the flow, which may write a file when it is imported.
    _go_where_it_may_write()
    return end(datastore, _required(contract.FLOW_NAME), _required(contract.RUN_ID), _named_flow, status)


def _flow_class(run: RunInfo) -> type[FlowSpec]:
    file = os.environ.get(contract.FLOW_FILE)
    if not file:
        file = os.path.join(run.source.get("folder", ""), run.source.get("file", ""))
    return _loaded(file, run.flow)


def _install_packages() -> None:
    if os.environ.get(contract.PACKAGES):
        from .packages import install_packages

        install_packages()


def _loaded(file: str, flow: str) -> type[FlowSpec]:
    _install_packages()
    try:
        loaded = load_file(file)
    except FileNotFoundError as error:
        if os.path.isfile(file):
            raise ContractError(_broken(file, error)) from error
        raise ContractError(f"the flow's file {file} is not there; set {contract.FLOW_FILE}") from error
    except (Exception, SystemExit) as error:
        raise ContractError(_broken(file, error)) from error
    flow_class = loaded.flow(flow)
    if flow_class is None:
        there = ", ".join(cls.__name__ for cls in loaded.flows()) or "none"
        raise ContractError(f"{file} has no flow {flow}; it has {there}")
    return flow_class


def _broken(file: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        import traceback

        return f"{file} cannot be loaded:\n" + "".join(traceback.format_exception_only(type(error), error)).rstrip()
    from .failure import user_traceback

    return f"{file} cannot be loaded:\n{user_traceback(error).rstrip()}"


def _required(name: str) -> str:
    return required(name, f"a task needs {contract.DATASTORE}, {contract.FLOW_NAME}, {contract.RUN_ID}")


def _number(name: str, default: str) -> int:
    text = os.environ.get(name) or default
    if not (text.isascii() and text.isdigit()):
        raise ContractError(f"{name}={text!r} is not a whole number of 0 or more")
    return int(text)


def _retries_left(step: StepOutline, attempt: int) -> bool:
    if os.environ.get(contract.RETRIES_LEFT):
        return _number(contract.RETRIES_LEFT, "0") > 0
    return step.retry is not None and attempt < step.retry.times


def _caught(records: Records, address: Address, attempt: int) -> Optional[dict[str, Any]]:
    """What FLOWC_CAUGHT says; the record of the attempt before, if it left one, says it better."""
    text = os.environ.get(contract.CAUGHT)
    if not text:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise ContractError(f"{contract.CAUGHT} is not a JSON object: {text!r}")
    before = [number for number in records.attempts(address) if number < attempt]
    record = records.read(address, before[-1]) if before else None
    return {**data, **record.failure.to_json()} if record is not None and record.failure is not None else data


if __name__ == "__main__":
    sys.exit(main())
