"""Stand-ins for modules that a flow imports but this machine lacks, so that it can still be checked and compiled.

Only imports made by the flow's own files are stood in for, and only where the author did not provide for their absence
with ``try: import ... except ImportError``.
"""

from __future__ import annotations

import ast
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, Optional


class StandIn:
    """Takes every attribute, call, index and subclass, and does nothing."""

    def __init__(self, name: str) -> None:
        self.__dict__["_name"] = name

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            return "0.0.0"
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self._name}.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # As a decorator it must give the function back, or the flow's own steps would vanish behind it.
        if len(args) == 1 and not kwargs and (isinstance(args[0], type) or hasattr(args[0], "__code__")):
            return args[0]
        return self

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (object,) if not any(isinstance(base, type) for base in bases) else ()

    def __getitem__(self, key: Any) -> Any:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *details: Any) -> None:
        return None

    def __or__(self, other: Any) -> Any:
        return self

    __ror__ = __or__

    def __repr__(self) -> str:
        return f"<stand-in for {self._name}, which is not installed here>"


class _StandInModule(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        return getattr(StandIn(self.__name__), name)


class _Finder:
    # Not derived from the classes of importlib.abc: importing that module takes longer than loading a flow.
    def __init__(self, folder: str) -> None:
        self.folder = os.path.join(folder, "")
        self.names: list[tuple[str, str, int]] = []
        self.roots: set[str] = set()

    def find_spec(
        self, name: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        root = name.partition(".")[0]
        if "." in name:
            wanted = root in self.roots
        else:
            place = self._importer()
            wanted = place is not None
            if place is not None:
                self.roots.add(root)
                self.names.append((name, *place))
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if wanted else None  # type: ignore[arg-type]

    def _importer(self) -> Optional[tuple[str, int]]:
        frame = sys._getframe(2)
        while frame is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back  # type: ignore[assignment]
        if frame is None:
            return None
        file = os.path.abspath(frame.f_code.co_filename)
        if not file.startswith(self.folder) or "site-packages" in file or not os.path.isfile(file):
            return None
        return None if frame.f_lineno in _guarded_lines(file) else (file, frame.f_lineno)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandInModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


@cache
def _guarded_lines(file: str) -> frozenset[int]:
    """Lines inside a ``try`` whose handlers take an ImportError."""
    with open(file, "rb") as source:
        tree = ast.parse(source.read())
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any(_takes_import_error(handler.type) for handler in node.handlers):
            for statement in node.body:
                lines.update(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    return frozenset(lines)


def _takes_import_error(caught: Optional[ast.expr]) -> bool:
    if caught is None:
        return True
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    wanted = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
    return any(isinstance(name, ast.Name) and name.id in wanted for name in names)


@contextmanager
def stand_ins(folder: str) -> Iterator[list[tuple[str, str, int]]]:
    """While this is open, files below ``folder`` may import modules that are not installed.

    Yields the list of (module, importing file, line) that were stood in for; it fills up as imports happen.
    """
    finder = _Finder(folder)
    sys.meta_path.append(finder)
    try:
        yield finder.names
    finally:
        sys.meta_path.remove(finder)
