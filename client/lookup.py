"""What all client objects share: the datastore they read, the namespace, what is said when something is missing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ..dsl.errors import FlowcError
from ..runtime.datastore import Datastore, open_datastore
from ..runtime.runs import RunInfo


class NotFound(FlowcError, KeyError):
    """A flow, run, step, task or artifact is not there; the message says what is."""

    def __str__(self) -> str:
        return str(self.args[0])


_namespace: str | None = None


def namespace(name: str | None) -> str | None:
    """Show only some runs in lists and as the latest: those of a user (``user:ann``) or with a tag; None shows all.

    All are shown as long as this is not called. A run that is asked for by its id is always found.
    """
    global _namespace
    _namespace = name
    return name


def get_namespace() -> str | None:
    """The namespace that was set; None where all runs are shown."""
    return _namespace


def in_namespace(info: RunInfo) -> bool:
    """Whether a run is to be shown."""
    if _namespace is None:
        return True
    return _namespace == f"user:{info.user}" or _namespace in info.tags


def store_at(datastore: Datastore | str | None) -> Datastore:
    """The datastore that an object reads: a given one, else that of FLOWC_DATASTORE, else ``.flowc`` here."""
    return datastore if isinstance(datastore, Datastore) else open_datastore(datastore)


def not_found(what: str, name: str, there: Iterable[str]) -> NotFound:
    """``Flow 'X' has no run 7; there is 1, 2``, or with the nearest name."""
    from difflib import get_close_matches

    known = list(there)
    near = get_close_matches(name, known, n=1)
    if near:
        hint = f"did you mean {near[0]!r}?"
    elif known:
        hint = "there is " + ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    else:
        hint = "there is none"
    return NotFound(f"{what} {name!r}; {hint}")


def when(unix: float | None) -> datetime | None:
    """A point in time as people's local time."""
    return None if unix is None else datetime.fromtimestamp(unix)
