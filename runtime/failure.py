"""How a step's failure is told: the author's traceback, without flowc's own frames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Optional

from ..dsl import CaughtFailure, FlowcError
from .record import Failure

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_ROOMS = tuple(os.path.join(_PACKAGE, room, "") for room in ("dsl", "runtime", "compiler", "backends", "cli", "client"))

# What a record keeps of a text, in characters; the log has all of it.
_MESSAGE = 10_000
_TRACEBACK = 100_000

_NO_INPUT = "EOF when reading a line"
"""What Python says where input() finds nothing to read."""


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception of a step is recorded as; very long texts are shortened."""
    if isinstance(error, SystemExit):
        return Failure("SystemExit", _short(_exit_message(error), _MESSAGE), user_traceback(error))
    text = user_traceback(error)
    return Failure(type(error).__qualname__, _short(_text(error), _MESSAGE), _short(text, _TRACEBACK))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}\n[...]\n{text[-most // 2 :]}"


def _text(error: BaseException) -> str:
    try:
        text = str(error)
        if type(error) is EOFError and text == _NO_INPUT:
            return f"{text}. A step has no terminal to read from."
        return text
    except Exception:  # the author's own __str__
        return ""


def _exit_message(error: SystemExit) -> str:
    code = error.code
    if code is None or code == 0:
        return "the step ended its process with sys.exit() before it was done; end a step by returning from it"
    return f"the step ended its process with sys.exit({code!r})"


def caught(failure: Failure) -> CaughtFailure:
    """The value of the artifact that ``@catch(var=...)`` names."""
    return CaughtFailure(failure.type, failure.message, failure.traceback)


def user_traceback(error: BaseException) -> str:
    """The traceback as the author should see it, or only the last line where all of it is flowc's; errors that led to
    it are shown as Python does."""
    _strip(error)
    return "".join(_lines(error))


def _lines(error: BaseException) -> Iterator[str]:
    import traceback

    if isinstance(error, FlowcError):
        # Its text is complete; what it was made from is flowc's own business.
        if error.__traceback__ is not None:
            yield "Traceback (most recent call last):\n"
            yield from traceback.format_tb(error.__traceback__)
        yield f"{type(error).__name__}: {error}\n"
        return
    yield from traceback.format_exception(type(error), error, error.__traceback__)


def _strip(error: BaseException) -> None:
    seen: set[int] = set()
    left: list[object] = [error]
    while left:
        each = left.pop()
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = _users(each.__traceback__)
            # An exception of the author's may have any "exceptions"; a group's are a tuple.
            inner = getattr(each, "exceptions", ())
            left += [each.__cause__, each.__context__, *(inner if isinstance(inner, tuple) else ())]


def _users(tb: Optional[TracebackType]) -> Optional[TracebackType]:
    kept: Optional[TracebackType] = None
    for link in reversed(list(_links(tb))):
        if not _is_flowc(link):
            kept = TracebackType(kept, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return kept


def _links(tb: Optional[TracebackType]) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


def _is_flowc(tb: TracebackType) -> bool:
    name = tb.tb_frame.f_code.co_filename
    return name.startswith(_ROOMS) or name.startswith("<frozen importlib")
