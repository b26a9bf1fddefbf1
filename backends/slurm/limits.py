"""Time limits of jobs: as authors write them, and as they follow from ``@timeout`` and ``@retry``."""

from __future__ import annotations

import math
import re
from typing import Any

from ...compiler.plan import Step

UNLIMITED = -1
"""A limit that is none."""

_PER_ATTEMPT = 60
_AT_THE_END = 120
"""Seconds beyond the timeouts: to start and end an attempt, and for a warning that Slurm may send a minute early."""

_LONGEST = 365 * 86400
"""Seconds above which a limit says nothing."""

_LONG = 600
_WARNING = 60
_UNKNOWN = 30
"""Seconds of warning before a limit that only the partition knows: most have hours, some for tests a few minutes."""

_GRACE = 30
"""Seconds to save a checkpoint that the others leave room for."""

_TO_END = 15
"""Seconds beyond those that a step asks for, to record the end of the attempt and to give the job back."""

LONGEST_WARNING = 65535
"""Seconds of warning that ``--signal`` takes at most."""


class BadTime(ValueError):
    """A text that is no limit of Slurm."""


def read_limit(value: Any) -> int:
    """A limit in seconds, from minutes or one of Slurm's forms (https://slurm.schedmd.com/sbatch.html#OPT_time).

    Raises
    ------
    BadTime
        If it is none of them, or 0, which Slurm takes for no limit.
    """
    text = str(value)
    if text in ("UNLIMITED", "INFINITE"):
        return UNLIMITED
    match = re.fullmatch(r"(?:([0-9]{1,5})-)?([0-9]{1,7})(?::([0-9]{1,2}))?(?::([0-9]{1,2}))?", text)
    if match is None:
        raise BadTime(f"{value!r} is no time limit")
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    # Behind days a single number is hours; alone it is minutes.
    units = {1: [60], 2: [60, 1], 3: [3600, 60, 1]}[len(numbers)] if days is None else [3600, 60, 1]
    seconds = int(days or 0) * 86400 + sum(number * unit for number, unit in zip(numbers, units))
    if not seconds:
        raise BadTime(f"{value!r} would be no limit at all; that is UNLIMITED")
    return seconds


def derived_limit(step: Step) -> int | None:
    """The limit in seconds, whole minutes, that leaves room for every attempt; None where no attempt has a timeout."""
    if step.timeout is None:
        return None
    attempts = 1 + (step.retry.times if step.retry else 0)
    if attempts * _PER_ATTEMPT > _LONGEST:
        return UNLIMITED
    waits, wait = 0.0, step.retry.wait if step.retry else 0.0
    for _ in range(attempts - 1):
        assert step.retry is not None
        waits += wait
        wait *= step.retry.backoff
        if waits > _LONGEST:
            return UNLIMITED
    further = _PER_ATTEMPT if step.catch else 0
    saving = max(0.0, (step.grace or 0) - _GRACE)  # after each timeout, and after the warning
    total = attempts * (step.timeout + _PER_ATTEMPT + saving) + waits + further + _AT_THE_END + saving
    if total > _LONGEST:
        return UNLIMITED
    return math.ceil(total / 60) * 60


def limit_of(step: Step) -> int | None:
    """The time limit of a step's job in seconds; None where the step says nothing of it.

    Raises
    ------
    BadTime
        If what it says is no limit.
    """
    given = step.options.get("slurm", {})
    return read_limit(given["time"]) if "time" in given else derived_limit(step)


def clock(limit: int) -> str:
    """A limit as ``--time`` takes it."""
    if limit == UNLIMITED:
        return "UNLIMITED"
    days, rest = divmod(limit, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    text = f"{hours:02}:{minutes:02}:{seconds:02}"
    return f"{days}-{text}" if days else text


def warning(limit: int | None, grace: float | None = None) -> int:
    """How many seconds before its limit a job is told: enough to save a checkpoint, and little of a short job.

    Parameters
    ----------
    grace : float, optional
        Seconds that the step asks for to save one.
    """
    least = 0 if grace is None else math.ceil(grace) + _TO_END
    if limit is None:
        return max(_UNKNOWN, least)
    return max(_WARNING if limit >= _LONG else max(10, limit // 10), least)


def saving_problem(step: Step) -> tuple[str, str] | None:
    """Why a step has not the time to save that it asks for, and what to do: its job would have to be warned before it
    begins, or earlier than Slurm warns."""
    try:
        limit = limit_of(step)
    except BadTime:
        return None  # which is said of the limit itself
    if step.grace is None or limit == UNLIMITED:
        return None
    early = warning(limit, step.grace)
    asks = f"@checkpoint(grace={step.grace:.15g}) has the job warned {early} s before its time limit"
    if limit is not None and early >= limit:
        return f"{asks}, which is {clock(limit)} in all", "give the job more time, by @slurm(time=...), or less grace"
    if early > LONGEST_WARNING:
        help = 'give less grace, or the job no limit: @slurm(time="UNLIMITED")'
        return f"{asks}, and Slurm warns none earlier than {LONGEST_WARNING} s", help
    return None
