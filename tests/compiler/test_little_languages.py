"""Quantities and --with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flowc.compiler import compile_flow
from flowc.compiler.codes.code import whole_flow
from flowc.compiler.quantities import BadQuantity, cores, count, mebibytes, seconds
from flowc.compiler.with_specs import Word, parse

Writer = Callable[..., Path]


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (4096, 4096), ("4096", 4096), ("16Gi", 16384), ("16 GiB", 16384), ("500M", 477), ("512Mi", 512),
        ("1.5Gi", 1536),
        ("1T", 953675), ("1e3", 1000), ("1024Ki", 1), ("0.5", 1), (0, 0), (100.5, 101), ("2g", 1908),
    ],
)  # fmt: skip
def test_sizes(given: float | str, size: int) -> None:
    assert mebibytes(given) == size


@pytest.mark.parametrize(("given", "number"), [(2, 2), ("2", 2), ("0.5", 0.5), ("500m", 0.5), (1.25, 1.25)])
def test_cores(given: float | str, number: float) -> None:
    assert cores(given) == number


@pytest.mark.parametrize(("given", "number"), [(2, 2), ("2", 2), (2.0, 2)])
def test_counts(given: float | str, number: int) -> None:
    assert count(given) == number


@pytest.mark.parametrize(
    ("given", "time"), [(90, 90), ("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1 d", 86400)]
)
def test_times(given: float | str, time: float) -> None:
    assert seconds(given) == time


@pytest.mark.parametrize(
    ("read", "given"),
    [
        (mebibytes, "16 gigs"), (mebibytes, "Gi"), (mebibytes, ""), (mebibytes, "1 2"), (mebibytes, "inf"),
        (mebibytes, float("inf")), (cores, "2Gi"), (cores, float("nan")), (count, 0.5), (count, "1m"), (seconds, "1y"),
        (seconds, "soon"),
    ],
)  # fmt: skip
def test_what_is_no_quantity(read: Callable[[float | str], float], given: float | str) -> None:
    with pytest.raises(BadQuantity):
        read(given)


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("retry", "retry", {}),
        ("retry:", "retry", {}),
        ("retry:times=2,backoff=1", "retry", {"times": Word("2"), "backoff": Word("1")}),
        ("kubernetes:image=a/b:1.2,cpu=4", "kubernetes", {"image": Word("a/b:1.2"), "cpu": Word("4")}),
        ("slurm:time=01:30:00", "slurm", {"time": Word("01:30:00")}),
        ('kubernetes:image="a,b"', "kubernetes", {"image": "a,b"}),
        ("kubernetes:image='it\\'s'", "kubernetes", {"image": "it's"}),
        ("x:a=[1, two, \"3\"]", "x", {"a": [Word("1"), Word("two"), "3"]}),
        ("x:a={A: 1, 'B': [c]},d=e f", "x", {"a": {"A": Word("1"), "B": [Word("c")]}, "d": Word("e f")}),
        ("x:a=[],b={}", "x", {"a": [], "b": {}}),
    ],
)  # fmt: skip
def test_with_specs(text: str, name: str, options: dict[str, object]) -> None:
    assert parse(text) == (name, options)


@pytest.mark.parametrize(
    "text", ["", "2x", "retry:times", "retry:times=", "retry:=2", "retry times=2", "x:a=[1", "x:a=1,a=2"]
)
def test_broken_with_specs(text: str) -> None:
    with pytest.raises(ValueError, match=r"goes wrong at character|twice|end"):
        parse(text)


FLOW = """
@retry(times=1)
@step
def start(self):
    self.items = [1]
    self.next(self.work, foreach="items")

