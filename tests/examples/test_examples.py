"""Every example runs with the command that its README gives, and its results are right."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flowc
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = sorted(folder.name for folder in EXAMPLES.iterdir() if (folder / "flow.py").exists())

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a ``flowc`` command in an empty folder; the client of this process looks into the same datastore."""
    monkeypatch.setenv("FLOWC_DATASTORE", str(tmp_path / "store"))
    monkeypatch.delenv("READY", raising=False)

    def run(
        *arguments: str | Path, status: int = 0, seconds: float = 240, **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "flowc", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run


def flow(name: str) -> Path:
    return EXAMPLES / name / "flow.py"


def data(pathspec: str) -> Any:
    return flowc.Run(pathspec).data


def require(*modules: str) -> None:
    """Skip the test where a module is not installed. None is imported: tests that fork would be slow ever after."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def test_there_is_a_readme_for_every_example_that_gives_its_command() -> None:
    for name in NAMES:
        text = (EXAMPLES / name / "README.md").read_text("utf-8")
        assert f"flowc run examples/{name}/flow.py" in text, name


def test_examples_are_free_of_findings(command: Command) -> None:
    # Those of the others are looked at where their manifests are compiled.
    for name in ("word_count", "torch_ddp"):
        done = command("check", "--format", "json", flow(name))
        assert json.loads(done.stdout) == []


def test_word_count(command: Command) -> None:
    done = command("run", flow("word_count"))
    result = data("WordCountFlow/1")
    assert len(result.by_document) == 6
    assert sum(words.total() for words in result.by_document.values()) == result.words.total() > 1000
    assert result.by_document["jabberwocky"]["vorpal"] == 2
    assert result.shared_words == sorted(set.intersection(*(set(words) for words in result.by_document.values())))
    assert result.once == sum(1 for n in result.words.values() if n == 1)
    assert result.letters == sum(len(word) * n for word, n in result.words.items())
    assert "document " in result.report
    assert "most frequent: " in done.stdout


@pytest.mark.slow
def test_word_count_takes_its_parameters_and_the_other_case(command: Command, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text("Red fish, blue fish")
    (tmp_path / "common").write_text("red")
    command(
        "run", flow("word_count"), "--documents", tmp_path / "texts", "--common", tmp_path / "common",
        "--top", "1", "--ranks", "1", "--full", "false",
    )  # fmt: skip
    result = data("WordCountFlow/1")
    assert result.frequent_words == [("fish", 2)]
    assert result.report == "4 words, 3 different, in 1 documents"


def test_hello(command: Command) -> None:
    assert "Hello, world!" in command("run", flow("hello")).stdout
    assert data("HelloFlow/1").greeting == "Hello, world!"


def test_foreach(command: Command) -> None:
    command("run", flow("foreach"), "--limit", "5500")
    result = data("ForeachFlow/1")
    assert result.counts == [168, 135, 127, 120, 119, 56]
    assert result.largest == 5483


def test_branches(command: Command) -> None:
    command("run", flow("branches"))
    result = data("BranchFlow/1")
    assert (round(result.mean, 3), result.median, round(result.deviation, 2)) == (61.333, 62.5, 13.04)
    assert result.notes == ["two measures of the centre", "one measure of the spread"]
    assert result.unit == "mm"


def test_nested_foreach(command: Command) -> None:
    command("run", flow("nested_foreach"))
    result = data("NestedForeachFlow/1")
    assert result.best == 2
    assert list(result.errors) == [0, 1, 2]
    degree = flowc.Step("NestedForeachFlow/1/average")
    assert [task.data.places for task in degree] == [[[(i, 3), (j, 4)] for j in range(4)] for i in range(3)]


def test_gang(command: Command) -> None:
    command("run", flow("gang"), "--ranks", "3", "--terms", "30000")
    result = data("GangFlow/1")
    assert math.isclose(result.total, result.by_hand) and abs(result.total - math.pi) < 1e-3


@pytest.mark.parametrize(("size", "method"), [("8", "insertion sort"), ("50", "merge sort")])
def test_switch(command: Command, size: str, method: str) -> None:
    command("run", flow("switch"), "--size", size)
    result = data("SwitchFlow/1")
    assert result.method == method
    assert result.ordered == sorted(result.numbers) and len(result.ordered) == int(size)


@pytest.mark.slow
def test_recursion(command: Command) -> None:
    command("run", flow("recursion"), "--number", "9")
    result = data("RecursionFlow/1")
    assert math.isclose(result.value, 3)
    assert len(result.history) - 1 == 7


@pytest.mark.slow
def test_parameters_and_config(command: Command, tmp_path: Path) -> None:
    command("run", flow("parameters_and_config"))
    assert [row[0] for row in data("InputsFlow/1").stations] == ["Jungfraujoch", "Sonnblick", "Saentis"]
    assert data("InputsFlow/1").stations[1][1] == "Austria"

    (tmp_path / "other.json").write_text('{"title": "Low places", "unit": "metres"}')
    done = command(
        "run", flow("parameters_and_config"), "--config", "settings", tmp_path / "other.json", "--limit", "1",
        "--reverse", "true", "--countries", "AT,DE", "--rename", "{}", "--label", "mine",
    )  # fmt: skip
    assert data("InputsFlow/2").stations == [("Wien", "AT", 198.0)]
    assert data("InputsFlow/2").unit == "metres"
    assert "Low places (mine)" in done.stdout


@pytest.mark.slow
def test_retry_catch_timeout(command: Command) -> None:
    command("run", flow("retry_catch_timeout"))
    result = data("TroubleFlow/1")
    assert result.data == ["good data, attempt 0", "shaky data, attempt 2"]
    assert len(result.failures) == 2
    assert result.failures[0].startswith("Timeout: ")
    assert result.failures[1] == "ValueError: the data make no sense"


def test_checkpoint(command: Command) -> None:
    command("run", flow("checkpoint"))
    result = data("CheckpointFlow/1")
    assert (result.began_at, result.total) == (6, 45)


@pytest.mark.slow
def test_resume(command: Command) -> None:
    done = command("run", flow("resume"), status=1)
    assert "the south is not ready yet" in done.stdout + done.stderr
    command("resume", "ResumeFlow/1", READY="yes")
    result = data("ResumeFlow/2")
    assert result.results == ["north surveyed", "east surveyed", "south surveyed"]
    assert result.runs == ["1", "1", "2"]
    assert result.stamp == flowc.Task("ResumeFlow/1/start/_").data.stamp


# Gangs of a framework ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_torch_hello(command: Command) -> None:
    require("torch")
    done = command("run", flow("torch_hello"), PYTHONUNBUFFERED="")
    assert sorted(re.findall(r"hello from rank (\d) of 4", done.stdout)) == ["0", "1", "2", "3"]
    assert data("TorchHelloFlow/1").nodes_seen == [0, 1]


@pytest.mark.slow
def test_torch_tensor_pass(command: Command) -> None:
    require("torch")
    command("run", flow("torch_tensor_pass"))
    assert data("TensorPassFlow/1").tensor == [3.5, 3.5, 3.5]


@pytest.mark.slow
def test_torch_ddp(command: Command) -> None:
    require("torch")
    command("run", flow("torch_ddp"))
    learnt = data("DDPFlow/1").learnt
    assert [round(number, 1) for number in (*learnt["weight"], learnt["bias"])] == [2.0, -3.0, 0.5]
    assert learnt["ranks"] == 2


@pytest.mark.slow
def test_gpt_goes_on_after_it_broke_down(command: Command) -> None:
    require("torch")
    done = command("run", flow("gpt"), "--steps", "60", "--fail_at", "45")
    result = data("GPTFlow/1")
    assert "the machine was taken away" in done.stdout
    assert (result.attempt, done.stdout.count("goes on from step 40")) == (1, 2), done.stdout
    losses = result.learnt["losses"]
    assert len(losses) == 60 and losses[0] > 4 and losses[-1] < 3
    assert len(result.learnt["written"]) == 121


@pytest.mark.slow
def test_tensorflow(command: Command) -> None:
    require("tensorflow")
    command("run", flow("tensorflow"))
    result = data("TensorFlowFlow/1")
    assert result.replicas == 2
    assert [[round(number, 2) for number in learnt] for learnt in result.learnt] == [[3.0, -1.0]] * 2


@pytest.mark.slow
def test_jax(command: Command) -> None:
    require("jax")
    command("run", flow("jax"))
    assert data("JaxFlow/1").totals == [2000 * 1999 / 2] * 2
