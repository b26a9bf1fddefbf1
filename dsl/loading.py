"""Loading a flow's file as a module.

A flow is loaded under its own module name, with its folder (of a package: the folder above the outermost package) on
``sys.path``, so that helper modules beside it import and its classes pickle under one name in every process. A link to
a file stands for the file itself, as it does for Python. While flowc loads flows, ``import metaflow`` gives flowc
unless FLOWC_METAFLOW=keep is set.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import Optional

from . import metaflow_names
from .flow import FlowSpec, steps_of
from .plain import dataclass


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
    folder, base = os.path.split(_known_path(file))
    stem = base[:-3] if base.endswith(".py") else base
    parts = [stem]
    while os.path.exists(os.path.join(folder, "__init__.py")) and os.path.basename(folder).isidentifier():
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    name = ".".join(parts)
    if len(parts) == 1 and (not stem.isidentifier() or _taken(stem, file)):
        name = "flow_" + "".join(char if char.isalnum() else "_" for char in stem)
    return name, folder


def _known_path(file: str) -> str:
    """The path of a file without links, by which it is the same file however it is named.

    Kubernetes mounts links into a folder whose name begins with two dots and changes with every mount, which nobody
    should see in a traceback.
    """
    path = os.path.realpath(file)
    return os.path.abspath(file) if any(part.startswith("..") for part in path.split(os.sep)) else path


def _taken(stem: str, file: str) -> bool:
    if stem in ("flowc", "metaflow") or stem in sys.builtin_module_names or _of_python(stem):
        return True
    module = sys.modules.get(stem)
    if module is None:
        return False
    origin = getattr(module, "__file__", None)
    return origin is None or os.path.realpath(origin) != os.path.realpath(file)


def _of_python(stem: str) -> bool:
    names = getattr(sys, "stdlib_module_names", None)
    if names is not None:
        return stem in names
    library = os.path.dirname(os.__file__)  # Python 3.9 has no list of its modules
    return os.path.exists(os.path.join(library, f"{stem}.py")) or os.path.isdir(os.path.join(library, stem))


def _put_on_path(name: str, folder: str, file: str) -> None:
    if name == f"flow_{os.path.basename(file)[:-3]}" and os.path.basename(file)[:-3].isidentifier():
        # Before the others, the folder would put the flow's file in the place of the module whose name it has.
        sys.path[:] = [path for path in sys.path if os.path.realpath(path) != folder] + [folder]
    elif folder not in sys.path:
        sys.path.insert(0, folder)
        _folders.add(folder)


_folders: set[str] = set()
"""What was put before everything else on ``sys.path``."""


@contextmanager
def without_flows_folders() -> Iterator[None]:
    """Import what is not the flow's: beside it may lie a file with the name of one of Python's modules."""
    before = list(sys.path)
    sys.path[:] = [path for path in before if path not in _folders]
    try:
        yield
    finally:
        sys.path[:] = before


_ASK_NVML = ("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
"""Lets ``torch.cuda.is_available()``, which flows ask while they are imported, do without CUDA: a process that is
forked after CUDA was asked can use no device. Source: https://docs.pytorch.org/docs/stable/cuda_environment_variables.html."""


def load_file(file: str, *, stand_in: bool = False, missing: Optional[list[tuple[str, str, int]]] = None) -> LoadedFile:
    """Import a flow's file.

    Parameters
    ----------
    file : str
        Path of the file.
    stand_in : bool
        Let modules that are not installed be imported by the flow's own files all the same, as objects that take
        everything and do nothing: enough to compile a flow on a machine without its training stack. Never for runs.
    missing : list, optional
        Takes what was stood in for, also where the file does not load.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    Exception
        Whatever the file raises while it is imported, SyntaxError included.
    """
    file = _known_path(file)
    if not os.path.isfile(file):
        raise FileNotFoundError(file)
    name, folder = module_name(file)
    _put_on_path(name, folder, file)
    metaflow_names.install()
    os.environ.setdefault(*_ASK_NVML)
    already = sys.modules.get(name)
    if already is not None and _known_path(getattr(already, "__file__", None) or "") == file:
        return LoadedFile(already, file)
    missing = [] if missing is None else missing
    with _stand_ins(folder, missing) if stand_in else nullcontext():
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


def _stand_ins(folder: str, missing: list[tuple[str, str, int]]) -> AbstractContextManager[None]:
    # Tasks, which never need it, are spared its import.
    from . import missing_modules

    return missing_modules.stand_ins(folder, missing)
