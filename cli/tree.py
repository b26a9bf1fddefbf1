"""The tree of a run's steps on a terminal, drawn with rich."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .screen import duration, state_style
from .tally import StepTally, Tally

_BAR = 16
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_GLYPHS = {"done": "✓", "failed": "✗", "waiting": "·", "stopped": "■", "skipped": "–"}
_ASCII = {"done": "+", "failed": "x", "waiting": ".", "stopped": "#", "skipped": "-", "running": "*"}


class RunTree:
    """A run's head line and its steps.

    Parameters
    ----------
    title : str
        ``Flow/12``.
    tally : Tally
        What it shows; it is read anew at each drawing.
    """

    def __init__(self, title: str, tally: Tally, began: float) -> None:
        self.title = title
        self.tally = tally
        self.now = self.began = began
        self.state = "running"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Sequence[RenderableType]:
        unicode = console.encoding.lower().startswith("utf")
        room = None if self.state != "running" else max(console.size.height - 3, 3)
        return [Group(self._head(unicode), self._steps(room, unicode, options.max_width))]

    def _head(self, unicode: bool) -> Text:
        elapsed = duration(self.now - self.began)
        words = {"running": "running", "done": "done in"}.get(self.state, f"{self.state} after")
        text = Text.assemble((f"{self._glyph(self.state, unicode)} ", state_style(self.state)), (self.title, "bold"))
        return text.append(f"  {words} {elapsed}", state_style(self.state))

    def _steps(self, room: int | None, unicode: bool, width: int) -> RenderableType:
        shown, left_out = _fitting(list(self.tally), room)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style="dim", overflow="ellipsis")
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True)
        wide = width >= 72
        for tally in shown:
            state = self._state(tally)
            name = Text.assemble(
                ("  " + ("│ " if unicode else "| ") * tally.depth, "dim"),
                (f"{self._glyph(state, unicode)} ", state_style(state) or "dim"),
                (tally.name, "dim" if state in ("waiting", "skipped") else "bold" if state == "running" else ""),
            )
            several = (tally.total or tally.seen) > 1
            table.add_row(
                name,
                tally.kind if wide else "",
                _bar(tally, unicode) if several and wide else "",
                _count(tally) if several else "",
                self._elapsed(tally, state),
                self._remarks(tally, state),
            )
        if not left_out:
            return table
        return Group(table, Text(f"  {'…' if unicode else '...'} and {left_out} more steps", "dim"))

    def _state(self, tally: StepTally) -> str:
        state = tally.state
        if self.state == "running":
            return state
        if state == "running":
            return "stopped"
        return "skipped" if state == "waiting" and self.state == "done" else state

    def _remarks(self, tally: StepTally, state: str) -> Text:
        text = Text()
        for count, word, style in (
            (tally.running if self.state == "running" and (tally.total or tally.seen) > 1 else 0, "running", "cyan"),
            (tally.retrying, "to retry", "yellow"),
            (tally.failed, "failed", "red"),
            (tally.stopped, "stopped", "dim"),
            (tally.caught, "caught", "yellow"),
            (tally.cloned, "taken over", "dim"),
        ):
            if count and (word != "failed" or (tally.total or tally.seen) > 1):
                text.append(f"{count} {word}  " if word != "taken over" or count > 1 else f"{word}  ", style)
        if state == "skipped":
            text.append("not taken", "dim")
        return text

    def _elapsed(self, tally: StepTally, state: str) -> Text:
        if tally.began is None:
            return Text()
        ended = tally.ended if tally.ended is not None and not tally.running else self.now
        return Text(duration(ended - tally.began), "dim" if state != "running" else "")

    def _glyph(self, state: str, unicode: bool) -> str:
        if state == "interrupted":
            state = "stopped"
        if not unicode:
            return _ASCII.get(state, "?")
        return _SPINNER[int(self.now * 8) % len(_SPINNER)] if state == "running" else _GLYPHS.get(state, "?")


def _count(tally: StepTally) -> Text:
    return Text(f"{tally.done}/{tally.total}" if tally.total is not None else str(tally.done))


def _bar(tally: StepTally, unicode: bool) -> Text:
    """How far a fan-out is: done, failed, running and still to come."""
    total = max(tally.total or tally.seen, tally.seen, 1)
    full, empty = ("━", "━") if unicode else ("#", "-")
    text, used = Text(), 0
    counted = 0
    for count, style in ((tally.done, "green"), (tally.failed, "red"), (tally.running, "cyan")):
        counted += count
        cells = round(_BAR * counted / total) - used
        if count and not cells and used < _BAR and style != "green":
            cells = 1
        text.append(full * cells, style)
        used += cells
    return text.append(empty * (_BAR - used), "bright_black")


def _fitting(steps: list[StepTally], room: int | None) -> tuple[list[StepTally], int]:
    """The steps to show where not all fit: those at work or failed, then what comes next, then what was last done."""
    if room is None or len(steps) <= room:
        return steps, 0
    room -= 1
    begun = [place for place, step in enumerate(steps) if step.seen]
    focus = begun[-1] if begun else 0

    def rank(place: int) -> tuple[int, int]:
        return (0 if steps[place].state in ("running", "failed") else 1, abs(place - focus))

    chosen = sorted(sorted(range(len(steps)), key=rank)[:room])
    return [steps[place] for place in chosen], len(steps) - len(chosen)
