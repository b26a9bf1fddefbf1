"""Parameters, files, configs and class attributes, from the command line to the steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_target import Local, Target

pytestmark = pytest.mark.slow

WriteFlow = Callable[..., Path]

TYPED = """
from DSL import FlowSpec, JSONType, Parameter, step

class TypedFlow(FlowSpec):
    text = Parameter("text", default="word")
    count = Parameter("count", default=3)
    rate = Parameter("rate", default=0.5)
    flag = Parameter("flag", default=False)
    typed = Parameter("typed", type=int)
    data = Parameter("data", type=JSONType, default='{"a": [1, null]}')
    words = Parameter("words", separator=",", default="x,y")
    dashed = Parameter("with-dash", default="d")
    other_name = Parameter("known_as", default=1)

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        self.all = (self.text, self.count, self.rate, self.flag, self.typed, self.data, self.words, self.dashed,
                    self.other_name)

if __name__ == "__main__":
    TypedFlow()
"""


@pytest.mark.parametrize("dsl", ["flowc", "metaflow"])
def test_defaults(dsl: str, target: Target, write_flow: WriteFlow) -> None:
    run = target.run(write_flow(TYPED, dsl=dsl))
    assert run.artifact("end", "all") == ("word", 3, 0.5, False, None, {"a": [1, None]}, ["x", "y"], "d", 1)


def test_given_values(target: Target, write_flow: WriteFlow) -> None:
    given = {
        "text": "two words", "count": "-4", "rate": "1e-3", "flag": "true", "typed": "7", "data": "[1, {}]",
        "words": "p,q,r", "with-dash": "e", "known_as": "2",
    }  # fmt: skip
    run = target.run(write_flow(TYPED), params=given)
    expected = ("two words", -4, 0.001, True, 7, [1, {}], ["p", "q", "r"], "e", 2)
    assert run.artifact("end", "all") == expected
    assert [type(value) for value in run.artifact("end", "all")] == [type(value) for value in expected]
    assert run.info["parameters"]["count"] == -4
    assert "count" not in run.record("end").artifacts, "parameters belong to the run, not to records"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--count", "three"], "count"),
        (["--rate", "fast"], "rate"),
        (["--flag", "perhaps"], "flag"),
        (["--data", "{not json"], "data"),
        (["--cuont", "3"], "count"),
    ],
)
def test_wrong_values_are_refused_before_anything_runs(
    given: list[str], said: str, target: Local, write_flow: WriteFlow
) -> None:
    finished = target.command("run", str(write_flow(TYPED)), "--datastore", str(target.root), *given)
    assert finished.returncode == 2
    assert said in finished.stderr
    assert "Traceback" not in finished.said
    assert not list(target.root.glob("TypedFlow/*/run.json"))


def test_a_required_parameter_must_be_given(target: Local, write_flow: WriteFlow) -> None:
    file = write_flow(TYPED.replace('"typed", type=int', '"typed", type=int, required=True'))
    finished = target.command("run", str(file), "--datastore", str(target.root))
    assert finished.returncode == 2
    assert "typed" in finished.stderr and "Traceback" not in finished.said
    run = target.run(file, params={"typed": 5})
    assert run.artifact("end", "all")[4] == 5


def test_computed_defaults(target: Target, write_flow: WriteFlow) -> None:
    text = TYPED.replace('default="word"', "default=lambda context: context.flow_name + '/' + context.parameter_name")
    assert target.run(write_flow(text)).artifact("end", "all")[0] == "TypedFlow/text"
    assert target.run(write_flow(text), params={"text": "given"}).artifact("end", "all")[0] == "given"


def test_a_computed_default_that_fails_is_the_users_error(target: Local, write_flow: WriteFlow) -> None:
    file = write_flow(TYPED.replace('default="word"', "default=lambda context: 1 / 0"))
    finished = target.command("run", str(file), "--datastore", str(target.root))
    assert finished.returncode == 2
    assert "text" in finished.stderr and "ZeroDivisionError" in finished.stderr


def test_a_parameter_cannot_be_assigned_to(target: Target, write_flow: WriteFlow) -> None:
    file = write_flow(
        TYPED.replace(
            "self.next(self.end)", "self.__class__\n        setattr(self, 'cou' + 'nt', 4)\n        self.next(self.end)"
        )
    )
    run = target.run(file, expect="failed")
    assert "'count' is a parameter" in run.finished.said


FILES = """
from DSL import Config, FlowSpec, IncludeFile, config_expr, environment, step

class FilesFlow(FlowSpec):
    note = IncludeFile("note", default="note.txt")
    raw = IncludeFile("raw", is_text=False, default="raw.bin")
    config = Config("config", default="config.json")
    more = Config("more", default_value={"deep": {"er": 5}})

    @environment(vars={"SIZE": config_expr("str(config.size * 2)"), "NAME": config.label})
    @step
    def start(self):
        import os
        self.env = os.environ["SIZE"], os.environ["NAME"]
        self.next(self.end)

    @step
    def end(self):
        self.all = (self.note, self.raw, self.config.label, self.config["size"], self.more.deep.er)

if __name__ == "__main__":
    FilesFlow()
