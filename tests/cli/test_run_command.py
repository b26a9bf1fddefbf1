"""``flowc run``, ``flowc resume`` and ``python flow.py``: real runs in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flows_for_cli import FLOWC, flowc


def test_run(flows: Path) -> None:
    words = ["--alpha=-2", "--name-of", "ann", "--loud", "--tag", "a", "--tag", "b", "--run-id-file", "id.txt"]
    code, out, err = flowc(flows, "run", "hello.py", *words)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "[1] HelloFlow/1 starts in .flowc"
    assert "[1] start | hello ann -2.0 True" in lines
    assert lines[-1].startswith("[1] HelloFlow/1 done in ")
    assert (flows / "id.txt").read_text() == "1"
    info = json.loads((flows / ".flowc/HelloFlow/1/run.json").read_text())
    assert info["parameters"] == {"alpha": -2.0, "name-of": "ann", "loud": True}
    assert info["tags"] == ["a", "b"]


def test_the_words_may_come_in_any_order(flows: Path) -> None:
    code, out, err = flowc(flows, "--datastore", "one", "run", "--loud", "--alpha", "2", "hello.py", "--quiet")
    assert (code, err) == (0, "")
    assert out == "[1] start | hello world 2.0 True\n"
    assert (flows / "one/HelloFlow/1").is_dir()


def test_underscores_do_for_hyphens(flows: Path) -> None:
    code, out, _ = flowc(flows, "run", "hello.py:HelloFlow", "--name_of", "bob")
    assert code == 0
    assert "hello bob" in out


@pytest.mark.slow
def test_python_flow_py_run(flows: Path) -> None:
    command = [sys.executable, "hello.py"]
    code, out, err = flowc(flows, "--no-pylint", "--metadata=local", "--datastore", "local", "--with", "retry:times=1",
                           "run", "--alpha", "3", "--max-workers", "2", command=command)  # fmt: skip
    assert code == 0, err
    assert "[1] start | hello world 3.0 False" in out.splitlines()
    assert err == "flowc: note: without a meaning here, so ignored: --no-pylint, --metadata\n"
    plan = json.loads((flows / ".flowc/HelloFlow/1/run.json").read_text())["plan"]
    assert [step["retry"]["times"] for step in plan["steps"]] == [1, 1]
    code, out, err = flowc(flows, "dump", "1/start", command=command)
    assert code == 0, err
    assert "greeting  str" in out
    code, out, err = flowc(flows, "show", command=command)
    assert code == 0
    assert "Begin with a greeting." in out
    code, out, err = flowc(flows, "logs", "1/start", command=command)
    assert (code, out) == (0, "hello world 3.0 False\n")
    code, out, err = flowc(flows, "check", command=command)
    assert code == 0, err
    code, out, err = flowc(flows, "run", "--alhpa", "3", command=command)
    assert (code, out) == (2, "")
    assert err == (
        "flowc: error: there is no option --alhpa; did you mean --alpha?\nTry 'python hello.py run --help' for help.\n"
    )


def test_failure_is_reported_and_resumed(flows: Path) -> None:
    command = [sys.executable, "fan.py"]
    code, out, err = flowc(flows, "run", "--bad", "1", command=command)
    assert code == 1
    assert "[1] work/1 failed in attempt 1: ValueError: bad item 1" in out.splitlines()
    assert "[1] work/1 is tried again (attempt 2)" in out.splitlines()
    report = err.splitlines()
    assert report[1:3] == ["work/1 failed: ValueError: bad item 1", "  attempt 2 of 2"]
    assert "    ValueError: bad item 1" in report
    assert not any("flowc/" in line for line in report if line.strip().startswith("File"))
    assert report[-2:] == [
        "  its output:  python fan.py logs 1/work/1",
        "  to go on:    python fan.py resume 1",
    ]
    (flows / "mended").touch()
    code, out, err = flowc(flows, "resume", command=command)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "[2] FanFlow/2 starts in .flowc, resumes 1"
    assert "[2] start taken over" in lines
    assert sum("item" in line for line in lines) == 1
    assert "[2] end | squares [0, 1, 4]" in lines
    code, out, err = flowc(flows, "resume", command=command)
    assert code == 2
    assert "run FanFlow/2 succeeded" in err
    code, out, err = flowc(flows, "resume", "join", "--origin-run-id", "2", command=command)
    assert (code, err) == (0, "")
    assert not any("item" in line for line in out.splitlines())
    assert "[3] end | squares [0, 1, 4]" in out.splitlines()


@pytest.mark.slow
def test_resume_finds_the_file_and_keeps_the_parameters(flows: Path) -> None:
    assert flowc(flows, "run", "fan.py", "--bad", "1", "--width", "2", "--datastore", "store")[0] == 1
    elsewhere = flows / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mended").touch()
    code, out, err = flowc(elsewhere, "resume", "1", "--datastore", "../store")
    assert (code, err) == (0, "")
    assert "[2] end | squares [0, 1]" in out.splitlines()
    (flows / "fan.py").rename(flows / "moved.py")
    code, out, err = flowc(flows, "resume", "1", "--datastore", "store")
    assert code == 2
    assert "name it with --file" in err
    code, out, err = flowc(flows, "resume", "1", "--datastore", "store", "--file", "hello.py")
    assert code == 2
    assert "the file holds flow HelloFlow; run FanFlow/1 is of flow FanFlow" in err
    code, out, err = flowc(flows, "resume", "1", "--datastore", "store", "--file", "moved.py", "--from", "strat")
    assert code == 2
    assert "flow FanFlow has no step strat; did you mean start?" in err


def test_a_killed_task_is_reported(flows: Path) -> None:
    code, _, err = flowc(flows, "run", "fan.py", "--crash", "1", "--datastore", "the store")
    assert code == 1
    report = err.splitlines()
    assert report[1] == "work/1 failed: killed by SIGKILL (out of memory?)"
    assert "    to stderr 1" in report
    assert report[-1] == "  to go on:    flowc resume --datastore 'the store' 1"


def test_a_wide_fan_out_is_summed_up(flows: Path) -> None:
    code, out, _ = flowc(flows, "run", "fan.py", "--width", "60")
    assert code == 0
    lines = [line for line in out.splitlines() if " | " not in line]
    assert "[1] work: 60 tasks" in lines
    assert any(line.startswith("[1] work: 60 of 60 tasks done in ") for line in lines)
    assert len(lines) == 7


def test_interrupt(flows: Path) -> None:
    process = subprocess.Popen([*FLOWC, "run", "fan.py", "--nap", "30"], cwd=flows, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "| item" in line:
            break
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - began < 8
    assert "flowc resume 1" in err
    assert "the run was interrupted: ended by SIGINT" in err.splitlines()
    assert "failed" not in err
    assert "Traceback" not in err
    code, out, _ = flowc(flows, "show", "1")
    assert code == 0
    assert "the run was interrupted: ended by SIGINT" in out.splitlines()


def test_the_names_of_the_run_for_a_program_that_started_it(flows: Path) -> None:
    assert flowc(flows, "run", "hello.py", "--runner-attribute-file", "names.json")[0] == 0
    assert json.loads((flows / "names.json").read_text()) == {"flow_name": "HelloFlow", "run_id": "1"}


def test_a_reader_that_leaves_does_not_end_the_run(flows: Path) -> None:
    process = subprocess.Popen([*FLOWC, "run", "fan.py", "--nap", "0.3"], cwd=flows, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == 0
    assert json.loads((flows / ".flowc/FanFlow/1/status.json").read_text())["state"] == "done"


def test_a_datastore_that_cannot_be_written(flows: Path) -> None:
    (flows / "store").mkdir()
    (flows / "store" / "HelloFlow").write_text("in the way")
    code, _, err = flowc(flows, "run", "hello.py", "--datastore", "store")
    assert code == 2
    assert err.startswith("flowc: error: ")
    assert "Traceback" not in err


def test_tags_and_datastore_come_from_the_environment(flows: Path) -> None:
    assert flowc(flows, "run", "hello.py", FLOWC_DATASTORE="from_env")[0] == 0
    assert os.path.isdir(flows / "from_env/HelloFlow/1")
