"""``import metaflow`` inside a flow that flowc loads: the same names, given by flowc."""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Optional

_KEEP_VARIABLE = "FLOWC_METAFLOW"
_FLOWC = __name__.rsplit(".", 2)[0]  # __package__ is not set yet where Python 3.9 imports from a zip


class _Inert:
    """A report component: it takes everything and shows nothing yet."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


_CARDS = ("Artifact", "Error", "Image", "Markdown", "MetaflowCard", "ProgressBar", "PythonCode", "Table",
          "ValueBox", "VegaChart")  # fmt: skip


class _Names(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _, _, inner = self.__name__.partition(".")
        if inner == "cards" and name in _CARDS:
            return _Inert
        flowc = importlib.import_module(_FLOWC)
        if inner == "exception" and name == "MetaflowException":
            return flowc.FlowcError
        if not inner and name in flowc.__all__:
            return getattr(flowc, name)
        raise AttributeError(f"flowc stands in for metaflow here and has no {self.__name__}.{name}")


class _Finder:
    # Not derived from the classes of importlib.abc: importing that module takes longer than loading a flow.
    def find_spec(
        self, name: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if name in ("metaflow", "metaflow.cards", "metaflow.exception"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = _Names(spec.name)
        if spec.name == "metaflow":
            module.__all__ = list(importlib.import_module(_FLOWC).__all__)  # type: ignore[attr-defined]
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


_finder = _Finder()


def install() -> None:
    """From now on ``import metaflow`` gives flowc's names, unless FLOWC_METAFLOW=keep or it was imported before."""
    if os.environ.get(_KEEP_VARIABLE) != "keep" and "metaflow" not in sys.modules and _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def fallback(name: str) -> Optional[importlib.machinery.ModuleSpec]:
    """How to import ``metaflow`` where nothing else gives it; None for other modules, and with FLOWC_METAFLOW=keep.

    For the file that ``flowc metaflow on`` puts among an environment's packages.
    """
    if os.environ.get(_KEEP_VARIABLE) == "keep":
        return None
    if name != "metaflow" and not isinstance(sys.modules.get("metaflow"), _Names):
        return None  # a part that the installed Metaflow does not have
    return _finder.find_spec(name)
