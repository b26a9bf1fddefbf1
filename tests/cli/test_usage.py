"""Wrong usage: exit code 2, one clear message, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from flowc.cli import main, main_for_flow

WRONG = [
    (["rnu", "hello.py"], "there is no command 'rnu'; did you mean 'run'?"),
    (["hello.py", "run"], "the command comes first: flowc run hello.py"),
    (["run"], "missing argument 'FILE[:FLOW]'"),
    (["run", "helo.py"], "there is no file helo.py; did you mean hello.py?"),
    (["run", "."], ". is a folder; give the flow's file: ./flow.py"),
    (["run", "no/such.py"], "there is no folder no"),
    (["run", "hello.py", "--alhpa", "3"], "there is no option --alhpa; did you mean --alpha?"),
    (["run", "hello.py", "--max-worker", "3"], "did you mean --max-workers?"),
    (["run", "hello.py", "--alpha", "abc"], "parameter alpha: 'abc' is not a number"),
    (["run", "hello.py", "--loud", "perhaps"], "parameter loud: 'perhaps' is not true or false"),
    (["run", "hello.py", "--alpha"], "option '--alpha' requires an argument"),
    (["run", "hello.py", "--max-workers", "0"], "0 is not in the range x>=1"),
    (["run", "hello.py", "--max-workers", "many"], "'many' is not a valid integer"),
    (["run", "hello.py", "--isolation", "jail"], "'jail' is not one of 'fork', 'spawn'"),
    (["run", "hello.py", "--config", "a"], "option '--config' requires 2 arguments"),
    (["run", "hello.py", "extra"], "unexpected extra argument (extra)"),
    (["run", "hello.py", "--datastore", "s3"], "write its URL, as in s3://bucket/folder"),
    (["run", "hello.py", "--datastore", "ftp://host/x"], "give a folder, a file:// or an s3:// URL"),
    (["run", "hello.py", "--datastore", "hello.py"], "the datastore hello.py is no"),
    (["check", "helo.py"], "did you mean hello.py?"),
    (["check", "hello.py", "--target", "moon"], "'moon' is not one of"),
    (["plan"], "missing argument 'FILE[:FLOW]'"),
    (["graph", "hello.py", "--format", "png"], "'png' is not one of"),
    (["show", "7"], "there are no runs in"),
    (["runs", "--limit", "0"], "0 is not in the range"),
    (["resume"], "there are no runs in"),
    (["logs"], "missing argument 'RUN[/STEP[/INDEX]]'"),
    (["logs", "/"], "name a run and a task"),
    (["dump", "1/start"], "there are no runs in"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_usage(flows: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(words) == 2
    out, err = capfd.readouterr()
    assert message in err
    assert out == ""
    assert err.startswith("flowc: error: ")
    assert "Traceback" not in err
    assert not (flows / ".flowc").exists()


def test_every_problem_of_the_parameters_is_told(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "hello.py", "--alpha", "x", "--loud", "perhaps"]) == 2
    err = capfd.readouterr().err.splitlines()
    assert [line.startswith("flowc: error: parameter ") for line in err] == [True, True]


def test_required_parameter(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (flows / "hello.py").read_text().replace('"alpha", default=0.5', '"alpha", type=float, required=True')
    (flows / "needy.py").write_text(text)
    assert main(["run", "needy.py"]) == 2
    assert "parameter alpha: a value is required; give it with --alpha" in capfd.readouterr().err
    assert main(["run", "needy.py", "--help"]) == 0
    assert "learning rate [required]" in capfd.readouterr().out


def test_help_lists_the_parameters(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "hello.py", "--help"]) == 0
    out = capfd.readouterr().out
    assert "Usage: flowc run [OPTIONS] FILE[:FLOW]" in out
    assert "Parameters of HelloFlow:" in out
    assert "--alpha NUMBER  learning rate [default: 0.5]" in out
    assert "--name-of TEXT  whom to greet [default: world]" in out
    assert "--loud BOOLEAN  [default: false]" in out
    assert "--max-workers N" in out


def test_help_without_a_flow_says_where_the_parameters_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    assert "flowc run FILE --help lists them" in " ".join(capfd.readouterr().out.split())


def test_help_of_a_flow_file_hides_the_file(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main_for_flow(str(flows / "hello.py"), "HelloFlow", ["run", "--help"]) == 0
    out = capfd.readouterr().out
    assert "Usage: python hello.py run [OPTIONS]\n" in out
    assert "--alpha NUMBER" in out


def test_help_of_a_broken_flow_is_still_help(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (flows / "broken.py").write_text("import flowc\nthis is no Python\n")
    assert main(["run", "broken.py", "--help"]) == 0
    out, err = capfd.readouterr()
    assert "--max-workers" in out
    assert "broken.py:2:" in err


@pytest.mark.parametrize(
    "command", ["run", "resume", "runs", "show", "logs", "dump", "check", "plan", "graph", "targets"]
)
def test_every_command_has_help(capfd: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--help"]) == 0
    out = capfd.readouterr().out
    assert out.startswith(f"Usage: flowc {command}")
    assert main(["--help"]) == 0
    assert f"\n  {command} " in capfd.readouterr().out


def test_no_command_shows_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capfd.readouterr().err


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    import flowc

    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"flowc {flowc.__version__}\n"


def test_errors_of_the_flow_are_no_wrong_usage(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (flows / "hello.py").read_text()
    (flows / "broken.py").write_text(text.replace("self.next(self.end)", "self.next(self.ende)"))
    for command in ("run", "plan", "graph"):
        assert main([command, "broken.py"]) == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert "broken.py:20:19" in err
        assert "error[FC" in err


def test_a_parameter_may_not_hide_an_option(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (flows / "hiding.py").write_text((flows / "hello.py").read_text().replace('"name-of"', '"max-workers"'))
    assert main(["run", "hiding.py"]) == 1
    assert "max-workers" in capfd.readouterr().err


def test_a_parameter_may_take_the_name_of_a_minor_option(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (flows / "hello.py").read_text().replace('"name-of"', '"isolation"').replace('"loud"', '"config"')
    (flows / "minor.py").write_text(text)
    assert main(["run", "minor.py", "--isolation", "x", "--config", "yes", "--alpha", "wrong"]) == 2
    assert capfd.readouterr().err == "flowc: error: parameter alpha: 'wrong' is not a number\n"
    assert main(["run", "minor.py", "--isolation", "x", "--config", "true", "--quiet"]) == 0
    assert capfd.readouterr().out == "[1] start | hello x 0.5 True\n"


@pytest.mark.parametrize(
    "words",
    [
        ["hello.py", "--name-of", "fan.py"],
        ["--name-of", "fan.py", "hello.py"],
        ["--loud", "hello.py", "--name-of=fan.py"],
        ["--datastore", "fan.py", "hello.py:HelloFlow"],
    ],
)
def test_the_file_is_found_among_options(flows: Path, capfd: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["run", *words, "--help"]) == 0
    assert "Parameters of HelloFlow:" in capfd.readouterr().out


def test_a_defect_of_flowc_is_told_as_such(
    flows: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import flowc.compiler

    def broken(*args: object, **options: object) -> object:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(flowc.compiler, "compile_flow", broken)
    assert main(["plan", "hello.py"]) == 1
    err = capfd.readouterr().err
    assert "internal error: ZeroDivisionError: oops" in err
    assert "FLOWC_DEBUG=1" in err
    assert "Traceback" not in err
    monkeypatch.setenv("FLOWC_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["plan", "hello.py"])
