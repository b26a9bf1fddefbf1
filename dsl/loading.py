"""Loading a flow's file as a module.

A flow is loaded under its own module name, with its folder (of a package: the folder above the outermost package) on
``sys.path``, so that helper modules beside it import and its classes pickle under one name in every process. While
flowc loads flows, ``import metaflow`` gives flowc unless FLOWC_METAFLOW=keep is set.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Optional

from . import metaflow_names, missing_modules
from .flow import FlowSpec, steps_of


@dataclass(frozen=True)
class LoadedFile:
    """A flow's file, imported.

    Attributes
    ----------
    module : module
        What the file defines.
    file : str
        Absolute path of the file.
    missing : tuple of (str, str, int)
        Modules that are not installed and were stood in for: name, importing file, line.
    """

    module: ModuleType
    file: str
    missing: tuple[tuple[str, str, int], ...] = ()

    @property
    def folder(self) -> str:
        """The folder of the flow's file."""
        return os.path.dirname(self.file)

    def flows(self) -> list[type[FlowSpec]]:
        """Flow classes that the file defines, in source order, without those that only serve as bases of others."""
        defined = [
            value
            for value in vars(self.module).values()
            if isinstance(value, type) and issubclass(value, FlowSpec) and value.__module__ == self.module.__name__
        ]
        distinct = list(dict.fromkeys(defined))
        leaves = [cls for cls in distinct if not any(cls in other.__mro__[1:] for other in distinct)]
        return [cls for cls in leaves if steps_of(cls)] or leaves

    def flow(self, name: str) -> Optional[type[FlowSpec]]:
        """The flow class of that name in the file, also where another one is derived from it."""
        value = getattr(self.module, name, None)
        return value if isinstance(value, type) and issubclass(value, FlowSpec) and value is not FlowSpec else None


def module_name(file: str) -> tuple[str, str]:
    """The name under which a file is imported, and the folder that must be on ``sys.path`` for it.

    A file inside a package gets its dotted name. A file whose name another module already has (``random.py``), or
    that is no identifier, gets the name ``flow_<stem>``.
    """
    folder, base = os.path.split(os.path.abspath(file))
    stem = base[:-3] if base.endswith(".py") else base
    parts = [stem]
    while os.path.exists(os.path.join(folder, "__init__.py")) and os.path.basename(folder).isidentifier():
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    name = ".".join(parts)
    if len(parts) == 1 and (not stem.isidentifier() or _taken(stem, file)):
        name = "flow_" + "".join(char if char.isalnum() else "_" for char in stem)
    return name, folder


def _taken(stem: str, file: str) -> bool:
    if stem in sys.builtin_module_names or stem in getattr(sys, "stdlib_module_names", ()):
        return True
    if stem == "flowc" or stem == "metaflow":
        return True
    module = sys.modules.get(stem)
    if module is None:
        return False
    origin = getattr(module, "__file__", None)
    return origin is None or os.path.abspath(origin) != os.path.abspath(file)


def load_file(file: str, *, stand_in: bool = False) -> LoadedFile:
    """Import a flow's file.

    Parameters
    ----------
    file : str
        Path of the file.
    stand_in : bool
        Let modules that are not installed be imported by the flow's own files all the same, as objects that take
        everything and do nothing: enough to compile a flow on a machine without its training stack. Never for runs.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    Exception
        Whatever the file raises while it is imported, SyntaxError included.
    """
    file = os.path.abspath(file)
    if not os.path.isfile(file):
        raise FileNotFoundError(file)
    name, folder = module_name(file)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    metaflow_names.install()
    already = sys.modules.get(name)
    if already is not None and os.path.abspath(getattr(already, "__file__", None) or "") == file:
        return LoadedFile(already, file)
    with missing_modules.stand_ins(folder) if stand_in else _nothing() as missing:
        if "." in name:
            module = importlib.import_module(name)
        else:
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                sys.modules.pop(name, None)
                raise
    return LoadedFile(module, file, tuple(missing))


@contextmanager
def _nothing() -> Iterator[list[tuple[str, str, int]]]:
    yield []
