"""How every rank of a gang ended: collected by the control rank, within bounds, and put into few words."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Optional

from .failure import RankEnd, ranks_text, signal_name

LINES = 5
"""How many last lines are kept of each rank; the one that failed first has more of its own."""
LINES_SIZE = 2 << 10
"""Bytes that these take at most, of one rank."""
ALL_LINES_SIZE = 256 << 10
"""Bytes that they take at most, of all ranks together; ranks that failed by themselves go before those that did not."""
REASON_SIZE = 300
"""Characters of a reason."""

CAUSES = ("exit", "signal", "abort", "unable", "lost", "absent", "silent")
"""The kinds of ends that can have brought others down."""

_LINES_SHOWN, _HOSTS_SHOWN = 20, 4


class Ends:
    """What the control rank knows of how the ranks ended.

    Parameters
    ----------
    size : int
        Of the gang.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._ends: dict[int, RankEnd] = {}

    def told(self, rank: int, host: str, said: Mapping[str, Any]) -> RankEnd:
        """Take, and give as it is kept, what a rank says about its body: when it is failing, and when it has ended."""
        end = self._ends[rank] = end_of(rank, host, said, self._ends.get(rank))
        return end

    def note(self, rank: int, host: str, kind: str, reason: str) -> None:
        """Take what the control rank has found out itself, unless the rank has said more."""
        if rank not in self._ends:
            self._ends[rank] = RankEnd(rank, host, None, None, (), _short(reason), kind)

    def forget(self, rank: int) -> None:
        """The rank is here again, or another in its place."""
        self._ends.pop(rank, None)

    def report(self, hosts: Mapping[int, str], formed: bool) -> tuple[RankEnd, ...]:
        """The end of every rank, in order.

        Parameters
        ----------
        hosts : mapping
            Of the ranks that are here, or were.
        formed : bool
            Whether the gang has formed, so that they all ran.
        """
        ends = [self._ends.get(rank) or _unsaid(rank, hosts.get(rank), formed) for rank in range(self._size)]
        room = ALL_LINES_SIZE
        for end in sorted(ends, key=lambda end: end.kind not in CAUSES):
            room -= sum(len(line.encode()) for line in end.last_lines)
            if room < 0:
                ends[end.rank] = replace(end, last_lines=())
        return tuple(ends)


def end_of(rank: int, host: str, said: Mapping[str, Any], before: Optional[RankEnd] = None) -> RankEnd:
    """How a rank ended, as it says; ``before`` is what it has said while its body was failing.

    What is said may be anything: it comes from another process.
    """
    code, number = _number(said.get("code"), 255), _number(said.get("signal"), 127)
    lines, reason = last_of(said.get("lines")), said.get("reason")
    if said.get("kind") == "abort" and isinstance(reason, str):
        return RankEnd(rank, host, None, None, lines, _short(reason), "abort")
    if before is not None and before.kind == "abort":
        # It was on its way out; a signal only ended it with the others.
        return replace(before, exit_code=code if number is None else None, last_lines=lines)
    kind, how = _ended(code, number, said.get("asked"))
    return RankEnd(rank, host, code, number, lines, how, kind)


def last_of(lines: Any) -> tuple[str, ...]:
    """The last of some lines, as much as is kept of a rank; nothing of what are no lines."""
    kept: list[str] = []
    room = LINES_SIZE
    for line in reversed(lines[-LINES:] if isinstance(lines, (list, tuple)) else ()):
        if not isinstance(line, str) or room <= 0:
            break
        data = line.encode("utf-8", "backslashreplace")[-room:]
        kept.append(data.decode("utf-8", "ignore"))
        room -= len(data)
    return tuple(reversed(kept))


def ends_text(ends: Sequence[RankEnd]) -> list[tuple[str, RankEnd]]:
    """One line for all ranks that ended in the same way, with the first of them; what can be a cause comes first.

    ``rank 1 on host b: exited with code 3``, then ``ranks 0, 2-7 on host a: ended by SIGTERM``.
    """
    alike: dict[tuple[str, str], list[RankEnd]] = {}
    for end in sorted(ends, key=lambda end: (end.kind not in CAUSES, end.rank)):
        alike.setdefault((end.kind, end.reason), []).append(end)
    groups = list(alike.values())
    lines = [(f"{_where(group)}: {group[0].reason}", group[0]) for group in groups[:_LINES_SHOWN]]
    rest = [end for group in groups[_LINES_SHOWN:] for end in group]
    if rest:
        lines.append((f"{_where(rest)}: ended in {len(groups) - _LINES_SHOWN} other ways", rest[0]))
    return lines


def _where(group: Sequence[RankEnd]) -> str:
    hosts = list(dict.fromkeys(end.host for end in group if end.host))
    ranks = ranks_text([end.rank for end in group])
    if not hosts:
        return ranks
    if len(hosts) > _HOSTS_SHOWN:
        return f"{ranks} on {len(hosts)} hosts"
    return f"{ranks} on {'host' if len(hosts) == 1 else 'hosts'} {', '.join(hosts)}"


def _ended(code: Optional[int], number: Optional[int], asked: Any) -> tuple[str, str]:
    if code is None and number is None:
        return "idle", "its body never ran"
    how = f"exited with code {code}" if number is None else f"killed by {signal_name(number)}"
    if not asked:
        return ("signal" if number is not None else "exit" if code else "done"), how
    if number == signal.SIGKILL and asked == "killed":
        return "ended", "killed, as it did not end at SIGTERM"
    # Programs that clean up after a signal say so with their exit code.
    if signal.SIGTERM in (number, (code or 0) - 128):
        return "ended", "ended by SIGTERM"
    return "ended", f"{how} when it was asked to end"


def _unsaid(rank: int, host: Optional[str], formed: bool) -> RankEnd:
    if host is None:
        kind, reason = "absent", "never reached the control rank"
    elif formed:
        kind, reason = "silent", "did not say how it ended"
    else:
        kind, reason = "idle", "its body never ran"
    return RankEnd(rank, host, None, None, (), reason, kind)


def _number(value: Any, largest: int) -> Optional[int]:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest
    return value if good else None


def _short(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= REASON_SIZE else f"{text[: REASON_SIZE - 3]}..."
