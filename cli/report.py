"""What is said at the end of a run that failed: which task, why, where to read on, how to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .invocation import Invocation

_LINES = 40
_NO_EXCEPTION = "ProcessFailure"
_INTERRUPTED = "Interrupted"
_NOT_FORMED = "GangNotFormed"


def failure_lines(
    failure: Mapping[str, Any],
    *,
    invocation: Invocation,
    run: str,
    attempts: int | None = None,
    options: Sequence[str] = (),
) -> list[str]:
    """The report of the failure that ended a run.

    Parameters
    ----------
    failure : mapping
        ``failure`` of the run's status.json.
    run : str
        The run as the user may write it: ``12`` or ``Flow/12``.
    attempts : int, optional
        How many attempts the task was allowed.
    options : sequence of str
        What ``flowc logs`` needs to find the run where it is not in the datastore; such a run cannot be resumed here.
    """
    address = str(failure.get("address") or "")
    if failure.get("type") == _INTERRUPTED:
        said = f"the run was interrupted: {failure.get('message') or 'it was told to end'}"
    else:
        said = f"{address or 'the run'} failed: {reason(failure)}"
    first, *more = said.splitlines()
    lines = [first]
    facts = _facts(failure, attempts)
    if facts:
        lines.append(f"  {', '.join(facts)}")
    traceback = str(failure.get("traceback") or "")
    body = traceback.rstrip().splitlines() or [str(line).rstrip("\n") for line in failure.get("last_lines") or ()]
    if not traceback and more:
        body = [*more, *body]
    if body:
        if len(body) > _LINES:
            body = ["...", *body[-_LINES:]]
        lines += ["", *(f"    {line}".rstrip() for line in body)]
    said_last = _said_last(failure) if traceback else []
    if said_last:
        lines += ["", "  it said last:", "", *(f"    {line}".rstrip() for line in said_last)]
    lines.append("")
    if address:
        lines.append(f"  its output:  {invocation.command('logs', f'{run}/{address}', *options)}")
    if failure.get("rank") is not None and failure.get("type") != _NOT_FORMED and not options:
        lines.append(f"  all ranks:   {invocation.command('show', f'{run}/{address}')}")
    if not options:
        lines.append(f"  to go on:    {invocation.command('resume', run)}")
    return lines


def attempts_of(plan: Mapping[str, Any], address: str | None) -> int | None:
    """How many attempts the Plan (as JSON) grants the task; None where it says nothing of it."""
    name = (address or "").partition("/")[0].partition("@")[0]
    for step in plan.get("steps", ()):
        if step["name"] == name and step.get("retry"):
            return int(step["retry"]["times"]) + 1
    return None


def _said_last(failure: Mapping[str, Any]) -> list[str]:
    """The last lines of a gang's rank, whose exception may come of what they say, without the exception itself."""
    if failure.get("rank") is None:
        return []
    shown = set(str(failure.get("traceback") or "").splitlines())
    lines = [str(line).rstrip("\n") for line in failure.get("last_lines") or ()]
    return [line for line in lines if line.strip() and line not in shown][-_LINES:]


def _facts(failure: Mapping[str, Any], attempts: int | None) -> list[str]:
    facts = []
    kind = failure.get("type")
    if failure.get("rank") is not None:
        facts.append(f"rank {failure['rank']} of its gang failed first")
    attempt = failure.get("attempt")
    if attempt is not None and (attempt or (attempts or 1) > 1):
        facts.append(f"attempt {attempt + 1}" + (f" of {attempts}" if attempts else ""))
    # That of an exception is 1, which says nothing of a task, but is looked for in a gang whose launcher has its own.
    plain = (None, 0) if failure.get("rank") is not None else (None, 0, 1)
    if failure.get("signal") is None and failure.get("exit_code") not in plain and kind != _NO_EXCEPTION:
        facts.append(f"exit code {failure['exit_code']}")
    return facts


def reason(failure: Mapping[str, Any]) -> str:
    """Why, in words: ``ValueError: bad shard``, ``killed by SIGKILL (out of memory?)``."""
    kind, message = str(failure.get("type") or ""), str(failure.get("message") or "")
    if kind == _NO_EXCEPTION:
        return message or "its process ended"
    return f"{kind}: {message}" if kind and message else kind or message or "no reason is known"
