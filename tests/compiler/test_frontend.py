"""Loading flows: which file, which class, and the places of what is found there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flowc.compiler import Compilation, Severity, compile_flow
from flowc.compiler.diagnostics import render

Writer = Callable[..., Path]

SOUND = """
class {name}(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""
IMPORT = "from flowc import FlowSpec, step\n"


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    """Each test imports files of its own; the next one must not see them."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        if not name.startswith("flowc") or name.startswith("flowc_"):
            del sys.modules[name]
    sys.path[:] = path


def codes(result: Compilation) -> list[str]:
    return [item.code for item in result.diagnostics]


def only(result: Compilation) -> tuple[str, int | None, str]:
    assert result.plan is None
    (item,) = result.diagnostics
    return item.code, item.span.line if item.span else None, f"{item.message} | {item.help}"


def test_no_file_with_a_near_name(write_flow: Writer) -> None:
    file = write_flow(IMPORT + SOUND.format(name="A"), name="training.py")
    result = compile_flow(str(file.with_name("traning.py")))
    assert only(result) == (
        "FC001",
        None,
        f"there is no file {file.with_name('traning.py')} | did you mean training.py?",
    )
    assert result.loaded is None


def test_no_folder(tmp_path: Path) -> None:
    code, _, text = only(compile_flow(str(tmp_path / "none" / "flow.py")))
    assert code == "FC001" and "there is no folder" in text


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in only(compile_flow(str(tmp_path)))[2]


def test_a_syntax_error_has_a_caret(write_flow: Writer) -> None:
    result = compile_flow(str(write_flow("def start(self:\n    pass\n")))
    code, line, _ = only(result)
    assert (code, line) == ("FC002", 1)
    lines = render(result.diagnostics, result.sources).splitlines()
    assert lines[1].endswith("| def start(self:") and "^" in lines[2]


def test_a_syntax_error_in_a_helper(write_flow: Writer) -> None:
    write_flow("x = = 1\n", name="broken_helper.py")
    result = compile_flow(str(write_flow("import broken_helper\n")))
    (item,) = result.diagnostics
    assert (item.code, str(item.span)) == ("FC002", "broken_helper.py:1:5")


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    file = tmp_path / "flow.py"
    file.write_bytes(b'x = "\xff"\n')
    assert only(compile_flow(str(file)))[0] == "FC002"
    file.write_bytes(b"x = 1\n\0\n")
    assert only(compile_flow(str(file)))[0] == "FC002"


def test_an_exception_is_placed_in_the_authors_own_code(write_flow: Writer) -> None:
    write_flow("def work():\n    return [][1]\n", name="falling_helper.py")
    result = compile_flow(str(write_flow("import falling_helper\n\nfalling_helper.work()\n")))
    (item,) = result.diagnostics
    assert (item.code, str(item.span)) == ("FC004", "falling_helper.py:2:1")
    assert "IndexError" in item.message and item.notes and item.notes[0].endswith("flow.py:3, in <module>")
    assert not any("loading.py" in note or "importlib" in note for note in item.notes)


def test_an_exception_inside_the_standard_library(write_flow: Writer) -> None:
    code, line, text = only(compile_flow(str(write_flow("import json\n\njson.loads('{')\n"))))
    assert (code, line) == ("FC004", 3) and "JSONDecodeError" in text


def test_a_file_that_ends_the_program(write_flow: Writer) -> None:
    code, line, text = only(compile_flow(str(write_flow("import sys\nsys.exit(3)\n"))))
    assert (code, line) == ("FC004", 2) and "__main__" in text


def test_a_missing_module_is_stood_in_for(write_flow: Writer) -> None:
    source = "import nowhere_at_all\nimport nowhere_at_all.deep\n" + IMPORT + SOUND.format(name="A")
    file = str(write_flow(source))
    result = compile_flow(file)
    assert result.ok
    (item,) = result.diagnostics
    assert (item.code, item.severity, item.span and item.span.line) == ("FC008", Severity.NOTE, 1)


def test_a_base_class_that_is_not_installed_may_set_anything(write_flow: Writer) -> None:
    source = (
        "import nowhere_at_all as n\n"
        + IMPORT
        + (
            "class A(FlowSpec, n.Mixin):\n"
            "    @step\n    def start(self):\n        self.next(self.work, foreach='items')\n"
            "    @n.logged(level=3)\n    @step\n    def work(self):\n        self.next(self.join)\n"
            "    @step\n    def join(self, inputs):\n        self.next(self.end)\n"
            "    @step\n    def end(self):\n        pass\n"
        )
    )
    result = compile_flow(str(write_flow(source)))
    assert result.ok and codes(result) == ["FC008"]


def test_a_missing_module_stops_a_run(write_flow: Writer) -> None:
    source = IMPORT + "import nowhere_at_all\n" + SOUND.format(name="A")
    code, line, text = only(compile_flow(str(write_flow(source)), stand_in=False))
    assert (code, line) == ("FC003", 2) and "pip install nowhere_at_all" in text


def test_a_name_that_is_not_in_a_module(write_flow: Writer) -> None:
    code, line, text = only(compile_flow(str(write_flow("from os import pathh\n"))))
    assert (code, line) == ("FC003", 1) and "/" not in text


def test_a_chatty_file_does_not_print_into_the_output(write_flow: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    result = compile_flow(str(write_flow("print('hello')\n" + IMPORT + SOUND.format(name="A"))))
    assert result.ok
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def test_no_flow(write_flow: Writer) -> None:
    assert only(compile_flow(str(write_flow("x = 1\n"))))[0] == "FC005"


def test_a_flow_that_is_only_imported(write_flow: Writer) -> None:
    write_flow(IMPORT + SOUND.format(name="Elsewhere"), name="elsewhere_flow.py")
    file = write_flow("from elsewhere_flow import Elsewhere\n")
    code, _, text = only(compile_flow(str(file)))
    assert code == "FC005" and ":Elsewhere" in text
    assert compile_flow(f"{file}:Elsewhere").ok


def test_two_flows(write_flow: Writer) -> None:
    file = write_flow(IMPORT + SOUND.format(name="One") + SOUND.format(name="Two"))
    code, _, text = only(compile_flow(str(file)))
    assert code == "FC006" and ":One" in text and ":Two" in text
    result = compile_flow(f"{file}:Two")
    assert result.plan is not None and result.plan.name == "Two"
    assert result.flow is not None and result.flow.__name__ == "Two"
    assert result.file == str(file)


def test_a_flow_of_another_name(write_flow: Writer) -> None:
    file = write_flow(IMPORT + SOUND.format(name="Training"))
    assert only(compile_flow(f"{file}:Trainning"))[2].endswith("did you mean Training?")


def test_a_base_flow_does_not_count(write_flow: Writer) -> None:
    source = IMPORT + SOUND.format(name="Base") + "\nclass Real(Base):\n    @step\n    def end(self):\n        pass\n"
    result = compile_flow(str(write_flow(source)))
    assert result.plan is not None and result.plan.name == "Real"


def test_inheritance_over_files_and_a_mixin(write_flow: Writer) -> None:
    write_flow(IMPORT + SOUND.format(name="BaseFlow"), name="base_of_flow.py")
    write_flow(
        IMPORT + "class Mixin:\n    def prepare(self):\n        self.items = [1]\n\n"
        "    @step\n    def work(self):\n        self.next(self.join)\n",
        name="mixin_of_flow.py",
    )
    source = IMPORT + (
        "from base_of_flow import BaseFlow\nfrom mixin_of_flow import Mixin\n"
        "class Real(Mixin, BaseFlow):\n"
        "    @step\n    def start(self):\n        self.prepare()\n        self.next(self.work, foreach='items')\n"
        "    @step\n    def join(self, inputs):\n        self.next(self.end)\n"
    )
    result = compile_flow(str(write_flow(source)))
    assert result.plan is not None, result.diagnostics
    places = {step.name: step.span.file for step in result.plan.steps if step.span}
    assert places == {"start": "flow.py", "work": "mixin_of_flow.py", "join": "flow.py", "end": "base_of_flow.py"}


def test_an_error_in_a_base_class_is_placed_there(write_flow: Writer) -> None:
    write_flow(IMPORT + SOUND.format(name="BaseFlow").replace("self.end)", "self.ende)"), name="wrong_base.py")
    file = write_flow("from wrong_base import BaseFlow\nclass Real(BaseFlow):\n    pass\n")
    (item,) = compile_flow(str(file)).diagnostics
    assert (item.code, item.span and item.span.file, item.span and item.span.line) == ("FC109", "wrong_base.py", 6)


def test_classes_in_conditions_and_functions(write_flow: Writer) -> None:
    body = SOUND.format(name="A").replace("\n", "\n    ")
    source = IMPORT + f"import sys\nif sys.version_info < (3, 0):{body}\nelse:{body}\n"
    result = compile_flow(str(write_flow(source)))
    assert result.plan is not None and result.plan["start"].span is not None
    assert result.plan["start"].span.line > 13
    made = IMPORT + f"def make():{body}\n    return A\nB = make()\n"
    assert compile_flow(str(write_flow(made, name="made_flow.py"))).ok


def test_decorators_of_the_authors_own(write_flow: Writer) -> None:
    source = """
import functools
from flowc import FlowSpec, retry, resources, step

def wrapped(function):
    @functools.wraps(function)
    def call(self):
        return function(self)
    return call

def bare(function):
    def call(self):
        return function(self)
    return call

often = retry(times=7)

def big(function):
    return resources(cpu=8)(function)

class A(FlowSpec):
    @wrapped
    @retry(times=1)
    @step
    @bare
    def start(self):
        self.next(self.middle)

    @often
    @big
    @step
    @wrapped
    def middle(self):
        self.next(self.end)

    @step
    @bare
    def end(self):
        pass
"""
    result = compile_flow(str(write_flow(source)))
    assert result.plan is not None, result.diagnostics
    start, middle = result.plan["start"], result.plan["middle"]
    assert start.retry is not None and start.retry.times == 1
    assert middle.retry is not None and middle.retry.times == 7 and middle.resources.cpu == 8


def test_a_wrong_option_of_a_kept_decorator_is_placed_at_its_use(write_flow: Writer) -> None:
    source = "from flowc import FlowSpec, retry, step\noften = retry(tmes=7)\n" + SOUND.format(name="A").replace(
        "    @step\n    def start", "    @often\n    @step\n    def start"
    )
    code, line, _ = only(compile_flow(str(write_flow(source))))
    assert (code, line) == ("FC201", 5)


def test_metaflow_names(write_flow: Writer) -> None:
    source = "from metaflow import FlowSpec, step, project\n@project(name='x')" + SOUND.format(name="A")
    result = compile_flow(str(write_flow(source)))
    assert result.plan is not None and result.plan.project == "x"


def test_a_flow_in_a_package_uses_its_helpers(write_flow: Writer) -> None:
    write_flow("", name="pack_of_flows/__init__.py")
    write_flow("SIZE = 3\n", name="pack_of_flows/settings.py")
    source = (
        "from . import settings\nfrom flowc import FlowSpec, parallel, step\n\nclass A(FlowSpec):\n"
        "    @step\n    def start(self):\n        self.next(self.work, num_parallel=settings.SIZE)\n"
        "    @parallel\n    @step\n    def work(self):\n        self.next(self.join)\n"
        "    @step\n    def join(self, inputs):\n        self.next(self.end)\n"
        "    @step\n    def end(self):\n        pass\n"
    )
    result = compile_flow(str(write_flow(source, name="pack_of_flows/flow.py")))
    assert result.plan is not None, result.diagnostics
    assert result.plan["start"].leave.size == 3  # type: ignore[union-attr]
    assert result.plan["start"].span is not None and result.plan["start"].span.file == "flow.py"


def test_columns_count_characters(write_flow: Writer) -> None:
    source = IMPORT + SOUND.format(name="A").replace("self.next(self.end)", 'x = "äöü€"; self.next(self.ende)')
    (item,) = compile_flow(str(write_flow(source))).diagnostics
    assert item.span is not None
    line = source.splitlines()[item.span.line - 1]
    assert item.span.end_column is not None
    assert line[item.span.column - 1 : item.span.end_column - 1] == "self.ende"


def test_deeply_nested_expressions(write_flow: Writer) -> None:
    long_sum = " + ".join(["1"] * 2000)
    source = IMPORT + SOUND.format(name="A").replace(
        "self.next(self.end)", f"self.x = {long_sum}\n        self.next(self.end)"
    )
    assert compile_flow(str(write_flow(source))).ok


def test_windows_line_ends_and_tabs(tmp_path: Path) -> None:
    text = (
        (IMPORT + SOUND.format(name="A")).replace("    ", "\t").replace("self.end)", "self.ende)").replace("\n", "\r\n")
    )
    file = tmp_path / "flow.py"
    file.write_bytes(text.encode())
    result = compile_flow(str(file))
    code, line, _ = only(result)
    assert (code, line) == ("FC109", 6)
    shown = render(result.diagnostics, result.sources).splitlines()
    assert shown[2].index("^") == shown[1].index("self.ende")


def test_methods_of_steps_from_a_factory(write_flow: Writer) -> None:
    source = IMPORT + (
        "def make():\n    @step\n    def work(self):\n        self.next(self.end)\n    return work\n"
        "class A(FlowSpec):\n    work = make()\n"
        "    @step\n    def start(self):\n        self.next(self.work)\n"
        "    @step\n    def end(self):\n        pass\n"
    )
    result = compile_flow(str(write_flow(source)))
    assert result.plan is not None and [step.name for step in result.plan.steps] == ["start", "work", "end"]


def test_a_step_without_source(write_flow: Writer) -> None:
    source = IMPORT + (
        "space = {}\nexec('def work(self):\\n    self.next(self.end)', space)\n"
        "class A(FlowSpec):\n    work = step(space['work'])\n"
        "    @step\n    def start(self):\n        self.next(self.end)\n    @step\n    def end(self):\n        pass\n"
    )
    code, line, text = only(compile_flow(str(write_flow(source))))
    assert code == "FC009" and "'work'" in text and line == 4


@pytest.mark.parametrize(
    ("line", "uses"),
    [
        ("os.environ['A'] = m.path", True),
        ("first = [1, 2][m.index() + 5:][0] + open(m.file).read()", True),
        ("1 / len(thing)", True),
        ("unknown_name", True),
        ("def build():\n    return open(m.file)\nbuild()", True),
        ("class C(m.A, enum.Enum): pass", True),
        ("1 / 0", False),
    ],
)
def test_a_line_that_fails_for_want_of_a_module(write_flow: Writer, line: str, uses: bool) -> None:
    source = "import enum, os\nimport nowhere_at_all as m\nfrom nowhere_at_all import *\nthing = m.thing()\n"
    (item,) = compile_flow(str(write_flow(source + line + "\n" + IMPORT + SOUND.format(name="A")))).diagnostics
    place = 6 if line.startswith("def") else 5
    assert (item.code, item.span and item.span.line) == ("FC004", place)
    if uses:
        assert item.message.endswith("; module 'nowhere_at_all' is not installed here, and this line uses it")
        assert item.help == "install it here (pip install nowhere_at_all), or move the line into a step"
    else:
        assert "this line uses it" not in item.message and "mend this line" in item.help
        assert item.help.endswith("'nowhere_at_all' is not installed here, which may be the reason")


def test_a_mixin_derived_from_a_stand_in(write_flow: Writer) -> None:
    source = "import nowhere_at_all as m\n" + IMPORT + "class Mixin(m.Mixin):\n    def helper(self): pass\n"
    result = compile_flow(str(write_flow(source + SOUND.format(name="A").replace("FlowSpec", "Mixin, FlowSpec"))))
    assert result.ok and codes(result) == ["FC008"] and result.plan is not None
    assert [step.name for step in result.plan.steps] == ["start", "end"]


def test_a_link_and_one_that_leads_nowhere(tmp_path: Path, write_flow: Writer) -> None:
    write_flow("VALUE = 1\n", name="real/helper_of_link.py")
    file = write_flow("from helper_of_link import VALUE\n" + IMPORT + SOUND.format(name="A"), name="real/flow.py")
    link = tmp_path / "linked.py"
    link.symlink_to(file)
    assert compile_flow(str(link)).ok
    file.unlink()
    assert only(compile_flow(str(link))) == (
        "FC001",
        None,
        f"{link} is a link to {file}, which is not there | mend the link",
    )


@pytest.mark.parametrize("char", ["\f", "\v", "\x1c", "\u2028", "\x85"])
def test_lines_are_those_of_python(write_flow: Writer, char: str) -> None:
    text = (
        IMPORT
        + f"TEXT = 'a{char}b'\n"
        + SOUND.format(name="A").replace("self.next(self.end)", "self.next(self.nowhere)")
    )
    result = compile_flow(str(write_flow(text)))
    assert codes(result)[0] == "FC109"
    assert "        self.next(self.nowhere)" in render(result.diagnostics, result.sources).splitlines()[1]


@pytest.mark.parametrize("coding", ["latin-1", "utf-8-sig", "cp1251"])
def test_the_coding_line_counts(tmp_path: Path, coding: str) -> None:
    word = "Журнал" if coding == "cp1251" else "Größe"
    line = f"        x = '{word}'; self.next(self.nowhere)"
    text = f"# -*- coding: {coding.removesuffix('-sig')} -*-\n" + IMPORT
    text += SOUND.format(name="A").replace("        self.next(self.end)", line)
    file = tmp_path / "flow.py"
    file.write_bytes(text.encode(coding))
    result = compile_flow(str(file))
    item = result.diagnostics[0]
    assert item.code == "FC109" and item.span is not None
    shown = result.sources.line(item.span.file, item.span.line)
    assert shown == line and shown[item.span.column - 1 :].startswith("self.nowhere")
