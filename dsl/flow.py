"""`FlowSpec`: the base of every flow, and what a step may do with ``self``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Optional

from .declarations import is_step
from .errors import BadTransition, MissingArtifact
from .parameters import Config, Parameter
from .plain import dataclass

_CONTEXT = "_flowc_context"

RESERVED = frozenset(["name", "next", "input", "index", "foreach_stack", "merge_artifacts", "script_name"])
"""Names that a flow cannot use for its steps, artifacts and parameters, because `FlowSpec` has them."""


@dataclass(frozen=True)
class Transition:
    """What one call of ``self.next`` asked for. ``cases`` is filled for a switch, where ``targets`` are its steps."""

    targets: tuple[str, ...]
    foreach: Optional[str] = None
    num_parallel: Any = None
    condition: Optional[str] = None
    cases: tuple[tuple[Any, str], ...] = ()


class TaskContext:
    """What stands behind ``self`` while a step runs. The runtime fills it in; outside a task there is none."""

    transition: Optional[Transition] = None

    def load(self, name: str) -> Any:
        """The artifact of that name from the steps before; raises `MissingArtifact`."""
        raise NotImplementedError

    def parameter(self, parameter: Parameter) -> Any:
        """The run's value of a flow parameter."""
        raise NotImplementedError

    def config(self, config: Config[Any]) -> Any:
        """The run's value of a config."""
        raise NotImplementedError

    def foreach_item(self) -> Any:
        """The item of the innermost foreach; None outside one."""
        raise NotImplementedError

    def foreach_index(self) -> Optional[int]:
        """The index in the innermost foreach or gang; None outside one."""
        raise NotImplementedError

    def foreach_stack(self) -> list[tuple[int, int, Any]]:
        """(index, width, item) of every enclosing foreach, outermost first."""
        raise NotImplementedError

    def merge(self, flow: FlowSpec, inputs: Sequence[Any], include: Iterable[str], exclude: Iterable[str]) -> None:
        """Carry the artifacts on which all inputs agree over to ``flow``."""
        raise NotImplementedError


