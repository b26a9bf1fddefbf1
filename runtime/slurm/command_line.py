"""``python -m flowc.runtime slurm submit|supervise|status|cancel``: all that a cluster without flowc needs.

``step`` is there, too, for the scripts that start a step's process themselves.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...dsl import FlowcError

if TYPE_CHECKING:
    from ..runs import RunInfo
    from .status import Look

_POLL = 1.0
_POLL_FIRST = 0.1
_ASK_SLURM = 20.0


def main(words: Sequence[str]) -> int:
    """Run one of the commands; returns the exit code: 0 good, 1 the run failed, 2 wrong input, 130 interrupted."""
    if words[:1] == ["step"]:
        from ..__main__ import main as runtime

        return runtime(words)
    try:
        if words[:1] == ["supervise"]:
            return _supervise(words[1:])
        return _others(words)
    except FlowcError as error:
        sys.stderr.write(f"flowc: error: {error}\n")
        return int(getattr(error, "exit_code", 2))
    except KeyboardInterrupt:
        sys.stderr.write("flowc: interrupted\n")
        return 130


def _supervise(words: Sequence[str]) -> int:
    # Little of what a job's supervisor makes is garbage, and looking for it would touch all that its children share.
    gc.disable()
    from .supervise import supervise

    # supervise STEP [-- COMMAND...]; no argparse, every job begins with this.
    if len(words) == 2 or words[1:2] not in ([], ["--"]) or not words:
        raise FlowcError("usage: supervise STEP [-- COMMAND...]")
    code = supervise(words[0], list(words[2:]))
    # There is nothing that would have to be put in order, and a task of an array should not wait for it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _others(words: Sequence[str]) -> int:
    import argparse

    from .journal import MAX_NUM_SPLITS

    parser = argparse.ArgumentParser(prog="python -m flowc.runtime slurm", description="Run a flow on Slurm.")
    commands = parser.add_subparsers(dest="command", required=True)
    submit = commands.add_parser("submit", help="start a run", allow_abbrev=False, add_help=False)
    submit.add_argument("bundle", help="the folder that flowc compile --target slurm has written")
    submit.add_argument("--datastore", metavar="DIR", help="folder of the runs, seen by all nodes")
    submit.add_argument("--tag", action="append", default=[], metavar="TAG", help="a tag of the run; repeatable")
    submit.add_argument("--run-id-file", metavar="FILE", help="write the run's id into this file")
    submit.add_argument("--wait", action="store_true", help="wait for the end; the exit code is the run's")
    submit.add_argument("--resume", metavar="RUN", help="take over what is done in this run")
    submit.add_argument("--from", dest="first", metavar="STEP", help="with --resume: run this step again in any case")
    submit.add_argument(
        "--max-num-splits", metavar="N", type=int, default=MAX_NUM_SPLITS, help="the widest foreach that is let through"
    )
    submit.add_argument("-h", "--help", action="store_true", help="show this")
    for name, text in (("status", "how a run stands"), ("cancel", "end a run")):
        other = commands.add_parser(name, help=text)
        other.add_argument("run", help="12, Flow/12, or Flow for its latest")
        other.add_argument("--datastore", metavar="DIR", help="folder of the runs")
    given, rest = parser.parse_known_args(list(words))
    if given.command == "submit":
        return _submit(given, rest, submit)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return _status(given) if given.command == "status" else _cancel(given)


def _submit(given: Any, rest: list[str], parser: Any) -> int:
    from ..datastore import open_datastore
    from .launch import Request, submit
    from .staging import read_bundle

    bundle = read_bundle(given.bundle)
    if given.help:
        parser.print_help()
        _print_parameters(bundle.plan)
        return 0
    request = Request(
        bundle,
        open_datastore(given.datastore),
        _options(rest),
        tuple(given.tag),
        given.resume,
        given.first,
        max_num_splits=given.max_num_splits,
    )
    run = submit(request)
    sys.stderr.write(f"run {run.prefix} is submitted\n")
    sys.stderr.flush()
    if given.run_id_file:
        with open(given.run_id_file, "w", encoding="utf-8") as file:
            file.write(run.run_id)
    sys.stdout.write(f"{run.run_id}\n")
    sys.stdout.flush()
    if not given.wait:
        return 0
    return _report(run, wait(request.datastore, run))


def _options(words: list[str]) -> dict[str, str]:
    """The flow's parameters: ``--name value`` or ``--name=value``."""
    found: dict[str, str] = {}
    at = 0
    while at < len(words):
        word = words[at]
        if not word.startswith("--") or word == "--":
            raise FlowcError(f"{word!r} is not expected here; the flow's parameters are given as --name value")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if at + 1 >= len(words):
                raise FlowcError(f"--{name} needs a value")
            at += 1
            value = words[at]
        found[name] = value
        at += 1
    return found


