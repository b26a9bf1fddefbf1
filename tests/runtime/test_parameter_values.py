"""Values of parameters: what texts and Python values mean, and what is wrong with those that mean nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flowc import Config, FlowSpec, IncludeFile, JSONType, Parameter, config_expr, step
from flowc.compiler.plan import End, Plan
from flowc.compiler.plan import Parameter as Planned
from flowc.runtime.parameters import IncludedFile, ParameterError, parameter_values
from plans import plan, task
from task_lab import Lab


class F(FlowSpec):
    pass


def of(*parameters: Planned, **more: Any) -> Plan:
    return plan(task("start", End()), parameters=parameters, **more)


def value(parameter: Planned, given: Any, folder: str = ".") -> Any:
    return parameter_values(F, of(parameter).to_json(), {parameter.name: given}, folder)[parameter.name]


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("str", "a b", "a b"),
        ("str", "", ""),
        ("str", 5, "5"),
        ("int", "5", 5),
        ("int", " -7 ", -7),
        ("int", "1_000", 1000),
        ("int", 5, 5),
        ("int", np.int32(5), 5),
        ("float", "1e-3", 0.001),
        ("float", "5", 5.0),
        ("float", 5, 5.0),
        ("float", "inf", float("inf")),
        ("float", np.float32(0.5), 0.5),
        ("bool", "true", True),
        ("bool", "Yes", True),
        ("bool", "1", True),
        ("bool", "FALSE", False),
        ("bool", "no", False),
        ("bool", "0", False),
        ("bool", True, True),
        ("bool", 0, False),
        ("json", '{"a": [1, null]}', {"a": [1, None]}),
        ("json", "3", 3),
        ("json", {"a": (1, 2)}, {"a": [1, 2]}),
    ],
)
def test_values(kind: Any, given: Any, expected: Any) -> None:
    got = value(Planned("p", kind), given)
    assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("int", "5.0", "'5.0' is not a whole number"),
        ("int", "", "'' is not a whole number"),
        ("int", 5.5, "5.5 is not a whole number"),
        ("int", True, "True is not a whole number"),
        ("float", "half", "'half' is not a number"),
        ("float", [], r"\[\] is not a number"),
        ("bool", "maybe", "'maybe' is not true or false"),
        ("bool", 2, "2 is not true or false"),
        ("json", "{a: 1}", r"is not JSON \(Expecting property name"),
        ("json", object, "is not JSON"),
        ("str", [1], "is not text"),
        ("file", "absent.txt", "cannot read the file .*absent.txt: No such file"),
        ("file", 3.5, "3.5 is not the path of a file"),
    ],
)
def test_ill_typed_values(kind: Any, given: Any, said: str) -> None:
    with pytest.raises(ParameterError, match=f"parameter p: .*{said}"):
        value(Planned("p", kind), given)


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [("str", "a,b,,c", ["a", "b", "", "c"]), ("str", "", []), ("int", "1,2", [1, 2]), ("str", ["x", "y"], ["x", "y"])],
)
def test_lists(kind: Any, given: Any, expected: Any) -> None:
    assert value(Planned("p", kind, separator=","), given) == expected


def test_bad_lists() -> None:
    with pytest.raises(ParameterError, match="'x' is not a whole number"):
        value(Planned("p", "int", separator=","), "1,x")
    with pytest.raises(ParameterError, match="3 is not text with parts split by ','"):
        value(Planned("p", separator=","), 3)


def test_all_problems_at_once() -> None:
    planned = of(Planned("alpha", "int"), Planned("needed", "float", required=True), Planned("kept", default="x"))
    with pytest.raises(ParameterError) as caught:
        parameter_values(F, planned.to_json(), {"alpha": "one", "alhpa": "1", "zzz": "1"}, ".")
    assert caught.value.problems == (
        "flow F has no parameter alhpa; did you mean alpha?",
        "flow F has no parameter zzz; it has alpha, needed, kept",
        "parameter alpha: 'one' is not a whole number",
        "parameter needed: a value is required; give it with --needed float",
    )


def test_a_flow_without_parameters() -> None:
    assert parameter_values(F, of().to_json(), {}, ".") == {}
    with pytest.raises(ParameterError, match="has no parameter x; it has none"):
        parameter_values(F, of().to_json(), {"x": 1}, ".")


def test_names_with_dashes() -> None:
    assert parameter_values(F, of(Planned("learning-rate")).to_json(), {"learning_rate": "x"}, ".") == {
        "learning-rate": "x"
    }


def test_defaults() -> None:
    planned = of(
        Planned("a", "int", default=3),
        Planned("b", "float", default=1),
        Planned("c"),
        Planned("d", "json", default='{"x": 1}'),
        Planned("e", "json", default={"x": 2}),
        Planned("f", default="x,y", separator=","),
        Planned("g", "bool", default=False),
        Planned("h", "json", default="plain"),
    )
    assert parameter_values(F, planned.to_json(), {"a": "4"}, ".") == {
        "a": 4, "b": 1.0, "c": None, "d": {"x": 1}, "e": {"x": 2}, "f": ["x", "y"], "g": False, "h": "plain",
    }  # fmt: skip


def test_defaults_that_the_flow_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWC_USER", "ann")

    class G(FlowSpec):
        who = Parameter("who", default=lambda context: f"{context.user_name} in {context.flow_name}")
        size = Parameter("size_", type=int, default=lambda context: len(context.parameter_name))
        made = Parameter("made", type=JSONType, default=lambda context: {"a": 1})
        setting = Parameter("setting", type=int, default=config_expr("c.n + 1"))

    planned = of(
        Planned("who", computed=True),
        Planned("size_", "int", computed=True, attribute="size"),
        Planned("made", "json", computed=True),
        Planned("setting", "int", computed=True),
        name="G",
        configs={"c": {"n": 4}},
    )
    assert parameter_values(G, planned.to_json(), {}, ".") == {
        "who": "ann in G",
        "size_": 5,
        "made": {"a": 1},
        "setting": 5,
    }


@pytest.mark.parametrize(
    ("default", "said"),
    [
        (lambda context: 1 / 0, "its default could not be computed: ZeroDivisionError: division by zero"),
        (lambda: 1, "could not be computed: TypeError"),
        (lambda context: "many", "'many' is not a whole number"),
    ],
)
def test_defaults_that_fail(default: Any, said: str) -> None:
    class G(FlowSpec):
        p = Parameter("p", type=int, default=default)

    with pytest.raises(ParameterError, match=said):
        parameter_values(G, of(Planned("p", "int", computed=True)).to_json(), {}, ".")


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flow").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "flow/data.txt").write_text("beside the flow")
    (tmp_path / "here/data.txt").write_text("here")
    monkeypatch.chdir(tmp_path / "here")
    planned = of(Planned("text", "file", default="data.txt")).to_json()
    default = parameter_values(F, planned, {}, str(tmp_path / "flow"))["text"]
    given = parameter_values(F, planned, {"text": "data.txt"}, str(tmp_path / "flow"))["text"]
    assert isinstance(default, IncludedFile) and isinstance(given, IncludedFile)
    assert (default.data, given.data) == (b"beside the flow", b"here")
    with pytest.raises(ParameterError, match="cannot read the file"):
        parameter_values(F, planned, {}, str(tmp_path))


# As a step sees them --------------------------------------------------------------------------------------------------


class Given(FlowSpec):
    rate = Parameter("learning-rate", type=float, default=0.1)
    table = Parameter("table", type=JSONType)
    names = Parameter("names", separator=",")
    text = IncludeFile("text")
    raw = IncludeFile("raw", is_text=False)
    absent = IncludeFile("absent")
    settings = Config("settings")

    @step
    def start(self):
        self.table["changed"] = True
        self.seen = (self.rate, self.table, self.names, self.text, self.raw, self.absent)
        self.deep = (self.settings.model.layers, self.settings["model"]["layers"], dict(self.settings))
        with pytest.raises(AttributeError, match="is a parameter of the flow and cannot be assigned"):
            self.rate = 3
        with pytest.raises(AttributeError, match="is a config of the flow"):
            self.settings = 3


def test_a_step_reads_them(tmp_path: Path) -> None:
    planned = of(name="Given", configs={"settings": {"model": {"layers": 3}}})
    values = {
        "learning-rate": 0.5,
        "table": {"a": 1},
        "names": ["x", "y"],
        "text": IncludedFile("t", "größer".encode()),
        "raw": IncludedFile("r", b"\0\xff"),
        "absent": None,
    }
    lab = Lab(tmp_path, planned, Given, values)
    lab.done("start")
    assert lab.value("start", "seen") == (0.5, {"a": 1, "changed": True}, ["x", "y"], "größer", b"\0\xff", None)
    assert lab.value("start", "deep") == (3, 3, {"model": {"layers": 3}})
    assert set(lab.values("start")) == {"seen", "deep"}, "parameters belong to the run, not to its records"
    assert lab.run.parameters["table"] == {"a": 1}


def test_a_flow_that_has_changed_since_the_run_began(tmp_path: Path) -> None:
    lab = Lab(tmp_path, of(name="Given", configs={}), Given, {"table": {}})
    lab.task("start", code=2)
    assert "was started without a parameter 'learning-rate'; the flow has changed since" in lab.err
    lab = Lab(
        tmp_path,
        of(name="Given"),
        Given,
        {"learning-rate": 1, "table": {}, "names": [], "text": None, "raw": None, "absent": None},
    )
    lab.task("start", code=2)
    assert "was started without a config 'settings'" in lab.err
