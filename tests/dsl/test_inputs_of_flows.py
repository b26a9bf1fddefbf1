"""Parameters, files and configs as class attributes."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from flowc import Config, FlowSpec, IncludeFile, JSONType, Parameter, config_expr, step
from flowc.dsl.flow import class_artifacts, inputs_of
from flowc.dsl.parameters import ConfigExpr, ConfigValue, plain, resolve


class Base(FlowSpec):
    rate = Parameter("learning-rate", default=0.1, help="how fast")
    kept = Parameter("kept")
    settings = Config("settings", default_value={"a": {"b": [1, 2]}, "n": 3})
    size = 3


class Derived(Base):
    rate = IncludeFile("rates", is_text=False)
    kept = 5  # type: ignore[assignment]
    names = ["a"]
    _hidden = 1

    @staticmethod
    def helper() -> None: ...

    @property
    def computed(self) -> int:
        return 1

    class Inner: ...

    @step
    def start(self) -> None: ...


def test_what_a_flow_declares() -> None:
    assert list(inputs_of(Base)) == ["rate", "kept", "settings"]
    found = inputs_of(Derived)
    assert set(found) == {"rate", "settings"} and found["rate"].name == "rates"
    assert class_artifacts(Base) == {"size": 3}
    assert class_artifacts(Derived) == {"size": 3, "kept": 5, "names": ["a"]}


def test_on_the_class_they_stand_for_themselves() -> None:
    assert isinstance(Base.rate, Parameter) and Base.rate.attribute == "rate" and Base.rate.name == "learning-rate"
    assert repr(Base.rate) == "Parameter('learning-rate')" and repr(JSONType) == "JSONType"
    assert isinstance(Base.settings, Config)


def test_they_cannot_be_assigned_to() -> None:
    flow = Base(use_cli=False)
    with pytest.raises(AttributeError, match="'rate' is a parameter of the flow and cannot be assigned to"):
        flow.rate = 1
    with pytest.raises(AttributeError, match="'settings' is a config of the flow"):
        flow.settings = {}  # type: ignore[assignment]


def test_unknown_options_are_kept_for_the_compiler() -> None:
    assert Parameter("p", defualt=3).unknown == {"defualt": 3}
    assert IncludeFile("p", defualt=3).unknown == {"defualt": 3}
    assert Config("c", defualt=3).unknown == {"defualt": 3}


# Configs --------------------------------------------------------------------------------------------------------------

CONFIGS = {"settings": {"a": {"b": [1, 2]}, "n": 3, "title": "x"}}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (Base.settings.n, 3),
        (Base.settings["n"], 3),
        (Base.settings.a.b[1], 2),
        (Base.settings.a, {"b": [1, 2]}),
        (Base.settings.title.upper(), "X"),
        (config_expr("settings.n * 2 + len(settings.a.b)"), 8),
        (config_expr("settings['title'] + '!'"), "x!"),
        (Base.settings, CONFIGS["settings"]),
        ([Base.settings.n, {"deep": (Base.settings.title,)}], [3, {"deep": ("x",)}]),
        ("plain", "plain"),
    ],
)
def test_resolving(expression: Any, expected: Any) -> None:
    got = resolve(expression, CONFIGS)
    assert got == expected and type(got) is type(expected)


def test_expressions_say_what_they_are() -> None:
    assert repr(Base.settings.a.b[0]) == "<config expression settings.a.b[0]>"
    assert isinstance(config_expr("x"), ConfigExpr)
    with pytest.raises(AttributeError):
        Base.settings._private


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        (Base.settings.m, AttributeError),
        (config_expr("settings.n +"), SyntaxError),
        (config_expr("other.x"), NameError),
    ],
)
def test_expressions_that_cannot_be_worked_out(expression: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        resolve(expression, CONFIGS)


def test_a_configs_value() -> None:
    value = ConfigValue(CONFIGS["settings"])
    assert (value.n, value["n"], value.a.b, len(value), list(value), "n" in value) == (
        3,
        3,
        [1, 2],
        3,
        ["a", "n", "title"],
        True,
    )
    with pytest.raises(TypeError, match="cannot be changed"):
        value.n = 4
    with pytest.raises(AttributeError, match="the config has no 'm'; it has a, n, title"):
        value.m
    with pytest.raises(KeyError):
        value["m"]
    assert pickle.loads(pickle.dumps(value)) == value
    copy = value.to_dict()
    copy["a"]["b"].append(3)
    assert value.a.b == [1, 2] and plain(value) == CONFIGS["settings"] and plain(3) == 3
    assert eval(repr(value)) == value


def test_reading_a_configs_text() -> None:
    assert Config("c").parse('{"a": 1}') == {"a": 1}
    assert Config("c", parser=lambda text: {"text": text}).parse("x") == {"text": "x"}
    assert Config("c", parser="json.loads").parse("[1]") == [1]
    with pytest.raises(json.JSONDecodeError):
        Config("c").parse("{")