def _print_parameters(plan: Any) -> None:
    for parameter in plan.get("parameters", ()):
        default = "required" if parameter.get("required") else parameter.get("default")
        sys.stdout.write(f"  --{parameter['name']} {parameter.get('type', 'str')}  {parameter.get('help', '')}")
        sys.stdout.write(f" [{default}]\n")


def wait(datastore: Any, run: RunInfo) -> Look:
    """Wait for the end of a run, and of all its jobs. Its files are looked at, less often as time goes by; Slurm is
    asked only now and then."""
    from ..runs import DONE, RUNNING, read_status
    from .journal import Journal
    from .status import Look, look, wait_until_gone

    journal = Journal(datastore, run)
    began = asked = time.monotonic()
    while True:
        if journal.has_ended:
            journal.tell()
        status = read_status(datastore, run)
        if status.state != RUNNING:
            if status.state != DONE:
                wait_until_gone(datastore, run)
            return Look(status)
        if time.monotonic() - asked > _ASK_SLURM:
            asked = time.monotonic()
            found = look(datastore, run)
            if found.status.state != RUNNING:
                return found
        time.sleep(min(_POLL, max(_POLL_FIRST, (time.monotonic() - began) / 100)))


def _report(run: RunInfo, found: Look) -> int:
    """Say how a run stands; the exit code that goes with it."""
    status = found.status
    took = f" after {status.finished - run.created:.0f} s" if status.finished else ""
    sys.stderr.write(f"run {run.prefix} is {status.state}{took}\n")
    for state, count in sorted(found.counts.items()):
        sys.stderr.write(f"  {count} {state.lower()} in the queue\n")
    from .reasons import explanations

    for line in explanations(found.jobs or ()):
        sys.stderr.write(f"  {line}\n")
    failure = status.failure
    if failure:
        where = failure.get("address") or "the run"
        sys.stderr.write(f"{where} failed: {failure.get('type')}: {failure.get('message')}\n")
        for line in str(failure.get("traceback") or "").splitlines() or failure.get("last_lines") or ():
            sys.stderr.write(f"    {line}\n")
    return {"failed": 1, "lost": 1, "interrupted": 130}.get(status.state, 0)


def _find(given: Any) -> tuple[Any, RunInfo]:
    from ..datastore import open_datastore
    from ..runs import find_run

    datastore = open_datastore(given.datastore)
    run = find_run(given.run, datastore)
    if run.target != "slurm":
        raise FlowcError(f"run {run.prefix} does not run on Slurm, but on target {run.target}")
    return datastore, run


def _status(given: Any) -> int:
    from .status import look

    datastore, run = _find(given)
    return _report(run, look(datastore, run))


def _cancel(given: Any) -> int:
    from .status import cancel, look

    datastore, run = _find(given)
    if look(datastore, run).status.state != "running":
        sys.stderr.write(f"run {run.prefix} has ended already\n")
        return 0
    count = cancel(datastore, run)
    sys.stderr.write(f"run {run.prefix} is cancelled ({count} in the queue); submit --resume goes on from it\n")
    return 0
