"""What the output may look like: colours, width, tables. rich is imported only where it writes to a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at the stream, on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def colours(stream: TextIO) -> bool:
    """Whether to write colours: on a terminal, unless NO_COLOR is set; everywhere with FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return is_terminal(stream) or bool(os.environ.get("FORCE_COLOR"))


def console(stream: TextIO | None = None) -> Console:
    """A rich console that neither guesses at markup nor highlights."""
    from rich.console import Console

    return Console(file=stream or sys.stdout, highlight=False, markup=False, emoji=False)


def silence(stream: TextIO) -> None:
    """From now on nothing that is written to the stream goes anywhere: its reader has left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


_STATE_STYLES = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "interrupted": "yellow",
    "lost": "yellow",
    "caught": "yellow",
    "waiting": "dim",
}


def state_style(state: str) -> str:
    """The colour of a run's, a step's or a task's state."""
    return _STATE_STYLES.get(state, "")


def print_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = (), state: int | None = None
) -> None:
    """Print rows under their heads: a rich table on a terminal, aligned columns elsewhere.

    Parameters
    ----------
    right : iterable of int
        Columns that are aligned to the right.
    state : int, optional
        The column that holds a state, which is coloured.
    """
    rows, right = list(rows), frozenset(right)
    if is_terminal(sys.stdout):
        _print_rich(heads, rows, right, state)
        return
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    for row in [heads, *rows]:
        cells = [cell.rjust(width) if place in right else cell.ljust(width)
                 for place, (cell, width) in enumerate(zip(row, widths))]  # fmt: skip
        print("  ".join(cells).rstrip())


def _print_rich(heads: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int], state: int | None) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place in right else "left", no_wrap=place != len(heads) - 1)
    for row in rows:
        table.add_row(*[Text(cell, state_style(cell) if place == state else "") for place, cell in enumerate(row)])
    console().print(table)


def duration(seconds: float | None) -> str:
    """A length of time for people: ``0.4s``, ``12s``, ``3m05s``, ``2h07m``, ``3d04h``."""
    if seconds is None:
        return ""
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def moment(unix: float | None) -> str:
    """A point in time, local: ``2025-03-01 14:05:09``."""
    return "" if unix is None else datetime.fromtimestamp(unix).strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """A number of bytes for people: ``312 B``, ``4.0 KiB``, ``1.2 GiB``."""
    if count < 1024:
        return f"{count} B"
    value, units = count / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while value >= 1023.95 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.1f} {units[0]}"
