"""How a run is followed while it goes on: a live tree on a terminal, plain prefixed lines elsewhere."""

from __future__ import annotations

import sys
import time
from _thread import get_ident
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from ..backends.local.events import (
    Event,
    RunEnded,
    RunStarted,
    TaskCloned,
    TaskDone,
    TaskFailed,
    TaskOutput,
    TaskRetrying,
    TaskStarted,
)
from ..compiler.plan import Plan
from .screen import duration, is_terminal, silence
from .tally import StepTally, Tally

if TYPE_CHECKING:
    import threading

    from rich.console import Console
    from rich.live import Live
    from rich.segment import Segments

    from .tree import RunTree

_PERIOD = 0.125
"""Seconds between two drawings of the tree."""

_NARROW = 20
"""Steps with at most that many tasks get a line for each of them in plain output."""

_SUMMARY_PERIOD = 10.0
"""Seconds between two lines about a wide step in plain output."""


def progress(plan: Plan, *, quiet: bool, where: str) -> PlainProgress | LiveProgress:
    """The listener for a run: live on a terminal, plain elsewhere.

    Parameters
    ----------
    quiet : bool
        Show only what tasks print, and failures.
    where : str
        The datastore, as it is to be shown.
    """
    if is_terminal(sys.stdout) and not quiet:
        return LiveProgress(plan)
    return PlainProgress(plan, quiet=quiet, where=where)


