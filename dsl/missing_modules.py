"""Stand-ins for modules that a flow imports but this machine lacks, so that it can still be checked and compiled.

Only imports made by the flow's own files are stood in for, and only where the author did not provide for their absence
with ``try: import ... except ImportError``.
"""

from __future__ import annotations

import ast
import importlib.machinery
import os
import sys
from abc import ABCMeta
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, Optional

from .flow import FlowSpec

_VERSION = "9999.0.0"
_NUMBER = 9999
_NOWHERE = os.path.join(os.sep, "not-installed")
_ERRORS = ("Error", "Exception", "Warning", "Interrupt")
_OWN = "_stand_in_name"


class StandIn(ABCMeta):
    """Takes every attribute, call, index, operator and subclass, and does nothing.

    A stand-in is a class, so that it can be a base, a type in a hint and a clause of ``except``; ABCMeta, so that it
    goes together with ABCs. Classes that the author derives from one are ordinary, with a base that takes everything.
    """

    def __new__(
        mcs, name: str, bases: Optional[tuple[type, ...]] = None, body: Optional[dict[str, Any]] = None, **options: Any
    ) -> Any:
        if bases is None:
            kinds: tuple[type, ...] = (_Anything, Exception) if name.endswith(_ERRORS) else (_Anything,)
            module, _, own = name.rpartition(".")
            return super().__new__(mcs, own, kinds, {_OWN: name, "__module__": module or name})
        if any(issubclass(base, FlowSpec) for base in bases):
            real = tuple(base for base in bases if not stands_in(base))
            if not any(isinstance(base, StandIn) for base in real):
                return type(real[0])(name, real, body or {}, **options)
        return super().__new__(mcs, name, bases, body or {}, **options)

    def __init__(cls, name: str, bases: Any = None, body: Any = None, **options: Any) -> None:
        pass

    def __getattribute__(cls, name: str) -> Any:
        if name in ("mro", "register") and stands_in(cls):
            return StandIn.__getattr__(cls, name)  # not those of Python's classes
        return super().__getattribute__(name)

    def __getattr__(cls, name: str) -> Any:
        known = _dunder(name, _name_of(cls))
        if known is not None:
            return known
        made = StandIn(f"{_name_of(cls)}.{name}")
        if stands_in(cls):
            type.__setattr__(cls, name, made)
        return made

    def __setattr__(cls, name: str, value: Any) -> None:
        if name.startswith("_") or not stands_in(cls):
            super().__setattr__(name, value)

    def __delattr__(cls, name: str) -> None:
        if not stands_in(cls):
            super().__delattr__(name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if not stands_in(cls) or issubclass(cls, Exception):
            return super().__call__(*args, **kwargs)
        return _call(cls, *args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return (stands_in(cls) and stands_in(instance)) or super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: Any) -> bool:
        return (stands_in(cls) and stands_in(subclass)) or super().__subclasscheck__(subclass)

    def __repr__(cls) -> str:
        if stands_in(cls):
            return f"<stand-in for {_name_of(cls)}, which is not installed here>"
        return super().__repr__()


def stands_in(value: Any) -> bool:
    """Whether a value is a stand-in itself; classes that the author derived from one are not."""
    return isinstance(value, type) and issubclass(type(value), StandIn) and _OWN in vars(value)


def missing_module(value: Any) -> Optional[str]:
    """The module that is not installed here and that a value comes from; None where there is none."""
    if isinstance(value, _StandInModule):
        return value.__name__.partition(".")[0]
    cls = value if isinstance(value, type) else type(value)
    if issubclass(type(cls), StandIn):
        for base in cls.__mro__:
            if stands_in(base) and base is not _Anything:
                return _name_of(base).partition(".")[0]
    return None


def _name_of(cls: type) -> str:
    name: str = vars(cls).get(_OWN, cls.__name__)
    return name


def _dunder(name: str, owner: str) -> Any:
    """What is known of Python's own names; None for all others."""
    if name == "__version__":
        return _VERSION
    if name == "__file__":
        return os.path.join(_NOWHERE, *owner.split("."), "__init__.py")
    if (name.startswith("__") and name.endswith("__")) or name.startswith("_flowc"):
        raise AttributeError(name)
    return None


# What stand-ins and objects of classes derived from them have in common ----------------------------------------------


def _same(self: Any, *args: Any, **kwargs: Any) -> Any:
    return self


def _nothing(self: Any, *args: Any, **kwargs: Any) -> None:
    return None


def _call(self: Any, *args: Any, **kwargs: Any) -> Any:
    # As a decorator it must give the function back, or the flow's own steps would vanish behind it.
    if len(args) == 1 and not stands_in(args[0]):
        given = args[0]
        if isinstance(given, (type, staticmethod, classmethod, property)) or hasattr(given, "__code__"):
            return given
    return self


def _iterate(self: Any) -> Iterator[Any]:
    # ``train, test = module.load()``: as many as the line takes apart.
    frame = sys._getframe(1)
    code, at = frame.f_code.co_code, frame.f_lasti
    if 0 <= at < len(code) - 1:
        from opcode import opname

        instruction, count = opname[code[at]], code[at + 1]
        if instruction in ("UNPACK_SEQUENCE", "UNPACK_EX"):
            return iter([self] * count)
    return iter(())


def _above(self: Any, other: Any) -> bool:
    return not isinstance(other, (int, float)) or other < _NUMBER


def _below(self: Any, other: Any) -> bool:
    return isinstance(other, (int, float)) and other > _NUMBER


def _path(self: Any) -> str:
    return os.path.join(_NOWHERE, *_name_of(self if isinstance(self, type) else type(self)).split("."))


_BINARY = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor")
_METHODS: dict[str, Any] = {
    **{f"__{kind}{name}__": _same for name in _BINARY for kind in ("", "r", "i")},
    **dict.fromkeys(("__neg__", "__pos__", "__abs__", "__invert__", "__round__", "__floor__", "__ceil__"), _same),
    **dict.fromkeys(("__trunc__", "__getitem__", "__enter__", "__next__", "__aenter__"), _same),
    **dict.fromkeys(("__setitem__", "__delitem__", "__exit__"), _nothing),
    **dict.fromkeys(("__gt__", "__ge__"), _above),
    **dict.fromkeys(("__lt__", "__le__"), _below),
    "__divmod__": lambda self, other: (self, self),
    "__rdivmod__": lambda self, other: (self, self),
    "__iter__": _iterate,
    "__reversed__": _iterate,
    "__contains__": lambda self, item: False,
    "__len__": lambda self: 0,
    "__bool__": lambda self: True,
    # Not 0: open() takes whatever has an index for the number of an open file, and 0 would read what is typed.
    "__index__": lambda self: -1,
    "__int__": lambda self: 1,
    "__float__": lambda self: 1.0,
    "__complex__": lambda self: 1 + 0j,
    "__format__": lambda self, form: str(self),
    "__fspath__": _path,
}
for _name, _method in _METHODS.items():
    setattr(StandIn, _name, _method)


class _Anything(metaclass=StandIn):
    """The base of every stand-in: what objects of a class derived from one can do."""

    _stand_in_name = "a module"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)

    def __init_subclass__(cls, **options: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        known = _dunder(name, type(self).__name__)
        return StandIn(f"{missing_module(self) or type(self).__name__}.{name}") if known is None else known

    __call__ = _call
    locals().update(_METHODS)


class _StandInModule(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = [os.path.join(_NOWHERE, *name.split("."))]

    def __getattr__(self, name: str) -> Any:
        known = _dunder(name, self.__name__)
        if known is None:
            known = StandIn(f"{self.__name__}.{name}")
            setattr(self, name, known)
        return known

    __call__ = _call  # a function of the name of a submodule


class _Finder:
    # Not derived from the classes of importlib.abc: importing that module takes longer than loading a flow.
    def __init__(self, folder: str, names: list[tuple[str, str, int]]) -> None:
        self.folder = os.path.join(folder, "")
        self.names = names
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
def stand_ins(folder: str, names: list[tuple[str, str, int]]) -> Iterator[None]:
    """While this is open, files below ``folder`` may import modules that are not installed.

    ``names`` takes (module, importing file, line) of each that was stood in for, as imports happen.
    """
    finder = _Finder(folder, names)
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
