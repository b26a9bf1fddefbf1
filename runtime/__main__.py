"""``python -m flowc.runtime step STEP --index 0.3``: run one task, on any target; FLOWC_ variables say the rest."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Optional

from ..dsl import FlowcError, FlowSpec
from ..dsl.loading import load_file
from . import contract
from .address import Address, parse_index
from .datastore import open_datastore
from .failure import user_traceback
from .outline import ContractError
from .runs import RunInfo, read_run
from .task import REFUSED_CODE, TaskRequest, run_task


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the task that the arguments and the environment describe; returns its exit code."""
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
    given = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A line that the step printed is in the log even if the process is killed right after.
        # What the encoding cannot hold is no reason to fail.
        getattr(stream, "reconfigure", lambda **_: None)(
            encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
    try:
        return _step(given.step, given.index)
    except FlowcError as error:
        sys.stderr.write(f"flowc: {error}\n")
        return REFUSED_CODE


def _step(step: str, index: str) -> int:
    datastore = open_datastore()
    run = read_run(datastore, _required(contract.FLOW_NAME), _required(contract.RUN_ID))
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
        address = Address(step, place, _number(contract.ROUND, "1"))
    except ValueError as error:
        raise ContractError(str(error)) from error
    planned = outline.check(address)
    attempt = _number(contract.ATTEMPT, "0")
    retry = planned.retry
    request = TaskRequest(address, attempt, None, _caught(), retry is not None and attempt < retry.times)
    if planned.kind != "gang":
        return run_task(_flow_class(run), run, datastore, request)
    from .gang.membership import Membership
    from .ranks import run_rank

    if membership is None:
        if place[-1] != 0:
            raise ContractError(f"{address} is rank {place[-1]} of a gang, and nothing says how large the gang is")
        membership = Membership(1, 0, attempt=attempt)
    return run_rank(_flow_class(run), run, datastore, request, membership)


def _flow_class(run: RunInfo) -> type[FlowSpec]:
    file = os.environ.get(contract.FLOW_FILE)
    if not file:
        file = os.path.join(run.source.get("folder", ""), run.source.get("file", ""))
    try:
        loaded = load_file(file)
    except FileNotFoundError as error:
        if os.path.isfile(file):
            raise ContractError(_broken(file, error)) from error
        raise ContractError(f"the flow's file {file} is not there; set {contract.FLOW_FILE}") from error
    except (Exception, SystemExit) as error:
        raise ContractError(_broken(file, error)) from error
    flow_class = loaded.flow(run.flow)
    if flow_class is None:
        there = ", ".join(cls.__name__ for cls in loaded.flows()) or "none"
        raise ContractError(f"{file} has no flow {run.flow}; it has {there}")
    return flow_class


def _broken(file: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{file} cannot be loaded:\n" + "".join(traceback.format_exception_only(type(error), error)).rstrip()
    return f"{file} cannot be loaded:\n{user_traceback(error).rstrip()}"


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ContractError(
            f"{name} is not set; a task needs {contract.DATASTORE}, {contract.FLOW_NAME}, {contract.RUN_ID}"
        )
    return value


def _number(name: str, default: str) -> int:
    text = os.environ.get(name) or default
    if not (text.isascii() and text.isdigit()):
        raise ContractError(f"{name}={text!r} is not a whole number of 0 or more")
    return int(text)


def _caught() -> Optional[dict[str, Any]]:
    text = os.environ.get(contract.CAUGHT)
    if not text:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise ContractError(f"{contract.CAUGHT} is not a JSON object: {text!r}")
    return data


if __name__ == "__main__":
    sys.exit(main())
