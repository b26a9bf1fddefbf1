"""How a gang ends: the exit codes of its ranks, and the report on the rank that failed first and on all others."""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass, field
from typing import Any, Optional

# Codes of the supervisor's own, taken from sysexits(3) so that they say something to other programs as well: 69 service
# unavailable, 70 internal software error, 75 temporary failure, "the user is invited to retry".
EXIT_NOT_FORMED = 69
"""The gang did not form: not within its time, or because a rank cannot take part."""
EXIT_GANG_FAILED = 70
"""This rank was well, or brought down, but another rank failed."""
EXIT_PREEMPTED = 75
"""The attempt was asked to end from outside (SIGTERM); a retry is expected to go on from the last checkpoint."""


class GangError(Exception):
    """The gang cannot do what was asked; the message says which rank, where, and what to do."""


class CollectiveError(GangError):
    """A barrier, broadcast or gather failed: the ranks disagree, one has ended, or a value cannot travel."""


class GangAborted(GangError):
    """Raised in the rank that called :meth:`GangHandle.abort`."""


@dataclass(frozen=True)
class RankEnd:
    """How one rank of a gang that failed ended.

    Parameters
    ----------
    rank : int
        The rank.
    host : str or None
        Name of the rank's host, where it is known.
    exit_code : int or None
        Exit code of the rank's body; None if a signal ended it or it was lost.
    signal : int or None
        Number of the signal that ended the body.
    last_lines : tuple of str
        The last lines that the body wrote.
    reason : str
        In words: ``exited with code 3``, ``ended by SIGTERM``, ``lost: no sign of life for 10 s``.
    kind : str
        What became of it by itself: ``done``, ``exit``, ``signal``, ``abort``, ``lost`` or ``unable`` (it lacks
        something); ``ended`` where it was still running when it was asked to end because of another, or from outside;
        ``idle`` where its body never ran, ``absent`` where it never came, ``silent`` where it did not say.
    """

    rank: int
    host: Optional[str]
    exit_code: Optional[int]
    signal: Optional[int]
    last_lines: tuple[str, ...]
    reason: str
    kind: str = "exit"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**vars(self), "last_lines": list(self.last_lines)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RankEnd:
        """Read :meth:`to_json` back.

        Raises
        ------
        KeyError, TypeError, ValueError, OverflowError
            If the data are no report.
        """
        return cls(
            rank=int(data["rank"]),
            host=None if data["host"] is None else str(data["host"]),
            exit_code=None if data["exit_code"] is None else int(data["exit_code"]),
            signal=None if data["signal"] is None else int(data["signal"]),
            last_lines=tuple(map(str, data["last_lines"])),
            reason=str(data["reason"]),
            kind=str(data["kind"]),
        )


@dataclass(frozen=True)
class GangFailure(RankEnd):
    """The first rank that failed, and how; and how all of them ended, as far as it is known where this is read.

    Parameters
    ----------
    rank : int
        The rank; for a gang that did not form, the lowest rank that never came.
    host, exit_code, signal, last_lines
        As of any rank.
    reason : str
        One sentence: ``exited with code 3``, ``was lost: no sign of life for 10 s``.
    kind : str
        ``exit``, ``signal``, ``abort``, ``lost``, ``preempted``, ``unable`` (the rank lacks something, so that the gang
        did not form) or ``formation``.
    ranks : tuple of RankEnd
        In the order of the ranks: every one on the control rank, on a worker its own. Empty as long as the gang ends.
    """

    # Every rank gives the same report, however much it knows of the others.
    ranks: tuple[RankEnd, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return self.reason if self.kind == "formation" else f"{rank_on(self.rank, self.host)} {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        data = super().to_json()
        del data["ranks"]
        return {**data, "ranks": [end.to_json() for end in self.ranks]} if self.ranks else data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> GangFailure:
        """Read :meth:`to_json` back.

        Raises
        ------
        KeyError, TypeError, ValueError, OverflowError
            If the data are no report.
        """
        end = RankEnd.from_json(data)
        return cls(**vars(end), ranks=tuple(RankEnd.from_json(each) for each in data.get("ranks", ())))


@dataclass(frozen=True)
class GangResult:
    """How the attempt ended, as this rank's supervisor reports it.

    Parameters
    ----------
    code : int
        Exit code for this rank's process: 0 only if every rank ended with 0. The rank that failed keeps its own code
        (128 + n after signal n); see the ``EXIT_`` constants for the others.
    failure : GangFailure or None
        The same report on every rank; None if all went well.
    """

    code: int
    failure: Optional[GangFailure] = None

    @property
    def preempted(self) -> bool:
        """Whether the attempt was ended from outside, which a retry treats apart from a failure."""
        return self.failure is not None and self.failure.kind == "preempted"


def rank_on(rank: int, host: Optional[str]) -> str:
    """``rank 2 on host b``, or ``rank 2`` where the host is not known."""
    return f"rank {rank} on host {host}" if host else f"rank {rank}"


def signal_name(number: int) -> str:
    """``SIGKILL``, or ``signal 64`` where the number has no name."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def ranks_text(ranks: list[int]) -> str:
    """``rank 2`` or ``ranks 1, 2, 5-9``."""
    parts: list[str] = []
    ordered, at = sorted(ranks), 0
    while at < len(ordered):
        end = at
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        if end - at >= 2:
            parts.append(f"{ordered[at]}-{ordered[end]}")
        else:
            parts += map(str, ordered[at : end + 1])
        at = end + 1
    return f"{'rank' if len(ordered) == 1 else 'ranks'} {', '.join(parts)}"
