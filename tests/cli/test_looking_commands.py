"""``runs``, ``show``, ``logs`` and ``dump`` on runs that are there."""

from __future__ import annotations

import json
import pickle
import threading
import time
from pathlib import Path

import pytest
from flowc.cli import main, main_for_flow
from flows_for_cli import FLOWC, flowc


def said(capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(words) == code
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return out if code == 0 else err


def test_runs(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = said(capfd, "runs").splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["RUN", "STATE"], ["FanFlow/2", "done"], ["FanFlow/1", "failed"], ["HelloFlow/1", "done"],
    ]  # fmt: skip
    assert "resumes:1" in lines[1]
    assert lines[3].endswith("nice")
    assert len(said(capfd, "runs", "FanFlow").splitlines()) == 3
    assert said(capfd, "runs", "--tag", "nice").splitlines()[1].startswith("HelloFlow/1")
    rows = json.loads(said(capfd, "runs", "--json", "--limit", "1"))
    names = ("flow", "run_id", "state", "origin_run_id")
    assert [tuple(row[name] for name in names) for row in rows] == [("FanFlow", "2", "done", "1")]
    assert "did you mean FanFlow?" in said(capfd, "runs", "FanFlo", code=2)


def test_show(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = said(capfd, "show", "FanFlow/1")
    assert "state      failed" in out
    assert "--bad      2" in out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["start"][:2] == ["done", "1"]
    assert rows["work"][:3] == ["failed", "2", "1"]
    assert rows["join"][:2] == ["not", "begun"]
    assert "work/2 failed: ValueError: bad item 2\n  attempt 2 of 2\n" in out
    assert "flowc logs FanFlow/1/work/2" in out
    assert "flowc resume FanFlow/1" in out


@pytest.mark.parametrize("spelling", ["FanFlow/2", "FanFlow", "latest", "FanFlow/latest", "2", None])
def test_spellings_of_a_run(runs: Path, capfd: pytest.CaptureFixture[str], spelling: str | None) -> None:
    out = said(capfd, "show", "--json", *([spelling] if spelling else []))
    data = json.loads(out)
    assert (data["flow"], data["run_id"], data["origin_run_id"]) == ("FanFlow", "2", "1")
    steps = {step["name"]: step for step in data["steps"]}
    assert steps["work"]["tasks"] == {"done": 3, "running": 0, "failed": 0, "stopped": 0, "caught": 0, "cloned": 2}
    assert steps["work"]["total"] == 3
    assert data["parameters"]["bad"] == 2


def test_an_id_that_two_flows_have(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "say which: FanFlow/1, HelloFlow/1" in said(capfd, "show", "1", code=2)
    assert main_for_flow(str(runs / "fan.py"), "FanFlow", ["show", "1"]) == 0
    assert "run        FanFlow/1" in capfd.readouterr().out


MISSING = [
    (["show", "FanFlow/9"], "there is no run FanFlow/9"),
    (["show", "Fanflow"], "did you mean FanFlow?"),
    (["logs", "FanFlow/1/wrok"], "has no step wrok; did you mean work?"),
    (["logs", "FanFlow/1/work/9"], "has no task work/9; there is work/0, work/1, work/2"),
    (["logs", "FanFlow/1/work/x"], "is not a task address"),
    (["logs", "FanFlow/1/join"], "step join of run FanFlow/1 has not begun"),
    (["logs", "FanFlow/1/work/2", "--attempt", "5"], "work/2 has no attempt 5; it has 0, 1"),
    (["dump", "FanFlow/2/end/_", "--name", "squars"], "end has no artifact squars; did you mean squares?"),
    (["dump", "FanFlow/2/end/squares"], "for the artifact squares: flowc dump FanFlow/2/end --name squares"),
    (["dump", "FanFlow/2/work/0/square"], "for the artifact square: flowc dump FanFlow/2/work/0 --name square"),
    (["dump", "FanFlow/2/none/squares"], "is not a task address: write step, step/0.3 or step@2/0.3\nTry"),
    (["resume", "FanFlow/9"], "there is no run FanFlow/9"),
    (
        ["resume", "latest/work"],
        "resume takes a run, not a step of it; to run again from work on: flowc resume latest --from work",
    ),
    (["resume", "FanFlow/1/work/2"], "to run again from work on: flowc resume FanFlow/1 --from work"),
    (["resume", "FanFlow/nightly"], "there is no run FanFlow/nightly"),
]


@pytest.mark.parametrize(("words", "message"), MISSING, ids=[" ".join(words) for words, _ in MISSING])
def test_what_is_not_there(runs: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert message in said(capfd, *words, code=2)


def test_logs(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "FanFlow/1/work/2", "--attempt", "0"]) == 0
    out, err = capfd.readouterr()
    assert out == "item 2\n"
    assert err.startswith("to stderr 2\nTraceback (most recent call last):\n")
    assert err.endswith("ValueError: bad item 2\n")
    assert main(["logs", "FanFlow/1/work/2", "--stdout"]) == 0
    assert capfd.readouterr() == ("item 2\n", "")
    assert main(["logs", "FanFlow/1/work", "--stdout"]) == 0
    assert capfd.readouterr() == ("work/0 | item 0\nwork/1 | item 1\nwork/2 | item 2\n", "")
    assert main(["logs", "latest/end", "--stdout"]) == 0
    assert capfd.readouterr().out == "squares [0, 1, 4]\n"
    assert main(["logs", "2", "--stdout"]) == 0
    assert capfd.readouterr().out == "work/2 | item 2\nend | squares [0, 1, 4]\n"


def test_dump(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert [line.split() for line in said(capfd, "dump", "FanFlow/2/work/2").splitlines()] == [
        ["FanFlow/2/work/2"],
        ["NAME", "TYPE", "SIZE", "VALUE"],
        ["items", "list", "22", "B", "[0,", "1,", "2]"],
        ["square", "int", "5", "B", "4"],
        [],
    ]
    out = said(capfd, "dump", "FanFlow/2/work/2", "--max-value-size", "10")
    assert "(not loaded; see --name and --max-value-size)" in out
    assert said(capfd, "dump", "FanFlow/1/work", "--name", "square").count("square = ") == 2
    assert "(failed)" in said(capfd, "dump", "FanFlow/1/work")
    said(capfd, "dump", "FanFlow/2/work", "--file", "all.pickle")
    with open("all.pickle", "rb") as file:
        found = pickle.load(file)
    assert {task: values["square"] for task, values in found.items()} == {"work/0": 0, "work/1": 1, "work/2": 4}


def test_values_of_the_flows_own_classes_are_shown(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (flows / "shapes.py").write_text("class Shape:\n    def __repr__(self):\n        return 'a  round\\nshape'\n")
    text = (flows / "hello.py").read_text()
    body = ["from shapes import Shape", "self.shape = Shape()", "self.long = 'x' * 500"]
    text = text.replace("self.total = 42", "\n        ".join(body))
    (flows / "shaped.py").write_text(text)
    assert flowc(flows, "run", "shaped.py")[0] == 0
    out = said(capfd, "dump", "1/end")
    assert "shape     shapes.Shape" in out
    assert "a round shape" in out
    assert all(len(line) < 140 for line in out.splitlines())
    (flows / "shapes.py").unlink()
    code, out, _ = flowc(flows, "dump", "1/end")
    assert code == 0
    assert "cannot be loaded: it needs the module 'shapes'" in out
    assert "'hello world" in out


def test_follow(flows: Path) -> None:
    run = threading.Thread(target=flowc, args=(flows, "run", "fan.py", "--nap", "0.7"))
    run.start()
    while not (flows / ".flowc/FanFlow/1/status.json").exists():
        time.sleep(0.02)
    code, out, err = flowc(flows, "logs", "1", "--follow")
    run.join()
    assert code == 0
    assert "work/2 | item 2" in out.splitlines()
    assert out.splitlines()[-1] == "end | squares [0, 1, 4]"
    assert "work/0 | to stderr 0" in err.splitlines()


def test_a_lost_run_is_shown_as_such(runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "FanFlow" / "1"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text((runs / ".flowc/FanFlow/1/run.json").read_text())
    (folder / "status.json").write_text('{"state": "running", "started": 1.0, "finished": null, "pid": 1, "host": "x"}')
    out = said(capfd, "show", "--datastore", str(tmp_path))
    assert "state      lost" in out
    assert "flowc resume continues it" in out
    assert "lost" in said(capfd, "runs", "--datastore", str(tmp_path))


def test_a_run_that_was_cut_off_hides_no_other(runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number, text in (("1", (runs / ".flowc/FanFlow/1/run.json").read_text()), ("2", '{"version": 1, "fl')):
        (tmp_path / "FanFlow" / number).mkdir(parents=True)
        (tmp_path / "FanFlow" / number / "run.json").write_text(text)
    assert main(["runs", "--datastore", str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    assert "FanFlow/1" in out
    assert "run.json of run FanFlow/2" in err


def test_output_into_a_closed_pipe_is_no_error(runs: Path) -> None:
    import subprocess

    process = subprocess.Popen(
        [*FLOWC, "plan", "fan.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=runs
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
