"""How a task failed, in words: from its record, or from how its process ended and what it wrote last."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .gang import GangFailure

PROCESS_FAILURE = "ProcessFailure"
"""Type of a failure of a process that left no exception behind."""

PREEMPTED = "Preempted"
"""Type of the failure of a gang that was asked to end from outside."""

TIMEOUT = "Timeout"
"""Type of the failure of an attempt that took longer than ``@timeout`` allows."""

INTERRUPTED = "Interrupted"
"""Type of what ended a run that was asked to end from outside."""

RANK_LOST = "RankLost"
"""Type of the failure of a gang of which a rank gave no sign of life any more."""

_KINDS = {"abort": "GangAborted", "lost": RANK_LOST, "preempted": PREEMPTED, "formation": "GangNotFormed"}
_KINDS["unable"] = _KINDS["formation"]


def too_long(seconds: float | None, ranks: Sequence[int | None] = ()) -> str:
    """What is said of an attempt that was not done within ``@timeout``; of a gang's, with the ranks that were late."""
    late = f"; still running: rank {', '.join(map(str, ranks))}" if ranks else ""
    return f"took longer than {seconds:g} s (@timeout){late}"


class Failure(NamedTuple):
    """What ended an attempt, or a run.

    Parameters
    ----------
    address : str or None
        The task; None where no task is to blame.
    attempt : int
        Its attempt, from 0.
    type : str
        The exception's class; ``Timeout``, ``ProcessFailure`` and others where there was none.
    message : str
        The exception's text, or what happened.
    rank : int or None
        Of a gang, the rank that failed first.
    exit_code : int or None
        How its process exited.
    signal : str or None
        The name of the signal that ended it instead.
    traceback : str
        The author's traceback; empty where there is none.
    last_lines : tuple of str
        The last lines that the task wrote, of its stderr or else its stdout.
    """

    address: str | None
    attempt: int
    type: str
    message: str
    rank: int | None = None
    exit_code: int | None = None
    signal: str | None = None
    traceback: str = ""
    last_lines: tuple[str, ...] = ()

    @property
    def ending(self) -> str:
        """How the process ended: ``exit code 7``, ``killed by SIGKILL (out of memory?)``."""
        if self.signal == "SIGKILL":
            return "killed by SIGKILL (out of memory?)"
        if self.signal is not None:
            return f"killed by {self.signal}"
        if self.exit_code is not None and self.exit_code > 128 and self.exit_code - 128 in set(signal.Signals):
            # How programs that clean up after a signal say which one it was.
            return f"exit code {self.exit_code} ({signal_name(self.exit_code - 128)})"
        return f"exit code {self.exit_code}"

    def __str__(self) -> str:
        if self.type == INTERRUPTED:
            return f"the run was interrupted: {self.message}"
        where = "the run" if self.address is None else self.address
        rank = "" if self.rank is None else f", rank {self.rank}"
        how = self.message if self.type == PROCESS_FAILURE else f"{self.type}: {self.message}"
        return f"{where}{rank} failed in attempt {self.attempt}: {how}" if self.address else f"{where} failed: {how}"

    def to_json(self) -> dict[str, Any]:
        """The failure as it stands in ``status.json``."""
        return {
            "address": self.address,
            "attempt": self.attempt,
            "rank": self.rank,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "type": self.type,
            "message": self.message,
            "traceback": self.traceback,
            "last_lines": list(self.last_lines),
        }


def exit_of(status: int) -> tuple[int | None, str | None]:
    """Exit code and name of the signal that a wait status tells of; one of them is None."""
    if os.WIFSIGNALED(status):
        return None, signal_name(os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status), None


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; ``signal 35`` where the number has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def task_failure(
    address: str,
    attempt: int,
    rank: int | None,
    status: int,
    recorded: Mapping[str, Any] | None,
    note: Sequence[str] | None,
    last: Sequence[str],
) -> Failure:
    """What to say about a process that ended without committing its work.

    Parameters
    ----------
    status : int
        Its wait status.
    recorded : mapping or None
        The ``failure`` of its record: type, message, traceback.
    note : sequence of str or None
        Class and text of an error that it could only tell its server.
    last : sequence of str
        The last lines that it wrote.
    """
    code, signal_ = exit_of(status)
    kind, message, trace = PROCESS_FAILURE, "", ""
    if recorded is not None:
        kind, message = str(recorded.get("type", kind)), str(recorded.get("message", ""))
        trace = str(recorded.get("traceback") or "")
    elif note is not None:
        kind, message = note
    failure = Failure(address, attempt, kind, message, rank, code, signal_, trace, tuple(last))
    if recorded is None and note is None:
        message = "ended with exit code 0 without committing its record" if code == 0 else failure.ending
        failure = Failure(address, attempt, kind, message, rank, code, signal_, trace, tuple(last))
    return failure


def gang_failure(
    address: str, attempt: int, report: GangFailure, recorded: Mapping[str, Any] | None, last: Sequence[str]
) -> Failure:
    """What to say about the rank that failed first, as the gang reports it.

    Parameters
    ----------
    address : str
        Of that rank.
    recorded : mapping or None
        The ``failure`` of its record: type, message, traceback.
    last : sequence of str
        The last lines that it wrote.
    """
    signal_ = None if report.signal is None else signal_name(report.signal)
    failure = Failure(address, attempt, PROCESS_FAILURE, "", report.rank, report.exit_code, signal_, "", tuple(last))
    if report.kind in ("exit", "signal", "abort", "unable") and recorded is not None:
        return failure._replace(
            type=str(recorded.get("type", PROCESS_FAILURE)),
            message=str(recorded.get("message", "")),
            traceback=str(recorded.get("traceback") or ""),
        )
    if report.kind in _KINDS:
        return failure._replace(type=_KINDS[report.kind], message=str(report))
    return failure._replace(message=failure.ending)