class FlowSpec:
    """Base of every flow: a class whose methods marked ``@step`` are connected by ``self.next``.

    Every attribute that a step sets is an artifact, which later steps read as ``self.name``. A flow's file ends with::

        if __name__ == "__main__":
            MyFlow()

    so that ``python flow.py run`` works as ``flowc run flow.py`` does.
    """

    def __init__(self, use_cli: bool = True) -> None:
        if use_cli and type(self).__module__ == "__main__":
            _start_command_line(type(self))

    @property
    def name(self) -> str:
        """The flow's name."""
        return type(self).__name__

    @property
    def script_name(self) -> str:
        """The file name of the flow."""
        import os.path

        return os.path.basename(getattr(sys.modules[type(self).__module__], "__file__", None) or "")

    # What a step may do with self ------------------------------------------------------------------------------------

    @property
    def input(self) -> Any:
        """The item of the innermost foreach that this task works on; None outside a foreach."""
        return self._flowc_task().foreach_item()

    @property
    def index(self) -> Optional[int]:
        """The index of this task in the innermost foreach; None outside a foreach."""
        return self._flowc_task().foreach_index()

    def foreach_stack(self) -> list[tuple[int, int, Any]]:
        """(index, width, item) of every foreach around this task, outermost first."""
        return self._flowc_task().foreach_stack()

    def merge_artifacts(
        self, inputs: Sequence[Any], exclude: Optional[Iterable[str]] = None, include: Optional[Iterable[str]] = None
    ) -> None:
        """In a join: take over every artifact on which all inputs agree and that this step has not set itself.

        Parameters
        ----------
        inputs : sequence
            The inputs of the join.
        exclude, include : iterable of str, optional
            Names to leave out, or the only ones to take; not both.

        Raises
        ------
        MergeConflict
            If two inputs hold different values under one name.
        MissingArtifact
            If a name in ``include`` is in none of the inputs.
        """
        include, exclude = tuple(include or ()), tuple(exclude or ())
        if include and exclude:
            raise BadTransition("merge_artifacts takes include= or exclude=, not both")
        self._flowc_task().merge(self, inputs, include, exclude)

    def next(
        self,
        *targets: Any,
        foreach: Optional[str] = None,
        num_parallel: Any = None,
        condition: Optional[str] = None,
    ) -> None:
        """Say which steps follow; the last statement of every step but the one that ends the flow.

        ``next(self.a)``, ``next(self.a, self.b)``, ``next(self.a, foreach="items")``, ``next(self.a, num_parallel=4)``,
        ``next({"yes": self.a, "no": self.b}, condition="answer")``.
        """
        context = self._flowc_task()
        if context.transition is not None:
            raise BadTransition("self.next was called twice in one step; call it once, as the last statement")
        cases: tuple[tuple[Any, str], ...] = ()
        # A bound method is asked for first, since asking for a Mapping takes longer.
        if len(targets) == 1 and not hasattr(targets[0], "__func__") and isinstance(targets[0], Mapping):
            cases = tuple((key, self._flowc_step_name(value)) for key, value in targets[0].items())
            names = tuple(name for _, name in cases)
        else:
            names = tuple(map(self._flowc_step_name, targets))
        context.transition = Transition(names, foreach, num_parallel, condition, cases)

    # Machinery -------------------------------------------------------------------------------------------------------

    def _flowc_task(self) -> TaskContext:
        context: Optional[TaskContext] = self.__dict__.get(_CONTEXT)
        if context is None:
            raise BadTransition("this is only there while a step of a run is at work")
        return context

    def _flowc_input(self, parameter: Parameter) -> Any:
        return self._flowc_task().parameter(parameter)

    def _flowc_config(self, config: Config[Any]) -> Any:
        return self._flowc_task().config(config)

    def _flowc_step_name(self, target: Any) -> str:
        # By identity, not by __name__: a decorator without functools.wraps gives the wrapper's name to every step.
        function = getattr(target, "__func__", target)
        for cls in type(self).__mro__:
            for name, value in vars(cls).items():
                if value is function and is_step(value):
                    return name
        raise BadTransition(f"self.next was given {target!r}, which is not a step of {self.name}; write self.<step>")

    def __getattr__(self, name: str) -> Any:
        # Only called for what the instance does not have yet: an artifact of an earlier step, loaded on first use.
        if any(name in vars(cls) for cls in type(self).__mro__):
            # A property of the author's has failed with an AttributeError, which Python has dropped: ask it again.
            return object.__getattribute__(self, name)
        context: Optional[TaskContext] = self.__dict__.get(_CONTEXT)
        if context is None or (name.startswith("__") and name.endswith("__")):
            raise MissingArtifact(f"{type(self).__name__!r} has no attribute {name!r}")
        value = context.load(name)
        self.__dict__[name] = value
        return value


def steps_of(cls: type) -> dict[str, Callable[..., Any]]:
    """The step functions of a flow class by name: bases first, then source order."""
    found: dict[str, Callable[..., Any]] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if is_step(value):
                found[name] = value
            else:
                found.pop(name, None)
    return found


def inputs_of(cls: type) -> dict[str, Any]:
    """The `Parameter` (`IncludeFile`) and `Config` attributes of a flow class by attribute name, bases first."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, (Parameter, Config)):
                found[name] = value
            else:
                found.pop(name, None)
    return found


def class_artifacts(cls: type) -> dict[str, Any]:
    """Plain class attributes of a flow, which are artifacts from its first step on."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base in (object, FlowSpec):
            continue
        for name, value in vars(base).items():
            if (
                name.startswith("_")
                or callable(value)
                or hasattr(value, "__get__")
                or isinstance(value, (Parameter, Config))
            ):
                found.pop(name, None)
            else:
                found[name] = value
    return found


def _start_command_line(cls: type) -> None:
    # The command line lies above the DSL in the house; it is started from here as a program would be, by name.
    import importlib

    cli = importlib.import_module(f"{__package__.rpartition('.')[0]}.cli")
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None:
        raise SystemExit("flowc: a flow can be started from a file only, not from a prompt; put it into a .py file")
    sys.exit(cli.main_for_flow(file, cls.__name__))
