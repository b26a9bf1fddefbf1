"""Diagnostics as text, JSON, annotations and SARIF."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from flowc.compiler.diagnostics import CompileError, Diagnostic, Severity, Sources, nearest, ordered, render
from flowc.compiler.plan import Span
from flowc.compiler.rendering import FORMATS, summary


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    (tmp_path / "flow.py").write_text("import x\n\nclass A:\n\tdef é(self): go(now)\n")
    monkeypatch.chdir(tmp_path)
    return Sources(str(tmp_path))


ERROR = Diagnostic("FC109", "there is no step 'x'", Span("flow.py", 4, 15, 4, 22), "did you mean 'y'?")
WARNING = Diagnostic("FC307", "100% odd", Span("flow.py", 1), severity=Severity.WARNING, notes=("a, b: c", "second"))
NOTE = Diagnostic("FC010", "--with x cannot be read", help="write y", severity=Severity.NOTE)
ALL = [ERROR, WARNING, NOTE]


def test_text(sources: Sources) -> None:
    assert render(ALL, sources) == (
        "flow.py:4:15: error[FC109]: there is no step 'x'\n"
        " 4 |     def é(self): go(now)\n"
        "   |                  ^^^^^^^\n"
        "   = help: did you mean 'y'?\n"
        "\n"
        "flow.py:1:1: warning[FC307]: 100% odd\n"
        " 1 | import x\n"
        "   | ^^^^^^^^\n"
        "   | a, b: c\n"
        "   | second\n"
        "\n"
        "flowc: note[FC010]: --with x cannot be read\n"
        "      = help: write y\n"
    )


def test_colors(sources: Sources) -> None:
    shown = render(ALL, sources, color=True)
    assert "\x1b[1;31merror[FC109]\x1b[0m" in shown and "\x1b[1;33mwarning" in shown
    import re

    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == render(ALL, sources)


def test_text_of_a_line_that_is_not_there(sources: Sources) -> None:
    odd = Diagnostic("FC109", "gone", Span("flow.py", 99, 7))
    assert render([odd], sources) == "flow.py:99:7: error[FC109]: gone\n"
    assert render([], sources) == ""


def test_places_are_shown_from_the_current_folder(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    assert render([ERROR], sources).startswith(f"{tmp_path.name}/flow.py:4:15: ")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert render([ERROR], sources).startswith(f"{tmp_path}/flow.py:4:15: ")


def test_json(sources: Sources) -> None:
    first, second, third = json.loads(render(ALL, sources, "json"))
    assert first == {
        "code": "FC109", "severity": "error", "message": "there is no step 'x'", "file": "flow.py",
        "line": 4, "column": 15, "end_line": 4, "end_column": 22, "help": "did you mean 'y'?",
    }  # fmt: skip
    assert second["notes"] == ["a, b: c", "second"] and "end_line" not in second
    assert "file" not in third and third["severity"] == "note"


def test_github(sources: Sources) -> None:
    assert render(ALL, sources, "github").splitlines() == [
        "::error file=flow.py,line=4,col=15,endLine=4,endColumn=22,title=FC109::"
        "there is no step 'x'%0Ahelp: did you mean 'y'?",
        "::warning file=flow.py,line=1,col=1,title=FC307::100%25 odd%0Aa, b: c%0Asecond",
        "::notice title=FC010::--with x cannot be read%0Ahelp: write y",
    ]


def test_github_properties_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b:c.py").write_text("x\n")
    odd = Diagnostic("FC109", "m", Span("a,b:c.py", 1))
    assert "file=a%2Cb%3Ac.py,line=1" in render([odd], Sources(str(tmp_path)), "github")


def test_sarif(sources: Sources) -> None:
    log = json.loads(render(ALL, sources, "sarif"))
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["FC010", "FC109", "FC307"]
    assert all(rule["fullDescription"]["text"] and rule["helpUri"] for rule in rules)
    first, second, third = run["results"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == ["FC109", "FC307", "FC010"]
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note"]
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "flow.py"
    assert place["region"] == {"startLine": 4, "startColumn": 15, "endLine": 4, "endColumn": 22}
    assert second["locations"] and "locations" not in third


def test_every_format_takes_nothing(sources: Sources) -> None:
    for name in FORMATS:
        assert isinstance(render([], sources, name), str)
    with pytest.raises(ValueError, match="no format 'xml'"):
        render([], sources, "xml")


def test_summary() -> None:
    assert summary([ERROR, ERROR, WARNING]) == "2 errors, 1 warning"
    assert summary([]) == ""


def test_order_and_doubles() -> None:
    assert ordered([ERROR, WARNING, NOTE, ERROR]) == (NOTE, WARNING, ERROR)


def test_nearest() -> None:
    assert nearest("tims", ["times", "backoff"]) == "times"
    assert nearest("Train", ["train"]) == "train"
    assert nearest("zzz", ["times"]) is None


def test_names_of_files_far_away_hold_no_place(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c" / "d" / "e" / "f"
    sources = Sources(str(folder))
    assert sources.name(str(folder / "flow.py")) == "flow.py"
    assert sources.name(str(folder.parent / "base.py")) == "../base.py"
    assert sources.name("/usr/lib/python/lib.py") == "python/lib.py"
    assert os.path.isabs(sources.path("../base.py"))


def test_a_compile_error_reads_as_its_report(sources: Sources) -> None:
    assert str(CompileError([ERROR], sources)) == render([ERROR], sources)
