"""``check``, ``plan``, ``graph`` and ``targets``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flowc.backends.base import TARGETS
from flowc.cli import main, main_for_flow
from flowc.compiler.plan import Plan


@pytest.fixture
def broken(flows: Path) -> Path:
    text = (flows / "fan.py").read_text()
    text = text.replace('foreach="items"', 'foreach="itms"').replace("self.next(self.end)", "self.next(self.ende)")
    (flows / "broken.py").write_text(text)
    return flows


def test_check_of_a_good_flow(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "hello.py"]) == 0
    assert capfd.readouterr() == ("", "HelloFlow is good: 2 steps\n")
    assert main(["check", "hello.py", "--target", "local", "--target", "argo"]) == 0
    assert capfd.readouterr().err.endswith("HelloFlow is good for local, argo: 2 steps\n")
    assert main_for_flow(str(flows / "hello.py"), "HelloFlow", ["check", "--target", "all"]) == 0
    assert f"HelloFlow is good for {', '.join(TARGETS)}: 2 steps\n" in capfd.readouterr().err


def test_check_tells_all_errors(broken: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "broken.py"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("broken.py:") == err.count("error[FC") >= 2
    assert "did you mean" in err
    assert "\n2 errors" in err or "errors" in err.splitlines()[-1]
    assert "\x1b" not in err


def test_check_for_machines(broken: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "broken.py", "--format", "json"]) == 1
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert err == ""
    assert {item["severity"] for item in found} == {"error"}
    assert {item["file"] for item in found} == {"broken.py"}
    assert main(["check", "broken.py", "--format", "github"]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(found)
    assert all(line.startswith("::error file=broken.py,line=") for line in lines)
    assert main(["check", "broken.py", "--format", "sarif"]) == 1
    log = json.loads(capfd.readouterr().out)
    assert log["version"] == "2.1.0"
    assert [result["ruleId"] for result in log["runs"][0]["results"]] == [item["code"] for item in found]
    assert main(["check", "hello.py", "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out) == []


def test_check_against_a_target(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (flows / "hello.py").read_text().replace("import FlowSpec", "import FlowSpec, timeout")
    (flows / "hasty.py").write_text(
        text.replace("    @step\n    def end", "    @timeout(seconds=5)\n    @step\n    def end")
    )
    assert main(["check", "hasty.py"]) == 0
    assert main(["check", "hasty.py", "--target", "local"]) == 0
    capfd.readouterr()
    assert main(["check", "hasty.py", "--target", "all"]) == 1
    err = capfd.readouterr().err
    assert "timeout" in err and "hasty.py:" in err


def test_plan(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "fan.py:FanFlow", "--with", "timeout:minutes=3"]) == 0
    out, err = capfd.readouterr()
    plan = Plan.loads(out)
    assert err == ""
    assert plan.dumps() == out
    assert [step.name for step in plan.steps] == ["start", "work", "join", "end"]
    assert {step.timeout for step in plan.steps} == {180.0}


def test_graph(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    begins = {"mermaid": "flowchart ", "dot": "digraph ", "json": "{", "svg": "<svg "}
    for form, begin in begins.items():
        assert main(["graph", "fan.py", "--format", form]) == 0
        out, err = capfd.readouterr()
        assert out.startswith(begin)
        assert out.endswith("\n")
        assert "work" in out
        assert err == ""


def test_configs_on_the_command_line(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (flows / "hello.py").read_text().replace("import FlowSpec", "import Config, FlowSpec, resources")
    text = text.replace("    alpha =", '    size = Config("size", default_value={"cpu": 1})\n    alpha =')
    text = text.replace("    @step\n    def end", "    @resources(cpu=size.cpu)\n    @step\n    def end")
    (flows / "sized.py").write_text(text)
    (flows / "size.json").write_text('{"cpu": 3}')
    for words, cpu in (
        ([], 1),
        (["--config", "size", "size.json"], 3),
        (["--config-value", "size", '{"cpu": 5}'], 5),
    ):
        assert main(["plan", "sized.py", *words]) == 0
        assert Plan.loads(capfd.readouterr().out)["end"].resources.cpu == cpu
    assert main_for_flow("sized.py", "HelloFlow", ["--config", "size", "size.json", "plan"]) == 0
    assert Plan.loads(capfd.readouterr().out)["end"].resources.cpu == 3
    assert main(["plan", "sized.py", "--config-value", "sice", "{}"]) == 1
    assert "did you mean 'size'?" in capfd.readouterr().err


def test_targets(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["targets"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == list(TARGETS)
    assert main(["targets", "batch"]) == 0
    assert "@batch(" in capfd.readouterr().out
    assert main(["targets", "--json"]) == 0
    assert [table["target"] for table in json.loads(capfd.readouterr().out)] == list(TARGETS)
    assert main(["targets", "bach"]) == 2
    assert "did you mean batch?" in capfd.readouterr().err
