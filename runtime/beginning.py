"""Beginning a run in its first task, where no process of flowc has submitted it: its run.json is written here, once.

The scheduler gives the Plan as a file and the parameters as texts. Whoever comes first creates the run; a task that is
started again, and whatever runs at the end, finds it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Optional

from ..dsl import FlowSpec
from . import contract
from .datastore.base import Datastore
from .outline import ContractError
from .parameters import parameter_values, parts_of
from .runs import RUNNING, RunError, RunInfo, RunStatus, check_run_id, new_run, read_run
from .variables import required


def begin(
    datastore: Datastore, flow: str, run_id: str, load: Callable[[], tuple[type[FlowSpec], str]], *, strict: bool = True
) -> RunInfo:
    """The run of this flow and id, created from FLOWC_PLAN and FLOWC_PARAMETERS if it is not there.

    Parameters
    ----------
    load : callable
        Gives the flow's class and its file, for defaults that its code computes.
    strict : bool
        Whether the parameters must be right; otherwise the run is created without wrong ones, so that it can be seen.

    Raises
    ------
    ContractError
        If a variable is missing or unreadable, or the Plan is another flow's.
    ParameterError
        If a parameter's value does not fit; each sentence names its parameter.
    RunError
        If the id cannot be a run's, or the run that is there cannot be read, or is another one of this id.
    """
    if datastore.exists(f"{flow}/{run_id}/run.json"):
        return own_run(datastore, flow, run_id)
    check_run_id(run_id)
    plan = _plan(flow)
    values: dict[str, Any] = {}
    file = os.environ.get(contract.FLOW_FILE) or ""
    if strict:
        flow_class, file = load()
        values = parameter_values(flow_class, plan, given_parameters(plan), os.path.dirname(file) or ".")
    uid = os.environ.get(contract.RUN_UID) or ""
    info = new_run(datastore, plan, run_id, values, file, target=_required(contract.TARGET), uid=uid)
    status = RunStatus(RUNNING, info.created)
    datastore.create(f"{info.prefix}/status.json", json.dumps(vars(status)).encode())
    data = json.dumps(info.to_json(), separators=(",", ":")).encode()
    if not datastore.create(f"{info.prefix}/run.json", data):
        return own_run(datastore, flow, run_id)
    return info


def own_run(datastore: Datastore, flow: str, run_id: str) -> RunInfo:
    """The run that this task belongs to.

    Argo names the Workflows of a schedule by their time: those of two clusters with one datastore have the same names,
    and the second would take the tasks of the first for its own.

    Raises
    ------
    RunError
        If there is none, it cannot be read, or FLOWC_RUN_UID says that it is another one's.
    """
    run = read_run(datastore, flow, run_id)
    uid = os.environ.get(contract.RUN_UID) or ""
    if uid and uid != run.uid:
        raise RunError(
            f"run {run.prefix} in {datastore.url} belongs to another Workflow of this name (uid {run.uid or '?'}, and "
            f"this one has {uid}): start it under another name, or give each namespace and cluster a --datastore of "
            "its own"
        )
    return run


def planned_run(datastore: Datastore, flow: str, run_id: str) -> RunInfo:
    """The run as it is, or, before it is begun, as far as it is known without its parameters; errors as `begin`.

    Nothing of the flow is loaded, so a process may still fork afterwards.
    """
    if datastore.exists(f"{flow}/{run_id}/run.json"):
        return own_run(datastore, flow, run_id)
    check_run_id(run_id)
    return RunInfo(flow=flow, run_id=run_id, plan=_plan(flow))


def given_parameters(plan: Mapping[str, Any]) -> dict[str, str]:
    """The texts of FLOWC_PARAMETERS by name, without those that say nothing.

    A scheduler that must give every parameter a text has none for a default that is worked out when the run starts, or
    for None: an empty one stands for it wherever it could not be meant as a value.

    Raises
    ------
    ContractError
        If the variable does not hold what its description says.
    """
    declared = {parameter["name"]: parameter for parameter in plan.get("parameters", ())}
    texts = _texts(os.environ.get(contract.PARAMETERS) or "{}")
    return {name: text for name, text in texts.items() if text or _may_be_empty(declared.get(name))}


def _may_be_empty(parameter: Optional[Mapping[str, Any]]) -> bool:
    if parameter is None:
        return True  # an unknown name is told, whatever its value
    if parameter.get("type", "str") != "str" and not parameter.get("separator"):
        return False
    default = parameter.get("default")
    if isinstance(default, list):
        text = parameter["separator"].join(default)
        if parts_of(text, parameter["separator"]) != default:
            return False  # which no text stands for
        default = text
    if isinstance(default, str) and "{{" in default:
        return False  # which Argo would take for a variable of its own
    return bool(parameter.get("required")) or (default is not None and not parameter.get("computed"))


def _texts(text: str) -> dict[str, str]:
    try:
        data = json.loads(text if text.lstrip()[:1] in ("{", "[") else base64.b64decode(text, validate=True))
        if isinstance(data, list):
            # As Argo gives them: a parameter without a value is one that nobody gave.
            data = {item["name"]: item["value"] for item in data if item.get("value") is not None}
        if isinstance(data, dict) and all(isinstance(value, str) for value in data.values()):
            return data
        problem = "its values are not all text"
    except (ValueError, binascii.Error, KeyError, TypeError, AttributeError) as error:
        problem = str(error)
    raise ContractError(
        f"{contract.PARAMETERS} holds no parameters ({problem}): it takes a JSON object of texts, a list of names and "
        "values, or either as base64"
    )


def _plan(flow: str) -> Mapping[str, Any]:
    path = _required(contract.PLAN)
    try:
        with open(path, encoding="utf-8") as file:
            plan = json.load(file)
        name = plan["name"]
    except OSError as error:
        raise ContractError(f"{contract.PLAN}={path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError(f"{contract.PLAN}={path} is no Plan: {error}") from error
    if name != flow:
        raise ContractError(f"{contract.PLAN}={path} is the Plan of {name}, and {contract.FLOW_NAME} says {flow}")
    return dict(plan)


def _required(name: str) -> str:
    return required(name, f"the task that begins a run needs {contract.PLAN}, {contract.TARGET}")
