"""What a decorator of the DSL is: a declaration that the compiler reads. By itself it does nothing.

A decorator keeps what the author wrote, unchecked, beside the function or class. The compiler turns it into its
specification, so that a wrong option is one diagnostic among all the others and not an exception while importing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from .plain import dataclass, field

T = TypeVar("T")

STEP_MARK = "__flowc_step__"
DECLARED = "__flowc_declared__"


class Specification:
    """Base of every decorator's specification: a frozen dataclass whose fields are the options, with their defaults.

    Attributes
    ----------
    label : str
        How users write the decorator, without ``@``.
    aliases : tuple of str
        Other names for the same thing.
    repeatable : bool
        Whether one step or flow may carry it more than once.
    on : {"step", "flow"}
        Where it belongs.
    """

    label: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    repeatable: ClassVar[bool] = False
    on: ClassVar[str] = "step"

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Every option with its default; ``dataclasses.MISSING`` marks one that must be given."""
        from dataclasses import MISSING, fields

        out: dict[str, Any] = {}
        for f in fields(cls):  # type: ignore[arg-type]
            out[f.name] = f.default if f.default_factory is MISSING else f.default_factory()
        return out


@dataclass(frozen=True)
class Declared:
    """One use of a decorator: its specification and what was written between the parentheses."""

    spec: type[Specification]
    given: Mapping[str, Any] = field(default_factory=dict)
    positional: tuple[Any, ...] = ()


class Decorator:
    """A decorator as users import it: ``@retry``, ``@retry()`` and ``@retry(times=4)`` are all meant."""

    def __init__(self, spec: type[Specification]) -> None:
        self.spec = spec
        self.__doc__ = spec.__doc__
        self.__name__ = spec.label

    def __call__(self, *positional: Any, **given: Any) -> Any:
        if len(positional) == 1 and not given and callable(positional[0]):
            return _attach(positional[0], Declared(self.spec))
        declared = Declared(self.spec, given, positional)

        def attach(target: T) -> T:
            return _attach(target, declared)

        return attach

    def __repr__(self) -> str:
        return f"@{self.spec.label}"


def _attach(target: T, declared: Declared) -> T:
    # Outermost first, as in the source. A class must not write into the list of its base class.
    setattr(target, DECLARED, [declared, *vars(target).get(DECLARED, ())])
    return target


def declared_on(target: object) -> list[Declared]:
    """The decorators of a step function, or of a flow class itself (not of its bases), outermost first."""
    return list(vars(target).get(DECLARED, ()))


class _Step:
    """Mark a method of a `FlowSpec` as a step; ``@step(start=True)`` and ``@step(end=True)`` name the flow's ends."""

    __name__ = "step"

    def __call__(self, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        def mark(function: Callable[..., Any]) -> Callable[..., Any]:
            setattr(function, STEP_MARK, options)
            return function

        return mark if function is None else mark(function)


step = _Step()


def is_step(value: object) -> bool:
    """Whether a class attribute is a step."""
    return callable(value) and hasattr(value, STEP_MARK)


def step_options(function: object) -> dict[str, Any]:
    """What was written in ``@step(...)``."""
    return dict(getattr(function, STEP_MARK, {}))
