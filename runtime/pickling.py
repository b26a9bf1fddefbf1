"""Pickles of artifacts: large buffers apart, and errors that say which part of a value is to blame and what to do."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from ..dsl.errors import ArtifactUnreadable, BadArtifact
from .datastore.base import Bytes

OUT_OF_BAND = 64 * 1024
"""Smallest buffer, in bytes, that is kept apart from the pickle."""

_LOOK_AT = 10_000


class _Pieces(list):  # type: ignore[type-arg]
    """What a pickler writes, piece by piece; large bytes objects come as themselves, not as copies."""

    write = list.append


def dump(value: Any) -> tuple[list[Bytes], list[memoryview]]:
    """The pickle of a value in pieces, and its large buffers as flat views of their own memory."""
    pieces = _Pieces()
    buffers: list[memoryview] = []

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND:
            return True
        buffers.append(view)
        return False

    pickle.Pickler(pieces, 5, buffer_callback=in_band).dump(value)
    return pieces, buffers


def load(data: Bytes, buffers: Iterable[Any], what: str, type_name: str) -> Any:
    """The value of a pickle.

    Raises
    ------
    ArtifactUnreadable
        If it cannot be rebuilt here: a module or a class is missing, or its own code fails.
    """
    try:
        return pickle.loads(data, buffers=buffers)  # noqa: S301 (a run's own artifacts)
    except Exception as error:
        kind = f" ({type_name})" if type_name else ""
        if isinstance(error, ModuleNotFoundError):
            why = f"it needs the module {error.name!r}, which is not there; install it where the task runs"
        elif isinstance(error, AttributeError):
            why = (
                f"its class is not where it was when it was stored ({error}); put it back, or run the step before again"
            )
        else:
            why = f"rebuilding it failed with {type(error).__name__}: {error}"
        raise ArtifactUnreadable(f"{what}{kind} cannot be loaded: {why}") from error


def type_name(value: Any) -> str:
    """The class of a value as ``module.Class``; builtins without the module."""
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


# What is to blame -----------------------------------------------------------------------------------------------------


def bad_artifact(path: str, value: Any, error: Exception) -> BadArtifact:
    """The error for a value that does not pickle; it names the innermost part that does not."""
    place, culprit, cause = _culprit(path, value, error)
    where = f"{place} is {_described(culprit)}"
    where = f"{where} and cannot be stored" if place == path else f"{path} cannot be stored: {where}"
    return BadArtifact(f"{where}. {_remedy(culprit, cause)}")


def _culprit(path: str, value: Any, error: Exception) -> tuple[str, Any, Exception]:
    seen = {id(value)}
    looked = 0
    while True:
        for inner_path, inner in _parts(path, value):
            looked += 1
            if looked > _LOOK_AT:
                return path, value, error
            if id(inner) in seen:
                continue
            try:
                dump(inner)
            except Exception as inner_error:
                path, value, error = inner_path, inner, inner_error
                seen.add(id(inner))
                break
        else:
            return path, value, error


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (type, ModuleType)) or (callable(value) and hasattr(value, "__code__")):
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}[{key!r}]", item
        for key in value:
            yield f"key {key!r} of {path}", key
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield f"{path}[{i}]", item
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield f"an element of {path}", item
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        for name, item in attributes.items():
            yield f"{path}.{name}", item
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                yield f"{path}.{name}", getattr(value, name)


def _described(value: Any) -> str:
    if getattr(value, "__name__", "") == "<lambda>":
        return "a lambda"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    if hasattr(value, "__code__") and hasattr(value, "__qualname__"):
        return f"the function {value.__qualname__}"
    name = type_name(value)
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _remedy(value: Any, error: Exception) -> str:
    import io
    import types

    name = type_name(value)
    if isinstance(value, (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)):
        return "Keep its results instead, as list(...)."
    if isinstance(value, (types.FunctionType, types.MethodType, type)):
        return "Define it at the top of a module, where a later step can import it, or keep it in a local variable."
    if isinstance(value, ModuleType):
        return "Import the module in each step that uses it."
    if isinstance(value, io.IOBase):
        return "Keep the file's path or its content instead, and close it in this step."
    if isinstance(error, RecursionError):
        return "It is nested too deeply; keep it in a flat form, such as a list."
    if isinstance(error, MemoryError):
        return "There is not enough memory to pickle it."
    if name.startswith(("_thread.", "threading.", "multiprocessing.", "asyncio.", "queue.", "concurrent.")):
        return "Locks, threads and queues live in one process; use a local variable, or leave it out in __getstate__."
    if name.startswith(("socket.", "ssl.", "sqlite3.", "psycopg", "http.", "urllib3.", "requests.", "sqlalchemy.")):
        return "A connection lives in one process; keep what opens it (a path, a URL) and open it again in each step."
    text = str(error).strip().rstrip(".")
    return (
        f"({type(error).__name__}: {text}.) Keep it in a local variable, or give its class __getstate__ or __reduce__."
    )
