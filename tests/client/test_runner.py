"""`Runner`: flows started from a script."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from flowc import FlowcError, Runner

pytestmark = pytest.mark.slow

FLOW = """
import os
import time

from flowc import FlowSpec, JSONType, Parameter, step


class RunnerFlow(FlowSpec):
    alpha = Parameter("alpha", default=1)
    rate_of = Parameter("rate-of", default=1.5)
    loud = Parameter("loud", default=False)
    table = Parameter("table", type=JSONType, default="{}")
    text = Parameter("text", default="")
    nap = Parameter("nap", default=0.0)

    @step
    def start(self):
        print("variable", os.environ.get("RUNNER_VARIABLE"))
        time.sleep(self.nap)
        self.all = (self.alpha, self.rate_of, self.loud, self.table, self.text)
        self.next(self.end)

    @step
    def end(self):
        if self.alpha == 13 and not os.path.exists("lucky"):
            raise ValueError("unlucky")
        self.done = True
"""


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FLOWC_DATASTORE", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runner_flow.py").write_text(FLOW)
    return tmp_path


def test_run(flow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = Runner("runner_flow.py", env={"RUNNER_VARIABLE": "here"}, decospecs=["retry:times=1"])
    with runner.run(
        alpha=3, rate_of=-2, loud=True, table={"a": [1, None]}, text="--alpha 'x'", max_workers=2, tags=["one", "two"]
    ) as result:
        assert (result.status, result.returncode) == ("successful", 0)
        assert result.run.pathspec == "RunnerFlow/1"
        assert result.run["start"].task.data.all == (3, -2.0, True, {"a": [1, None]}, "--alpha 'x'")
        assert result.run.tags == {"one", "two"}
        assert result.run.finished
        assert "[1] start | variable here\n" in result.stdout
        assert result.stderr == ""
    assert "[1] start | variable here\n" in capsys.readouterr().out
    assert not os.path.exists(result._name_file)


def test_failure_and_resume(flow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Runner("runner_flow.py", show_output=False, datastore="store") as runner:
        failed = runner.run(alpha=13)
        assert (failed.status, failed.returncode) == ("failed", 1)
        assert failed.run.state == "failed"
        assert "end failed: ValueError: unlucky" in failed.stderr
        (flow / "lucky").touch()
        resumed = runner.resume()
        assert resumed.status == "successful"
        assert resumed.run.origin_run_id == "1"
        assert "variable" not in resumed.stdout
        again = runner.resume("2", step="start")
        assert again.run.id == "3"
        assert "variable None" in again.stdout
    assert capsys.readouterr() == ("", "")
    assert (flow / "store/RunnerFlow/3").is_dir()


def test_a_run_that_does_not_start(flow: Path) -> None:
    with pytest.raises(
        FlowcError, match=r"(?s)did not start \(exit code 2\).*there is no option --alhpa; did you mean --alpha"
    ):
        Runner("runner_flow.py", show_output=False).run(alhpa=3)
    with pytest.raises(FlowcError, match=r"there is no file none\.py"):
        Runner("none.py", show_output=False).run()


def test_async_run(flow: Path) -> None:
    async def both() -> list[str]:
        async with Runner("runner_flow.py", show_output=False) as runner:
            first, second = [await runner.async_run(alpha=number, nap=0.3) for number in (1, 2)]
            assert (first.status, first.returncode) == ("running", None)
            await asyncio.gather(first.wait(), second.wait(timeout=30))
            assert first.run["start"].task.data.alpha == 1
            return [first.status, second.status, *sorted([first.run.id, second.run.id])]

    assert asyncio.run(both()) == ["successful", "successful", "1", "2"]


def test_wait_gives_up_and_the_context_ends_the_run(flow: Path) -> None:
    async def main() -> None:
        async with Runner("runner_flow.py", show_output=False) as runner:
            result = await runner.async_run(nap=60)
            run = await asyncio.to_thread(lambda: result.run)
            with pytest.raises(TimeoutError, match=r"after 0\.2 s"):
                await result.wait(timeout=0.2)
            assert result.status == "running"
            assert not run.finished
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert result.status == "interrupted"
        assert run.state == "interrupted"

    asyncio.run(main())


def test_a_run_that_is_ended_has_the_time_to_save_that_its_steps_ask_for(
    flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = FLOW.replace("    @step\n    def start", "    @checkpoint(grace=8)\n    @step\n    def start")
    text = text.replace("from flowc import ", "from flowc import checkpoint, ")
    nap = "open('asleep', 'w').close()\n        try:\n            time.sleep(self.nap)\n        finally:\n"
    nap += "            time.sleep(2)\n            open('saved', 'w').close()"
    text = text.replace("time.sleep(self.nap)", nap)
    (flow / "runner_flow.py").write_text(text)
    monkeypatch.setattr("flowc.client.runner._GRACE", 0.2)

    async def main() -> None:
        async with Runner("runner_flow.py", show_output=False) as runner:
            await runner.async_run(nap=60)
            while not (flow / "asleep").exists():
                await asyncio.sleep(0.02)

    asyncio.run(main())
    assert (flow / "saved").exists()


def test_another_folder(flow: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    result = Runner("runner_flow.py", show_output=False, cwd=str(flow)).run()
    assert result.run.successful
    assert (flow / ".flowc/RunnerFlow/1").is_dir()


def test_two_flows_at_once_in_one_empty_datastore(flow: Path) -> None:
    (flow / "other_flow.py").write_text(FLOW.replace("RunnerFlow", "OtherFlow"))

    async def both() -> list[tuple[str, float]]:
        runners = [Runner(file, show_output=False) for file in ("runner_flow.py", "other_flow.py")]
        # The first takes its id first and is asked for it last.
        first = await runners[0].async_run(alpha=1, nap=1.0)
        second = await runners[1].async_run(alpha=2)
        await second.wait()
        found = [(second.run.pathspec, second.run["start"].task.data.alpha)]
        await first.wait()
        return [*found, (first.run.pathspec, first.run["start"].task.data.alpha)]

    assert asyncio.run(both()) == [("OtherFlow/1", 2), ("RunnerFlow/1", 1)]


def test_no_file_is_left_behind(flow: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    runner = Runner("runner_flow.py", show_output=False)
    assert runner.run().run.id == "1"
    with pytest.raises(FlowcError):
        runner.run(alhpa=1)

    async def later() -> str:
        result = await runner.async_run()
        await result.wait()
        assert list(temporary.iterdir()) == []
        return result.run.id

    assert asyncio.run(later()) == "2"
    assert list(temporary.iterdir()) == []


def test_a_run_that_was_ended_still_has_its_name(flow: Path) -> None:
    async def main() -> str:
        result = await Runner("runner_flow.py", show_output=False).async_run(nap=60)
        while not os.path.getsize(result._name_file):
            await asyncio.sleep(0.02)
        result.terminate()
        return result.run.pathspec

    assert asyncio.run(main()) == "RunnerFlow/1"


def test_what_the_script_cannot_print_holds_up_nothing(flow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (flow / "runner_flow.py").write_text(FLOW.replace('print("variable"', 'print("h\\u00e9"'))
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    result = Runner("runner_flow.py").run()
    assert result.status == "successful"
    assert "start | h\u00e9 None" in result.stdout
    assert b"start | h\\xe9 None" in out.buffer.getvalue()
