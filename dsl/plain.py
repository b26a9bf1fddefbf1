"""`dataclasses.dataclass` for classes that every task imports: the same, as far as they need it, and much cheaper.

The library's own imports ``inspect``, and compiles half a dozen functions for each class: a good part of what a small
task takes in a process of its own. Here one function is compiled for each class. What looks at the fields afterwards
(``dataclasses.fields``, ``replace``, ``asdict``) finds the library's own objects, made when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
else:
    import sys
    from operator import attrgetter

    _OWN = "__flowc_fields__"
    _NONE = object()

    class FrozenError(AttributeError):
        """A field of a frozen class was set."""

    class _Field:
        def __init__(self, default=_NONE, default_factory=None, init=True, repr=True, compare=True):
            self.default = default
            self.default_factory = default_factory
            self.init, self.repr, self.compare = init, repr, compare

        def of_the_library(self, dataclasses):
            options = {"init": self.init, "repr": self.repr, "compare": self.compare}
            if self.default_factory is not None:
                return dataclasses.field(default_factory=self.default_factory, **options)
            if self.default is not _NONE:
                return dataclasses.field(default=self.default, **options)
            return dataclasses.field(**options)

    class _FromTheLibrary:
        """An attribute of dataclasses that is worked out when it is asked for."""

        def __init__(self, name):
            self.name = name

        def __get__(self, instance, owner):
            import dataclasses

            holder = next(cls for cls in owner.__mro__ if _OWN in cls.__dict__)
            found = getattr(holder, _OWN)
            listed = [(name, kind, each.of_the_library(dataclasses)) for name, (kind, each) in found.items()]
            made = dataclasses.make_dataclass(holder.__name__, listed, frozen="__delattr__" in holder.__dict__)
            for name in ("__dataclass_fields__", "__dataclass_params__"):
                setattr(holder, name, getattr(made, name))
            return getattr(made, self.name)

    def field(*, default=_NONE, default_factory=None, init=True, repr=True, compare=True):
        """As `dataclasses.field`."""
        return _Field(default, default_factory, init, repr, compare)

    def dataclass(cls=None, *, init=True, repr=True, eq=True, order=False, frozen=False):
        """As `dataclasses.dataclass`."""

        def made(cls):
            return _made(cls, init, repr, eq, order, frozen)

        return made if cls is None else made(cls)

    def _made(cls, init, repr, eq, order, frozen):
        fields = {}
        for base in reversed(cls.__mro__[1:]):
            fields.update(base.__dict__.get(_OWN, {}))
        annotations = cls.__dict__.get("__annotations__")  # noqa: RUF063 (no other module is to be imported)
        if annotations is None:
            annotations = cls.__annotations__ if sys.version_info >= (3, 10) else {}
        for name, annotation in annotations.items():
            if annotation.startswith("ClassVar"):
                continue
            value = cls.__dict__.get(name, _NONE)
            if isinstance(value, _Field):
                if value.default is not _NONE:
                    setattr(cls, name, value.default)
                else:
                    delattr(cls, name)
            else:
                value = _Field(value)
            fields[name] = annotation, value
        setattr(cls, _OWN, fields)
        for name in ("__dataclass_fields__", "__dataclass_params__"):
            setattr(cls, name, _FromTheLibrary(name))
        if init:
            cls.__init__ = _init(cls, fields, frozen)
        if repr:
            cls.__repr__ = _repr([name for name, (_, each) in fields.items() if each.repr])
        if eq:
            key = _key([name for name, (_, each) in fields.items() if each.compare])
            cls.__eq__ = _compared(key, "__eq__")
            cls.__hash__ = (lambda self: hash(key(self))) if frozen else None
            if order:
                for name in ("__lt__", "__le__", "__gt__", "__ge__"):
                    setattr(cls, name, _compared(key, name))
        if frozen:
            cls.__setattr__ = cls.__delattr__ = _refuse
        return cls

    def _init(cls, fields, frozen):
        names = {"_set": object.__setattr__, "_none": _NONE}
        given, lines = [], []
        for name, (_, each) in fields.items():
            value = name
            if each.default_factory is not None:
                names[f"_make_{name}"] = each.default_factory
                value = f"_make_{name}()"
                if each.init:
                    given.append(f"{name}=_none")
                    value = f"{value} if {name} is _none else {name}"
            elif each.default is not _NONE:
                names[f"_default_{name}"] = each.default
                given.append(f"{name}=_default_{name}")
            else:
                given.append(name)
            lines.append(f" _set(self, {name!r}, {value})" if frozen else f" self.{name} = {value}")
        if hasattr(cls, "__post_init__"):
            lines.append(" self.__post_init__()")
        exec(f"def __init__({', '.join(['self', *given])}):\n" + ("\n".join(lines) or " pass"), names)  # noqa: S102
        names["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
        return names["__init__"]

    def _repr(names):
        def __repr__(self):
            values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
            return f"{type(self).__qualname__}({values})"

        return __repr__

    def _key(names):
        if len(names) == 1:
            get = attrgetter(names[0])
            return lambda self: (get(self),)
        return attrgetter(*names) if names else lambda self: ()

    def _compared(key, name):
        compare = getattr(tuple, name)

        def compared(self, other):
            if other.__class__ is not self.__class__:
                return NotImplemented
            return compare(key(self), key(other))

        compared.__name__ = name
        return compared

    def _refuse(self, name, value=None):
        raise FrozenError(f"cannot change field {name!r}")