class PlainProgress:
    """Lines for a log: what tasks print, prefixed by their address, and what becomes of the steps."""

    def __init__(self, plan: Plan, *, quiet: bool = False, where: str = "", stream: TextIO | None = None) -> None:
        self.tally = Tally(plan)
        self.run_id = ""
        self._flow = plan.name
        self._where = where
        self._quiet = quiet
        self._stream = stream or sys.stdout
        self._flushed = 0.0
        self._said: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        try:
            self._take(event)
        except BrokenPipeError:
            # Whoever read along has left; the run goes on.
            silence(self._stream)

    def _take(self, event: Event) -> None:
        now = time.monotonic()
        self.tally.take(event, now)
        if isinstance(event, TaskOutput):
            self._line(f"{event.address} | {event.line}")
        elif isinstance(event, RunStarted):
            self.run_id = event.run_id
            self._note(_start_words(event, self._where))
        elif isinstance(event, TaskStarted):
            self._started(self.tally[event.address.step], now)
        elif isinstance(event, TaskDone):
            self._done(event, self.tally[event.address.step], now)
        elif isinstance(event, TaskFailed):
            self._line(f"{event.address} failed{_again(event)}: {_why(event)}")
        elif isinstance(event, TaskRetrying):
            wait = f" in {duration(event.wait)}" if event.wait else ""
            self._line(f"{event.address} is tried again{wait} (attempt {event.attempt + 1})")
        elif isinstance(event, TaskCloned):
            if event.count == 1:
                self._note(f"{event.address} taken over")
            else:
                self._note(f"{event.address.step}: {event.count} tasks taken over")
        elif isinstance(event, RunEnded):
            words = "done in" if event.state == "done" else f"{event.state} after"
            self._note(f"{self._flow}/{self.run_id} {words} {duration(event.seconds)}")
            self._stream.flush()
        if now - self._flushed > 0.1:
            # Often enough for whoever reads along, seldom enough to cost nothing.
            self._flushed = now
            self._stream.flush()

    def close(self) -> None:
        """Write out what is left."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            silence(self._stream)

    def _started(self, tally: StepTally, now: float) -> None:
        if not _wide(tally) or tally.name in self._said:
            return
        self._said[tally.name] = now
        self._note(f"{tally.name}: {tally.total or tally.opened} tasks")

    def _done(self, event: TaskDone, tally: StepTally, now: float) -> None:
        if not _wide(tally):
            caught = ", its failure caught" if event.caught else ""
            self._note(f"{event.address} done in {duration(event.seconds)}{caught}")
            return
        finished = tally.state == "done" and tally.done >= tally.opened
        if finished or now - self._said.get(tally.name, now) >= _SUMMARY_PERIOD:
            self._said[tally.name] = now
            total = "" if tally.total is None else f" of {tally.total}"
            extra = f", {tally.running} running" if tally.running else ""
            self._note(f"{tally.name}: {tally.done}{total} tasks done in {duration(now - (tally.began or now))}{extra}")

    def _note(self, text: str) -> None:
        if not self._quiet:
            self._line(text)

    def _line(self, text: str) -> None:
        self._stream.write(f"[{self.run_id}] {text}\n")


class LiveProgress:
    """The tree of steps at the foot of the terminal, and what tasks print above it.

    Lines and counts are gathered and drawn together a few times a second, so that thousands of tasks are not held up.
    """

    def __init__(self, plan: Plan) -> None:
        self.tally = Tally(plan)
        self.run_id = ""
        self._tree: RunTree | None = None
        self._live: Live | None = None
        self._lines: deque[TaskOutput | str] = deque()
        self._stop: threading.Event | None = None
        self._ticker: threading.Thread | None = None
        self._began = time.monotonic()
        self._flow = plan.name

    def __call__(self, event: Event) -> None:
        self.tally.take(event, time.monotonic())
        if isinstance(event, TaskOutput):
            self._lines.append(event)
        elif isinstance(event, TaskStarted):
            if self._ticker is None:
                self._start_ticker()
        elif isinstance(event, RunStarted):
            self.run_id = event.run_id
            self._began = time.monotonic()
        elif isinstance(event, TaskFailed):
            self._lines.append(f"{event.address} failed{_again(event)}: {_why(event)}")
        elif isinstance(event, RunEnded):
            self._finish(event)

    def close(self) -> None:
        """Leave the terminal in order, also where the run broke off."""
        self._end_ticker()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _start_ticker(self) -> None:
        # Not earlier: the process that tasks are forked from must be there before this one has a second thread, and
        # before it has the module, which would have work to do in every task.
        import threading

        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, args=(self._stop,), name="flowc-progress", daemon=True)
        self._ticker.start()

    def _tick(self, stop: threading.Event) -> None:
        while not stop.wait(_PERIOD):
            try:
                self._draw()
            except OSError:
                # The terminal is gone; the run goes on.
                silence(sys.stdout)

    def _end_ticker(self) -> None:
        if self._stop is not None:
            self._stop.set()
        if self._ticker is not None and self._ticker.ident != get_ident():
            self._ticker.join()
            self._ticker = None

    def _open(self) -> Live:
        """Begin the live display; rich is imported here, where the tasks are already at work."""
        from rich.live import Live

        from .screen import console
        from .tree import RunTree

        self._tree = RunTree(f"{self._flow}/{self.run_id}", self.tally, self._began)
        live = Live(self._tree, console=console(), auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        live.start()
        self._live = live
        return live

    def _draw(self) -> None:
        live = self._live or self._open()
        assert self._tree is not None
        self._tree.now = time.monotonic()
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if lines:
            live.console.print(_shown(lines, live.console), soft_wrap=True, end="")
        live.refresh()

    def _finish(self, event: RunEnded) -> None:
        self._end_ticker()
        if self._live is None:
            self._open()
        assert self._tree is not None
        self._tree.state = event.state
        self._tree.began = time.monotonic() - event.seconds
        self._draw()
        self.close()


def _shown(lines: Iterable[TaskOutput | str], console: Console) -> Segments:
    """Lines in colour. As segments, since laying them out as text would cost more than to run a small task."""
    from rich.control import strip_control_codes
    from rich.segment import Segment, Segments
    from rich.style import Style
    from rich.text import Text

    address, bad = Style(color="cyan"), Style(color="red")
    bars = {"stdout": Segment("| ", Style(color="bright_black")), "stderr": Segment("| ", bad)}
    end = Segment.line()
    segments = []
    for line in lines:
        if isinstance(line, str):
            segments.append(Segment(strip_control_codes(line), bad))
        else:
            segments += Segment(f"{line.address} ", address), bars[line.stream]
            if "\x1b" in line.line:
                segments += Text.from_ansi(line.line, end="").render(console)
            else:
                segments.append(Segment(strip_control_codes(line.line).expandtabs()))
        segments.append(end)
    return Segments(segments)


def _wide(tally: StepTally) -> bool:
    return max(tally.total or 0, tally.opened) > _NARROW


def _start_words(event: RunStarted, where: str) -> str:
    origin = f", resumes {event.origin_run_id}" if event.origin_run_id else ""
    return f"{event.flow}/{event.run_id} starts in {where}{origin}"


def _again(event: TaskFailed) -> str:
    return "" if event.final else f" in attempt {event.attempt + 1}"


def _why(event: TaskFailed) -> str:
    from ..runtime.report import PROCESS_FAILURE

    failure = event.failure
    lines = failure.message.splitlines() or [""]
    if failure.type == PROCESS_FAILURE:
        return lines[0]
    return f"{failure.type}: {lines[0]}" if lines[0] else failure.type
