"""How flows may be written: bases in other files, helpers beside the flow, packages, ``python flow.py run``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_target import Local, Target, ended

pytestmark = pytest.mark.slow

WriteFlow = Callable[..., Path]

FLOW = """
from DSL import FlowSpec, Parameter, current, step

IMPORT

class WrittenFlow(BASES):
    factor = Parameter("factor", default=2)

    @step
    def start(self):
        self.value = helper(3)
        self.box = Box(self.value)
        self.next(self.end)

    @step
    def end(self):
        self.result = self.box.value * self.factor
        self.file = self.script_name
        print("result", self.result)

if __name__ == "__main__":
    WrittenFlow()
"""

HELPER = """
class Box:
    def __init__(self, value):
        self.value = value


def helper(value):
    return value + 4
"""


@pytest.mark.parametrize("dsl", ["flowc", "metaflow"])
@pytest.mark.parametrize("where", ["same file", "beside", "package beside", "relative"])
def test_helpers(where: str, dsl: str, target: Target, write_flow: WriteFlow) -> None:
    statement, name, helper = {
        "same file": (HELPER, "flow.py", None),
        "beside": ("from the_helper import Box, helper", "flow.py", "the_helper.py"),
        "package beside": ("from kit.the_helper import Box, helper", "flow.py", "kit/the_helper.py"),
        "relative": ("from .kit.the_helper import Box, helper", "pack/flow.py", "pack/kit/the_helper.py"),
    }[where]
    if helper:
        write_flow(HELPER, helper)
        for folder in Path(helper).parents:
            if folder != Path("."):
                write_flow("", f"{folder}/__init__.py")
    text = FLOW.replace("IMPORT", statement).replace("BASES", "FlowSpec")
    run = target.run(write_flow(text, name, dsl))
    assert run.artifact("end", "result") == 14
    assert run.artifact("end", "file") == "flow.py"
    assert run.log("end", "stdout") == "result 14\n"


def test_python_flow_py_run(target: Local, write_flow: WriteFlow) -> None:
    file = write_flow(FLOW.replace("IMPORT", HELPER).replace("BASES", "FlowSpec"))
    finished = ended(
        sys.executable, str(file), "run", "--datastore", str(target.root), "--factor", "3", cwd=target.folder
    )
    assert finished.returncode == 0, finished.said
    assert "result 21" in finished.said
    # Classes of the file itself are pickled under the file's name, so that any process can load them.
    dumped = target.command("dump", "WrittenFlow/1/start", "--name", "value", "--datastore", str(target.root))
    assert "7" in dumped.stdout


def test_python_flow_py_knows_the_usual_commands(target: Local, write_flow: WriteFlow) -> None:
    file = write_flow(FLOW.replace("IMPORT", HELPER).replace("BASES", "FlowSpec"))
    for command in ("check", "show", "plan", "graph"):
        finished = ended(sys.executable, str(file), command, cwd=target.folder)
        assert finished.returncode == 0, (command, finished.said)
    failing = write_flow(file.read_text().replace("self.value = helper(3)", "raise ValueError('no')"))
    assert ended(sys.executable, str(failing), "run", cwd=target.folder).returncode == 1
    write_flow(FLOW.replace("IMPORT", HELPER).replace("BASES", "FlowSpec"))
    finished = ended(sys.executable, str(file), "resume", cwd=target.folder)
    assert finished.returncode == 0, finished.said
    assert "result 14" in finished.said


BASE = """
from DSL import FlowSpec, Parameter, environment, step


class BaseFlow(FlowSpec):
    size = Parameter("size", default=2)
    kind = "base"

    @step
    def start(self):
        self.log = ["base start " + self.kind]
        self.next(self.middle)

    @environment(vars={"FROM": "base"})
    @step
    def middle(self):
        import os
        self.log = self.log + ["base middle " + os.environ["FROM"]]
        self.next(self.end)

    @step
    def end(self):
        self.log = self.log + ["base end"]
"""

DERIVED = """
from DSL import Parameter, step
from base_flow import BaseFlow


class DerivedFlow(BaseFlow):
    extra = Parameter("extra", default="e")
    kind = "derived"

    @step
    def middle(self):
        self.log = self.log + ["derived middle", self.size, self.extra]
        self.next(self.later)

    @step
    def later(self):
        self.log = self.log + ["derived later"]
        self.next(self.end)

if __name__ == "__main__":
    DerivedFlow()
"""


@pytest.mark.parametrize("dsl", ["flowc", "metaflow"])
def test_inheritance_over_files(dsl: str, target: Target, write_flow: WriteFlow) -> None:
    write_flow(BASE, "base_flow.py", dsl)
    run = target.run(write_flow(DERIVED, "derived.py", dsl), params={"size": 9})
    assert run.artifact("end", "log") == [
        "base start derived", "derived middle", 9, "e", "derived later", "base end",
    ]  # fmt: skip
    assert target.run(write_flow(BASE, "base_flow.py", dsl)).artifact("end", "log") == [
        "base start base", "base middle base", "base end",
    ]  # fmt: skip


def test_a_diamond_of_bases(target: Target, write_flow: WriteFlow) -> None:
    write_flow(BASE, "base_flow.py")
    left = (
        "class Left(BaseFlow):\n    @step\n    def middle(self):\n"
        "        self.log = ['left']\n        self.next(self.end)\n"
    )
    right = "class Right(BaseFlow):\n    @step\n    def end(self):\n        self.log = self.log + ['right']\n"
    both = "class Both(Left, Right):\n    pass\n"
    text = f"from DSL import step\nfrom base_flow import BaseFlow\n\n{left}\n\n{right}\n\n{both}"
    assert target.run(write_flow(text, "both.py")).artifact("end", "log") == ["left", "right"]


TWO = FLOW.replace("IMPORT", HELPER).replace("BASES", "FlowSpec")


def test_one_of_two_flows_is_picked_by_name(target: Local, write_flow: WriteFlow) -> None:
    second = TWO[TWO.index("class WrittenFlow") : TWO.index("if __name__")].replace("WrittenFlow", "SecondFlow")
    file = write_flow(TWO.replace("if __name__", second.replace("* self.factor", "+ 100") + "\nif __name__"))
    refused = target.command("run", str(file), "--datastore", str(target.root))
    assert refused.returncode == 2
    assert "SecondFlow" in refused.stderr and "WrittenFlow" in refused.stderr
    picked = target.command("run", f"{file}:SecondFlow", "--datastore", str(target.root))
    assert picked.returncode == 0, picked.said
    assert "result 107" in picked.said


def test_names_of_files_that_are_no_module_names(target: Target, write_flow: WriteFlow) -> None:
    text = FLOW.replace("IMPORT", HELPER).replace("BASES", "FlowSpec")
    for name in ("random.py", "my-flow.py", "2nd flow.py", "flowc.py"):
        assert target.run(write_flow(text, f"odd/{name}")).artifact("end", "file") == name


def test_start_and_end_under_other_names(target: Target, write_flow: WriteFlow) -> None:
    text = (
        TWO.replace("@step\n    def start", "@step(start=True)\n    def begin")
        .replace("@step\n    def end", "@step(end=True)\n    def finish")
        .replace("self.next(self.end)", "self.next(self.finish)")
    )
    run = target.run(write_flow(text))
    assert run.done() == {"begin", "finish"}
