"""How the server runs one task: in the forked process itself, or in a fresh interpreter.

Both are functions that the server calls with the fields of a request (step, index, round, attempt, place in the gang,
caught failure, whether a retry may follow); what they return is called in a process of its own.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ...runtime import contract
from ...runtime.address import Address
from ...runtime.datastore import Datastore, DatastoreError
from .child import finish, redirect

GANG_MAIN = "127.0.0.1"
"""Where all ranks of a local gang find the control rank."""

GANG_GRACE = 4.0
"""Seconds that a gang's processes have to save a checkpoint, where neither FLOWC_PREEMPT_GRACE nor the step says."""

Request = list[Any]
Start = Callable[[Request], Callable[[], int]]
Prepare = Callable[[], Callable[[str], Start]]
"""Called when the server starts; what it returns is called with the id of the run as soon as it has one."""


def by_fork(
    flow_class: type[Any], flow: str, datastore: Datastore, *, gangs: bool = True, foreaches: bool = True
) -> Prepare:
    """Run each task in the forked process, which has the flow imported already; ``gangs`` and ``foreaches`` say whether
    it has some."""

    def prepare() -> Callable[[str], Start]:
        from ...runtime.ahead import Ahead
        from ...runtime.runs import read_run
        from ...runtime.task import TaskRequest, run_task
        from ...runtime.task import prepare as prepare_tasks

        if gangs:
            from ...runtime import ranks  # noqa: F401  so that not every rank has to import it
        if foreaches:
            from ...runtime.rehearsal import rehearse

            rehearse()

        def for_run(run_id: str) -> Start:
            run = read_run(datastore, flow, run_id)
            root = datastore.path(run.prefix)
            prepare_tasks(flow_class, run)
            ahead = Ahead(run, datastore)
            looked: list[Any] = []

            def start(request: Request) -> Callable[[], int]:
                step, index, round = request[:3]
                # Few steps: what the server writes to after a fork is copied, too.
                family = [step, index[:-1], round]
                if index and family != looked:
                    looked[:] = family
                    ahead.look(Address(step, tuple(index), round))
                return partial(run_here, request)

            def run_here(request: Request) -> int:
                step, index, round, attempt, gang, caught, retries_left = request
                address = Address(step, tuple(index), round)
                _redirect(f"{root}/{address.key}/{attempt}", address)
                task = TaskRequest(address, attempt, None, caught, retries_left)
                errors: list[Exception] = []
                if gang is None:
                    code: int = run_task(flow_class, run, datastore, task, errors.append, None, ahead)
                else:
                    from ...runtime.gang import Membership
                    from ...runtime.ranks import run_rank

                    rank, size = gang
                    membership = Membership(size, rank, GANG_MAIN, attempt)
                    code = run_rank(
                        lambda: flow_class,
                        run,
                        datastore,
                        task,
                        membership,
                        preempt_grace=GANG_GRACE,
                        report=errors.append,
                    )
                if errors:
                    # The server passes it on, wherever this process can no longer write.
                    raise errors[0]
                finish()
                return code

            return start

        return for_run

    return prepare


def by_spawn(file: str, flow: str, datastore: Datastore, graces: Mapping[str, float]) -> Prepare:
    """Run each task in a fresh interpreter, which imports the flow again; ``graces`` has the seconds to save of the
    steps that say them."""
    package = __name__.split(".", maxsplit=1)[0]
    # Safe path (3.11): a flow called json.py in the current folder must not be what the interpreter itself imports.
    safe = ["-P"] if sys.version_info >= (3, 11) else []
    command = [sys.executable, *safe, "-m", f"{package}.runtime", "step"]
    common = {
        **os.environ,
        contract.DATASTORE: datastore.url,
        contract.FLOW_FILE: file,
        contract.FLOW_NAME: flow,
        "PYTHONUNBUFFERED": "1",
    }
    # A flowc that was found beside the flow or on a changed sys.path must be found by the fresh interpreter, too.
    home = os.path.dirname(os.path.abspath(sys.modules[package].__file__ or ""))
    if os.path.basename(home) == package:
        common["PYTHONPATH"] = os.pathsep.join(filter(None, (common.get("PYTHONPATH"), os.path.dirname(home))))

    def for_run(run_id: str) -> Start:
        def start(request: Request) -> Callable[[], int]:
            return partial(become, request)

        def become(request: Request) -> int:
            step, index, round, attempt, gang, caught, retries_left = request
            address = Address(step, tuple(index), round)
            _redirect(datastore.path(f"{flow}/{run_id}/{address.key}/{attempt}"), address)
            env = {**common, contract.RUN_ID: run_id, contract.ATTEMPT: str(attempt), contract.ROUND: str(round)}
            # The number of the attempt does not say it: those that were only asked to end do not count.
            env[contract.RETRIES_LEFT] = str(int(retries_left))
            if gang is not None:
                env[contract.GANG_RANK], env[contract.GANG_SIZE] = str(gang[0]), str(gang[1])
                env[contract.GANG_MAIN] = GANG_MAIN
                env.setdefault(contract.PREEMPT_GRACE, f"{graces.get(step, GANG_GRACE):.15g}")
            if caught is not None:
                env[contract.CAUGHT] = json.dumps(caught)
            os.execve(command[0], [*command, step, "--index", address.task_id], env)  # noqa: S606

        return start

    return lambda: for_run


def _redirect(folder: str, address: Address) -> None:
    try:
        redirect(folder)
    except OSError as error:
        remedy = "free some space or choose another datastore" if error.errno == errno.ENOSPC else "check the datastore"
        text = f"the logs of {address} cannot be written: {error.strerror}: {error.filename}; {remedy}"
        raise DatastoreError(text) from error