"""


def write_files_flow(folder: Path, write_flow: WriteFlow) -> Path:
    """A flow with the files that it reads, all in one folder."""
    (folder / "note.txt").write_text("größer\n", encoding="utf-8")
    (folder / "raw.bin").write_bytes(b"\0\xff\n")
    (folder / "config.json").write_text(json.dumps({"label": "here", "size": 4}))
    return write_flow(FILES)


@pytest.fixture
def files_flow(tmp_path: Path, write_flow: WriteFlow) -> Path:
    return write_files_flow(tmp_path, write_flow)


def test_files_and_configs(target: Target, files_flow: Path) -> None:
    run = target.run(files_flow)
    assert run.artifact("end", "all") == ("größer\n", b"\0\xff\n", "here", 4, 5)
    assert run.artifact("start", "env") == ("8", "here")


def test_a_config_is_a_dictionary_that_cannot_be_changed(target: Target, files_flow: Path) -> None:
    checks = """
        assert isinstance(self.config, dict) and json.loads(json.dumps(self.config)) == self.config
        assert self.more.list[0].name == "a" and self.more["list"][1] == 2
        for change in (lambda: self.config.update(size=5), lambda: setattr(self.config, "size", 5)):
            try:
                change()
            except TypeError as error:
                assert "cannot be changed" in str(error)
            else:
                raise AssertionError("it was changed")
        changed = {**self.config, "size": 5}
        self.kept, self.size = self.more, changed["size"] - self.config.size
"""
    text = files_flow.read_text().replace('{"deep": {"er": 5}}', '{"deep": {"er": 5}, "list": [{"name": "a"}, 2]}')
    files_flow.write_text(text.replace("        self.all =", f"        import json\n{checks}\n        self.all ="))
    run = target.run(files_flow)
    assert (run.artifact("end", "size"), run.artifact("end", "kept").deep.er) == (1, 5)


def test_configs_are_artifacts_of_every_task(target: Target, files_flow: Path) -> None:
    import flowc

    # One of them looks like what stands for the content of an IncludeFile.
    target.run(files_flow, options=["--config-value", "more", '{"file": {"size": 1}, "deep": {"er": 2}}'])
    found = flowc.Flow("FilesFlow", datastore=str(target.root)).latest_run
    assert found["start"].task.data.config.label == "here" and found.data.more.file.size == 1
    more = found["end"].task["more"]
    assert more.data["file"] == {"size": 1} and more.type == "config" and more.size > 10
    assert {"config", "more", "note"} <= {artifact.id for artifact in found["end"].task}


def test_files_and_configs_given(target: Target, files_flow: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("x" * 5000)
    (tmp_path / "other.json").write_text('{"label": "there", "size": 1}')
    run = target.run(
        files_flow,
        params={"note": tmp_path / "other.txt"},
        options=["--config", "config", str(tmp_path / "other.json"), "--config-value", "more", '{"deep": {"er": 6}}'],
    )
    assert run.artifact("end", "all") == ("x" * 5000, b"\0\xff\n", "there", 1, 6)
    assert run.artifact("start", "env") == ("2", "there")


def test_a_file_is_kept_with_the_run(target: Target, files_flow: Path, tmp_path: Path) -> None:
    text = files_flow.read_text().replace("self.all =", "assert self.note != 'bad'\n        self.all =")
    files_flow.write_text(text)
    (tmp_path / "note.txt").write_text("bad")
    failed = target.run(files_flow, expect="failed")
    (tmp_path / "note.txt").write_text("good")
    files_flow.write_text(text.replace("assert self.note != 'bad'", "pass"))
    # The resumed run works on what the run it resumes was started with.
    assert target.resume(failed).artifact("end", "all")[0] == "bad"


def test_a_missing_file_is_named(target: Local, files_flow: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").unlink()
    finished = target.command("run", str(files_flow), "--datastore", str(target.root))
    assert finished.returncode == 2
    assert "note.txt" in finished.stderr and "Traceback" not in finished.said


CLASS_VALUES = '''
from DSL import FlowSpec, step

class ClassFlow(FlowSpec):
    """A flow with values of its own."""

    limit = 3
    table = {"a": 1}

    @step
    def start(self):
        self.seen = (self.limit, dict(self.table))
        self.limit = 4
        self.next(self.middle, foreach="seen")

    @step
    def middle(self):
        self.seen = (self.limit, self.table, self.input)
        self.table = {"b": self.index}
        self.next(self.join)

    @step
    def join(self, inputs):
        self.seen = ([(i.limit, i.table) for i in inputs], self.limit, self.table)
        self.merge_artifacts(inputs, exclude=["table", "seen"])
        self.next(self.end)

    @step
    def end(self):
        self.seen = (self.limit, self.table)

if __name__ == "__main__":
    ClassFlow()
'''


def test_class_attributes_are_artifacts_from_the_start(target: Target, write_flow: WriteFlow) -> None:
    run = target.run(write_flow(CLASS_VALUES))
    assert run.artifact("start", "seen") == (3, {"a": 1})
    assert run.artifact("start", "limit") == 4
    assert run.artifact("start", "table") == {"a": 1}
    assert run.artifact("middle/1", "seen") == (4, {"a": 1}, {"a": 1})
    # A join begins with the class's own values, as it begins without artifacts.
    assert run.artifact("join", "seen")[0] == [(4, {"b": 0}), (4, {"b": 1})]
    assert run.artifact("end", "seen")[0] == 4
