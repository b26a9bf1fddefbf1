"""Starting a run on Slurm, or one that goes on from another."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from ...dsl import FlowcError
from .. import contract
from ..cloning import Cloner
from ..datastore.base import Datastore
from ..frontier import Family, Frontier
from ..parameters import parameter_values
from ..report import Failure
from ..runs import (
    DONE,
    FAILED,
    LOCAL,
    RUNNING,
    RunError,
    RunInfo,
    RunStatus,
    create_run,
    find_run,
    read_run,
    read_status,
    write_status,
)
from .cancelling import cancel_others
from .commands import Commands
from .journal import MAX_NUM_SPLITS, Journal, Settings
from .naming import prefix_of, token_of
from .staging import Bundle, Staged, stage
from .status import look, wait_until_gone
from .submission import RunOver, Submitter, run_environment

TARGET = "slurm"


class Request(NamedTuple):
    """A run that is asked for.

    Parameters
    ----------
    given : mapping
        The flow's parameters as texts.
    origin : str or None
        The run that it goes on from: ``12`` or ``Flow/12``.
    first : str or None
        With ``origin``: a step that is run again in any case, with all after it.
    values : mapping or None
        The parameters' values where they are known already.
    source : str or None
        Path of the flow's file where the author has it; else the copy that runs.
    max_num_splits : int
        The widest foreach that is let through.
    """

    bundle: Bundle
    datastore: Datastore
    given: Mapping[str, str] = {}
    tags: tuple[str, ...] = ()
    origin: Optional[str] = None
    first: Optional[str] = None
    values: Optional[Mapping[str, Any]] = None
    source: Optional[str] = None
    max_num_splits: int = MAX_NUM_SPLITS


def submit(request: Request, commands: Optional[Commands] = None) -> RunInfo:
    """Start a run: its first jobs are in the queue when this is back.

    Raises
    ------
    FlowcError
        If the parameters do not fit, there is no such run to resume, the datastore cannot be written, or Slurm takes
        no job.
    """
    commands = commands or Commands()
    cluster = commands.cluster()  # says at once where there is no Slurm
    bundle, datastore = request.bundle, request.datastore
    origin = None if request.origin is None else _origin(request, commands)
    staged = stage(bundle, datastore)
    values = _values(request, staged, origin)
    run = create_run(
        datastore,
        bundle.plan,
        values,
        file=request.source or staged.file,
        tags=request.tags or (() if origin is None else origin.tags),
        origin_run_id=None if origin is None else origin.run_id,
        target=TARGET,
    )
    write_status(datastore, run, RunStatus(RUNNING, run.created, None, None, os.uname().nodename))
    journal = Journal(datastore, run)
    folder = datastore.path(run.prefix)
    prefix = prefix_of(run.flow, run.run_id, token_of(folder, run.created))
    splits = request.max_num_splits
    journal.begin(Settings(_system_user(), prefix, staged.folder, cluster.max_array, splits, cluster.name, os.getuid()))
    if origin is not None:
        records = run.records(datastore)
        take_over(run, Cloner(run.outline, origin.records(datastore), records, request.first))
    environment = {**os.environ, **run_environment(run, datastore.path("").rstrip("/"), *staged, bundle.bundled)}
    try:
        Submitter(journal, commands, environment).begin()
    except RunOver as error:
        if not journal.jobs():
            raise FlowcError(f"{error}, and none of its jobs was submitted") from None
        # Its first jobs were faster, and one of them failed.
    except FlowcError as error:
        journal.end(FAILED, time.time(), Failure(None, 0, type(error).__name__, str(error)))
        cancel_others(journal, commands, None)
        raise
    return run


def _system_user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _values(request: Request, staged: Staged, origin: Optional[RunInfo]) -> dict[str, Any]:
    """The parameters of the new run; those of the run that it goes on from stay."""
    if request.values is not None:
        return dict(request.values)
    plan = request.bundle.plan
    declared: list[Any] = list(plan.get("parameters", ()))  # type: ignore[call-overload]
    before = {} if origin is None else origin.parameters
    if origin is not None and request.given:
        raise RunError(f"a run that goes on from {origin.prefix} keeps its parameters; leave them out")
    gained = [parameter for parameter in declared if parameter["name"] not in before]
    flow: type = object
    if any(parameter.get("computed") for parameter in gained):
        flow = _flow_class(staged.file, request.bundle.flow)
    values = parameter_values(flow, {**plan, "parameters": gained}, request.given, os.path.dirname(staged.file))
    return {p["name"]: before[p["name"]] if p["name"] in before else values[p["name"]] for p in declared}


def _flow_class(file: str, name: str) -> type:
    from ...dsl.loading import load_file

    try:
        flow = load_file(file).flow(name)
    except Exception as error:
        raise FlowcError(
            f"a parameter's default is worked out by the flow's own code, which cannot be loaded here "
            f"({type(error).__name__}: {error}); give the parameter a value, or set {contract.PYTHON} to an "
            f"interpreter that has what the flow imports"
        ) from error
    if flow is None:
        raise FlowcError(f"{file} has no flow {name}")
    return flow


# Going on from another run --------------------------------------------------------------------------------------------


def _origin(request: Request, commands: Commands) -> RunInfo:
    name = request.bundle.flow
    text = str(request.origin)
    found = find_run(text, request.datastore) if "/" in text else read_run(request.datastore, name, text)
    if found.flow != name:
        raise RunError(f"run {found.prefix} is of another flow than {name}")
    if found.target == LOCAL:
        state = read_status(request.datastore, found).state
    else:
        state = look(request.datastore, found, commands).status.state
        if state != RUNNING and not wait_until_gone(request.datastore, found, commands):
            raise RunError(f"jobs of run {found.prefix} are still at work; cancel them first, or wait for their end")
    if state == RUNNING:
        raise RunError(f"run {found.prefix} is still running; it can be resumed once it has ended")
    if state == DONE and request.first is None:
        raise RunError(f"run {found.prefix} succeeded; to run a part of it again, give --from STEP")
    if request.first is not None:
        steps = [step["name"] for step in request.bundle.plan["steps"]]  # type: ignore[attr-defined]
        if request.first not in steps:
            raise RunError(f"flow {name} has no step {request.first!r} to resume from; it has {', '.join(steps)}")
    return found


def take_over(run: RunInfo, cloner: Cloner) -> None:
    """Copy the records of all that need not run again."""
    frontier = Frontier(run.outline)
    todo: list[tuple[Family, int]] = [(frontier.begin(), 0)]
    while todo:
        family, position = todo.pop()
        if not family.cloned:
            continue
        taken_here = 0
        for taken in cloner.clone(family, position):
            for address, onward in taken:
                taken_here += 1
                todo.extend((ready, 0) for ready in frontier.done(address, onward, True))
        # Behind one that has to run there may be others that need not.
        at = position + taken_here
        if not family.gang and at < family.size - 1:
            todo.append((family, at + 1))
