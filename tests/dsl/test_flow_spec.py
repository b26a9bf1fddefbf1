"""``FlowSpec``: what a step may do with ``self``, without any runtime behind it."""

from __future__ import annotations

from typing import Any

import pytest
from flowc import FlowSpec, MissingArtifact, Parameter, step
from flowc.dsl.errors import BadTransition, CaughtFailure, FlowcError
from flowc.dsl.flow import _CONTEXT, RESERVED, TaskContext, Transition, steps_of


class Context(TaskContext):
    """A context that notes what it is asked."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def load(self, name: str) -> Any:
        self.loaded.append(name)
        if name == "absent":
            raise MissingArtifact("no such thing")
        return f"value of {name}"

    def parameter(self, parameter: Parameter) -> Any:
        return f"parameter {parameter.name}"

    def merge(self, flow: FlowSpec, inputs: Any, include: Any, exclude: Any) -> None:
        self.merged = (inputs, include, exclude)

    def foreach_item(self) -> Any:
        return "item"

    def foreach_index(self) -> int:
        return 4

    def foreach_stack(self) -> list[tuple[int, int, Any]]:
        return [(4, 5, "item")]


class Flow(FlowSpec):
    """A flow."""

    rate = Parameter("learning-rate")

    @step
    def start(self): ...

    @step
    def a(self): ...

    @step
    def b(self): ...

    def helper(self): ...


@pytest.fixture
def flow() -> Flow:
    made = Flow(use_cli=False)
    made.__dict__[_CONTEXT] = Context()
    return made


def context(flow: Flow) -> Any:
    return flow.__dict__[_CONTEXT]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda f: f.next(f.a), Transition(("a",))),
        (lambda f: f.next(f.a, f.b), Transition(("a", "b"))),
        (lambda f: f.next(f.a, foreach="xs"), Transition(("a",), foreach="xs")),
        (lambda f: f.next(f.a, num_parallel=4), Transition(("a",), num_parallel=4)),
        (
            lambda f: f.next({"x": f.a, 2: f.b}, condition="c"),
            Transition(("a", "b"), condition="c", cases=(("x", "a"), (2, "b"))),
        ),
    ],
)
def test_next(flow: Flow, call: Any, expected: Transition) -> None:
    call(flow)
    assert context(flow).transition == expected
    with pytest.raises(BadTransition, match="called twice"):
        call(flow)


@pytest.mark.parametrize("target", ["a", None, 3, len])
def test_next_to_what_is_no_step(flow: Flow, target: Any) -> None:
    with pytest.raises(BadTransition, match=r"which is not a step of Flow; write self\.<step>"):
        flow.next(target)
    with pytest.raises(BadTransition, match="not a step of Flow"):
        flow.next(flow.helper)


def test_steps_whose_wrapper_has_another_name() -> None:
    def unnamed(function: Any) -> Any:
        def wrapper(self: Any) -> None: ...

        return wrapper

    class Wrapped(FlowSpec):
        @step
        @unnamed
        def start(self): ...

        @step
        @unnamed
        def end(self): ...

    flow = Wrapped(use_cli=False)
    flow.__dict__[_CONTEXT] = made = Context()
    flow.next(flow.end)
    assert made.transition == Transition(("end",))


def test_artifacts_are_loaded_once(flow: Flow) -> None:
    assert flow.x == "value of x" and flow.x == "value of x"
    assert context(flow).loaded == ["x"]
    flow.y = 3
    assert flow.y == 3 and context(flow).loaded == ["x"]
    assert not hasattr(flow, "absent") and getattr(flow, "absent", 7) == 7
    assert not hasattr(flow, "__fspath__"), "what Python itself asks for is no artifact"


def test_the_rest_of_self(flow: Flow) -> None:
    assert (flow.input, flow.index, flow.foreach_stack()) == ("item", 4, [(4, 5, "item")])
    assert (flow.rate, flow.name) == ("parameter learning-rate", "Flow")
    assert flow.script_name == "test_flow_spec.py"
    flow.merge_artifacts([1], include=["a"])
    assert context(flow).merged == ([1], ("a",), ())
    flow.merge_artifacts([1], ["b"])
    assert context(flow).merged == ([1], (), ("b",))
    with pytest.raises(BadTransition, match="include= or exclude=, not both"):
        flow.merge_artifacts([1], include=["a"], exclude=["b"])


def test_outside_a_task() -> None:
    flow = Flow(use_cli=False)
    for ask in (lambda: flow.input, lambda: flow.rate, lambda: flow.next(flow.a), flow.foreach_stack):
        with pytest.raises(BadTransition, match="only there while a step of a run is at work"):
            ask()
    with pytest.raises(MissingArtifact, match="'Flow' has no attribute 'x'"):
        flow.x


def test_steps_of_derived_flows() -> None:
    class Derived(Flow):
        @step
        def a(self): ...

        b = None  # type: ignore[assignment]

        @step
        def c(self): ...

    found = steps_of(Derived)
    assert list(found) == ["start", "a", "c"]
    assert found["a"] is Derived.a and found["start"] is Flow.start


def test_reserved_names_are_those_that_the_base_has() -> None:
    assert {name for name in vars(FlowSpec) if not name.startswith("_")} == RESERVED


def test_errors() -> None:
    assert issubclass(MissingArtifact, AttributeError) and issubclass(MissingArtifact, FlowcError)
    failure = CaughtFailure("ValueError", "no", "trace")
    assert (str(failure), failure.type, failure.message, failure.traceback) == (
        "ValueError: no",
        "ValueError",
        "no",
        "trace",
    )
    import pickle

    back = pickle.loads(pickle.dumps(failure))
    assert (back.type, back.message, back.traceback) == ("ValueError", "no", "trace")
    assert (back.exception, back.type, back.stacktrace) == ("no", "ValueError", "trace"), "Metaflow's names for them"


class Settings:
    pass


class WithProperties(Flow):
    count = 0

    @property
    def broken(self) -> Any:
        type(self).count += 1
        return Settings().absent_option  # type: ignore[attr-defined]

    @property
    def reads(self) -> Any:
        return self.absent

    @property
    def nested(self) -> Any:
        return self.broken


@pytest.mark.parametrize("inside", [True, False])
def test_an_error_inside_a_property_comes_out_as_itself(inside: bool) -> None:
    import traceback

    flow = WithProperties(use_cli=False)
    if inside:
        flow.__dict__[_CONTEXT] = Context()
    for name in ("broken", "nested"):
        with pytest.raises(AttributeError, match="'Settings' object has no attribute 'absent_option'") as caught:
            getattr(flow, name)
        assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "broken"
        assert not isinstance(caught.value, MissingArtifact)
    with pytest.raises(MissingArtifact, match="no such thing" if inside else "no attribute 'absent'"):
        flow.reads
    assert not hasattr(flow, "broken")
    if inside:
        assert context(flow).loaded == ["absent"] * len(context(flow).loaded)
