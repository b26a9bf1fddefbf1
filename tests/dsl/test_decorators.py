"""Decorators are declarations: they keep what was written and change nothing else."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import flowc
import pytest
from flowc.dsl import decorators as decorators_module
from flowc.dsl.declarations import Declared, Decorator, declared_on, is_step, step, step_options
from flowc.dsl.decorators import BY_LABEL, FRAMEWORKS, SPECIFICATIONS, Card, Catch, Resources, Retry, Schedule

DECORATORS = {name: value for name, value in vars(decorators_module).items() if isinstance(value, Decorator)}


def test_every_specification_has_a_decorator_that_flows_can_import() -> None:
    by_spec = {decorator.spec: name for name, decorator in DECORATORS.items()}
    assert set(by_spec) == set(SPECIFICATIONS)
    for name, decorator in DECORATORS.items():
        assert getattr(flowc, name) is decorator and name in flowc.__all__
        assert name in (decorator.spec.label, *decorator.spec.aliases)
        assert repr(decorator) == f"@{decorator.spec.label}" and decorator.__doc__
    assert set(BY_LABEL) == set(DECORATORS)
    assert set(FRAMEWORKS) <= set(SPECIFICATIONS)


@pytest.mark.parametrize("spec", SPECIFICATIONS)
def test_options_and_their_defaults(spec: Any) -> None:
    defaults = spec.defaults()
    assert list(defaults) == [field.name for field in fields(spec)]
    assert MISSING not in defaults.values(), "every decorator can be written without options"
    assert spec.on in ("step", "flow") and spec.label and spec.__doc__


def test_defaults_that_users_rely_on() -> None:
    assert Retry.defaults() == {"times": 3, "minutes_between_retries": 2, "backoff": 1}
    assert Catch.defaults() == {"var": None, "print_exception": True}
    assert set(Resources.defaults()) == {"cpu", "gpu", "memory", "disk", "shared_memory"}
    first, second = Schedule.defaults(), BY_LABEL["environment"].defaults()
    assert first["cron"] is None and second["vars"] == {}
    second["vars"]["x"] = "1"
    assert BY_LABEL["environment"].defaults()["vars"] == {}, "a default is nobody's to change"


@pytest.mark.parametrize(
    ("attach", "given", "positional"),
    [
        (lambda f: flowc.retry(f), {}, ()),
        (lambda f: flowc.retry()(f), {}, ()),
        (lambda f: flowc.retry(times=4)(f), {"times": 4}, ()),
        (lambda f: flowc.retry(4)(f), {}, (4,)),
        (lambda f: flowc.retry(tmies=4)(f), {"tmies": 4}, ()),
    ],
)
def test_what_was_written_is_kept_unchecked(attach: Any, given: Any, positional: Any) -> None:
    def function() -> str:
        return "untouched"

    assert attach(function) is function and function() == "untouched"
    assert declared_on(function) == [Declared(Retry, given, positional)]


def test_the_order_is_that_of_the_source() -> None:
    @flowc.card(id="a")
    @flowc.retry
    @flowc.card(id="b")
    @step
    def function() -> None: ...

    assert [declared.spec for declared in declared_on(function)] == [Card, Retry, Card]
    assert [declared.given.get("id") for declared in declared_on(function)] == ["a", None, "b"]


def test_a_class_does_not_write_into_its_base() -> None:
    @flowc.project(name="one")
    class Base: ...

    @flowc.schedule(daily=True)
    class Derived(Base): ...

    assert [declared.spec.label for declared in declared_on(Base)] == ["project"]
    assert [declared.spec.label for declared in declared_on(Derived)] == ["schedule"]


def test_steps() -> None:
    @step
    def plain() -> int:
        return 1

    @step(start=True)
    def first() -> int:
        return 2

    def other() -> None: ...

    assert (plain(), first()) == (1, 2)
    assert is_step(plain) and is_step(first) and not is_step(other) and not is_step(3)
    assert (step_options(plain), step_options(first), step_options(other)) == ({}, {"start": True}, {})


def test_a_plain_decorator_below_step_stays_a_step() -> None:
    def loud(function: Any) -> Any:
        def wrapper(self: Any) -> str:
            return "loud " + function(self)

        return wrapper

    @flowc.retry
    @step
    @loud
    def function(self: Any) -> str:
        return "body"

    assert is_step(function) and function(None) == "loud body"
    assert [declared.spec for declared in declared_on(function)] == [Retry]
