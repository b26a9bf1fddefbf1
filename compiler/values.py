"""Data classes without generated code.

``dataclass`` writes and compiles the methods of every class when its module is imported; for the classes of the
compiler that alone would take longer than compiling a flow. These share their methods and need nothing but the list of
fields. They are data classes in every other respect: ``fields`` and ``replace`` work on them.
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        return lambda function: function


T = TypeVar("T")

__all__ = ["field", "record", "value"]


@dataclass_transform(field_specifiers=(field,), eq_default=False)
def record(cls: type[T]) -> type[T]:
    """A class whose objects hold fields and are equal to themselves only."""
    dataclass(init=False, repr=False, eq=False)(cls)
    cls.__init__ = _init  # type: ignore[method-assign]
    fields = cls.__dataclass_fields__  # type: ignore[attr-defined]
    own = [item for item in fields.values() if item._field_type.name == "_FIELD"]
    cls._flowc_fields = (  # type: ignore[attr-defined]
        tuple(item.name for item in own),
        {item.name: item.default for item in own if item.default is not MISSING},
        {item.name: item.default_factory for item in own if item.default_factory is not MISSING},
    )
    return cls


@dataclass_transform(field_specifiers=(field,), frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """A class whose objects cannot be changed and are equal where their fields are."""
    record(cls)
    cls.__eq__ = _eq  # type: ignore[method-assign]
    cls.__hash__ = _hash  # type: ignore[method-assign]
    cls.__repr__ = _repr  # type: ignore[method-assign]
    cls.__setattr__ = _setattr  # type: ignore[method-assign]
    cls.__delattr__ = _delattr  # type: ignore[method-assign]
    return cls


def _init(self: Any, *args: Any, **given: Any) -> None:
    names, defaults, factories = self._flowc_fields
    values = self.__dict__
    if len(args) > len(names):
        raise TypeError(f"{type(self).__name__} takes {len(names)} values, not {len(args)}")
    values.update(zip(names, args))
    twice = values.keys() & given.keys()
    if twice:
        raise TypeError(f"{type(self).__name__} got two values for {', '.join(sorted(twice))}")
    values.update(given)
    if len(values) < len(names) or given:
        for name in names:
            if name not in values:
                if name in defaults:
                    values[name] = defaults[name]
                elif name in factories:
                    values[name] = factories[name]()
                else:
                    raise TypeError(f"{type(self).__name__} lacks a value for {name}")
        if len(values) > len(names):
            unknown = ", ".join(sorted(values.keys() - set(names)))
            raise TypeError(f"{type(self).__name__} has no field {unknown}")


def _eq(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return self.__dict__ == other.__dict__


def _hash(self: Any) -> int:
    names = self._flowc_fields[0]
    values = self.__dict__
    return hash((type(self), *[values[name] for name in names]))


def _repr(self: Any) -> str:
    values = self.__dict__
    return f"{type(self).__name__}({', '.join(f'{name}={values[name]!r}' for name in self._flowc_fields[0])})"


def _setattr(self: Any, name: str, value: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