@step
def work(self):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
"""


def test_with_gives_a_decorator_to_the_steps_that_lack_it(write_flow: Writer) -> None:
    file = str(write_flow(whole_flow(FLOW)))
    specs = ["retry:times=5,minutes_between_retries=0", "resources:memory=2Gi,cpu=3", "environment:vars={N: 4}"]
    plan = compile_flow(file, with_specs=specs).require()
    assert {step.name: step.retry and step.retry.times for step in plan.steps} == {
        "start": 1,
        "work": 5,
        "join": 5,
        "end": 5,
    }
    assert all(step.resources.memory == 2048 and step.resources.cpu == 3 for step in plan.steps)
    assert all(step.env == {"N": "4"} for step in plan.steps)


def test_with_catch_passes_over_steps_that_cannot_have_it(write_flow: Writer) -> None:
    plan = compile_flow(str(write_flow(whole_flow(FLOW))), with_specs=["catch:var=problem"]).require()
    assert [step.name for step in plan.steps if step.catch] == ["work", "join", "end"]


def test_with_repeatable_decorators_adds(write_flow: Writer) -> None:
    text = whole_flow("@secrets(sources=['a'])\n@step\ndef start(self):\n    self.next(self.end)\n")
    plan = compile_flow(str(write_flow(text)), with_specs=["secrets:sources=[b]"]).require()
    assert [feature.options["sources"] for feature in plan["start"].features] == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ("retry:times=", "FC010", "goes wrong"),
        ("rety", "FC011", "no decorator @rety"),
        ("torchrun", "FC011", "gang"),
        ("schedule:daily=true", "FC011", "flow class"),
        ("retry:tims=2", "FC201", "tims"),
        ("retry:times=many", "FC202", "whole number"),
        ("retry:times=-1", "FC203", "out of range"),
        ("resources:memory=lots", "FC204", "lots"),
    ],
)
def test_with_mistakes(spec: str, code: str, words: str, write_flow: Writer) -> None:
    result = compile_flow(str(write_flow(whole_flow(FLOW))), with_specs=[spec])
    assert result.plan is None
    (item,) = result.diagnostics
    assert (item.code, item.span) == (code, None)
    assert words in item.message


def test_configs_from_files_and_values(write_flow: Writer, tmp_path: Path) -> None:
    text = whole_flow(
        'one = Config("one", default="one.json")\ntwo = Config("two", required=True)\n'
        'three = Config("three", default_value="{\\"a\\": 1}")\n'
        'four = Config("four", parser=lambda t: {"lines": t.split()})\n'
        'five = Config("five", default=lambda ctx: ctx.flow_name + ".json")\nsix = Config("six")\n'
    )
    file = str(write_flow(text))
    (tmp_path / "one.json").write_text('{"x": 1}')
    (tmp_path / "four.txt").write_text("a b")
    (tmp_path / "MyFlow.json").write_text("[1]")
    result = compile_flow(file, config_files={"four": str(tmp_path / "four.txt")}, config_values={"two": '{"y": 2}'})
    assert result.require().configs == {
        "one": {"x": 1}, "two": {"y": 2}, "three": {"a": 1}, "four": {"lines": ["a", "b"]}, "five": [1], "six": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "given", "code", "words"),
    [
        ('a = Config("a")', {"b": "1"}, "FC312", "'b'"),
        ('a = Config("a")', {"a": "{"}, "FC311", "not JSON"),
        ('a = Config("a", parser=lambda t: 1 / 0)', {"a": "x"}, "FC311", "ZeroDivisionError"),
        ('a = Config("a", parser=lambda t: {1, 2})', {"a": "x"}, "FC311", "plain data"),
        ('a = Config("a", parser="nowhere.parse")', {"a": "x"}, "FC311", "nowhere"),
        ('a = Config("a", default=3)', {}, "FC311", "no path"),
        ('a = Config("a", default="a.json", default_value={})', {"a": "{}"}, "FC314", "two defaults"),
        ('a = Config("a", default_value=lambda: 1 / 0)', {}, "FC311", "ZeroDivisionError"),
    ],
)
def test_config_mistakes(source: str, given: dict[str, str], code: str, words: str, write_flow: Writer) -> None:
    (item,) = compile_flow(str(write_flow(whole_flow(source))), config_values=given).diagnostics
    assert item.code == code and item.span is not None
    assert words in item.message
