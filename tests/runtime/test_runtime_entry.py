"""``python -m flowc.runtime step``: a whole flow by separate processes, and every way to start one wrongly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flowc.backends.bundle import pack, runtime_files
from flowc.compiler.plan import Catch, Feature, Gang, Parameter, Plan, Retry
from flowc.runtime.__main__ import main
from flowc.runtime.address import Address
from flowc.runtime.artifacts import ArtifactStore
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.outline import ContractError
from flowc.runtime.runs import RunInfo, create_run
from plans import End, Foreach, Next, plan, task
from same_bytes import PYTHONS

FLOW = """
from metaflow import FlowSpec, Parameter, catch, current, parallel, retry, step
from helper_beside import double

class Box:
    def __init__(self, inside):
        self.inside = inside

class SmallFlow(FlowSpec):
    n = Parameter("n", type=int, default=2)

    @step
    def start(self):
        self.things = [Box(i) for i in range(self.n)]
        print("starting", flush=False)
        self.next(self.work, foreach="things")

    @catch(var="broke")
    @retry(times=1)
    @step
    def work(self):
        if self.input.inside == 1:
            raise ValueError("one is wrong")
        self.got = double(self.input.inside)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.sum = sum(i.got for i in inputs if not i.broke)
        self.failures = [str(i.broke) for i in inputs if i.broke]
        self.next(self.train, num_parallel=2)

    @parallel
    @step
    def train(self):
        self.rank = (current.parallel.node_index, current.parallel.num_nodes, current.parallel.main_ip)
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.ranks = [i.rank for i in inputs]
        self.merge_artifacts(inputs, exclude=["rank"])
        self.next(self.end)

    @step
    def end(self):
        print("sum", self.sum)
"""

PLAN = plan(
    task("start", Foreach("work", "things")),
    task("work", Next("join"), "start", scope=("start",), retry=Retry(1), catch=Catch("broke")),
    task("join", Gang("train"), "work", joins="start"),
    task("train", Next("gather"), "join", kind="gang", scope=("join",)),
    task("gather", Next("end"), "train", joins="join"),
    task("end", End(), "gather"),
    name="SmallFlow",
    parameters=(Parameter("n", "int", 2),),
)


class Entry:
    def __init__(self, folder: Path, plan: Plan = PLAN, flow: str = FLOW) -> None:
        self.folder = folder
        self.python = sys.executable
        self.own: dict[str, str] = {}
        self.store = FileDatastore(str(folder / "store"))
        (folder / "flow.py").write_text(flow)
        (folder / "helper_beside.py").write_text("def double(x):\n    return 2 * x\n")
        self.run: RunInfo = create_run(self.store, plan.to_json(), {"n": 3}, file=str(folder / "flow.py"))

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWC_")}
        own = {"FLOWC_DATASTORE": f"file://{self.store.root}", "FLOWC_FLOW_NAME": "SmallFlow", "FLOWC_RUN_ID": "1"}
        return {**kept, **own, **self.own, **more}

    def take(self, version: str) -> None:
        """Run the steps by another Python, with the runtime in an archive as Slurm's jobs and Argo's pods have it."""
        if version not in PYTHONS:
            pytest.skip(f"not here: Python {version}")
        archive = self.folder / "flowc.zip"
        archive.write_bytes(pack(runtime_files()))
        self.python, self.own = str(PYTHONS[version]), {"PYTHONPATH": str(archive)}

    def step(self, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.python, "-m", "flowc.runtime", "step", *arguments],
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            cwd="/",
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def gang(self, step: str, size: int) -> None:
        """All ranks of a gang at once, the rank told by its variables alone."""
        with ThreadPoolExecutor(size) as pool:
            ranks = [
                pool.submit(self.step, step, FLOWC_GANG_SIZE=str(size), FLOWC_GANG_RANK=str(rank))
                for rank in range(size)
            ]
            for rank in ranks:
                rank.result()


@pytest.mark.slow
@pytest.mark.parametrize("version", ["", "3.9", "3.13"])
def test_a_whole_flow_by_separate_processes(version: str, tmp_path: Path) -> None:
    entry = Entry(tmp_path)
    if version:
        entry.take(version)
    assert entry.step("start").stdout == "starting\n"
    entry.step("work", "--index", "0")
    failed = entry.step("work", "--index", "1", code=1)
    assert "one is wrong" in failed.stderr and "flowc/runtime" not in failed.stderr
    entry.step("work", "--index", "1", FLOWC_ATTEMPT="1")
    entry.step("work", "--index", "2")
    entry.step("join")
    entry.gang("train", 2)
    entry.step("gather", "--index", "_")
    assert entry.step("end").stdout == "sum 4\n"
    records = entry.run.records(entry.store)
    artifacts = ArtifactStore(entry.store, "SmallFlow")
    end = records.read(Address("end"))
    assert end is not None and end.done
    values = {name: artifacts.load(end.artifacts[name], name) for name in ("sum", "failures", "ranks")}
    ranks = [(0, 2, "127.0.0.1"), (1, 2, "127.0.0.1")]
    assert values == {"sum": 4, "failures": ["ValueError: one is wrong"], "ranks": ranks}
    caught = records.read(Address("work", (1,)))
    assert caught is not None and (caught.attempt, caught.failure and caught.failure.type) == (1, "ValueError")
    first = records.read(Address("work", (1,)), 0)
    assert first is not None and first.state == "failed"


def test_a_failure_that_the_supervisor_saw(tmp_path: Path) -> None:
    entry = Entry(tmp_path)
    entry.step("start")
    entry.step(
        "work", "--index", "0", FLOWC_CAUGHT=json.dumps({"type": "Timeout", "message": "60 s"}), FLOWC_ATTEMPT="2"
    )
    record = entry.run.records(entry.store).read(Address("work", (0,)))
    assert record is not None and record.failure is not None and record.failure.type == "Timeout"


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["strat"], {}, "has no step 'strat'; it has start, work"),
        (["work"], {}, "takes one number for each of start"),
        (["work", "--index", "x"], {}, "'x' is not an index"),
        (["work", "--index", "0"], {}, "no record says that start is done"),
        (["start"], {"FLOWC_ATTEMPT": "two"}, "FLOWC_ATTEMPT='two' is not a whole number"),
        (["start"], {"FLOWC_ROUND": "-1"}, "FLOWC_ROUND='-1' is not"),
        (["start"], {"FLOWC_RUN_ID": "9"}, "there is no run SmallFlow/9"),
        (["start"], {"FLOWC_RUN_ID": ""}, "FLOWC_RUN_ID is not set"),
        (["start"], {"FLOWC_FLOW_NAME": ""}, "FLOWC_FLOW_NAME is not set"),
        (["start"], {"FLOWC_FLOW_FILE": "/absent.py"}, "file /absent.py is not there; set FLOWC_FLOW_FILE"),
        (["start"], {"FLOWC_DATASTORE": "gopher://x"}, "is no datastore"),
        (["start"], {"FLOWC_CAUGHT": "{"}, "FLOWC_CAUGHT is not a JSON object"),
        (["start"], {"FLOWC_CAUGHT": "[]"}, "FLOWC_CAUGHT is not a JSON object"),
        (["train", "--index", "0"], {"FLOWC_GANG_SIZE": "x", "FLOWC_GANG_RANK": "0"}, "FLOWC_GANG_SIZE"),
    ],
)
def test_wrong_starts(
    tmp_path: Path,
    arguments: list[str],
    environment: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    entry = Entry(tmp_path)
    for name, value in entry.environment(**environment).items():
        monkeypatch.setenv(name, value)
    assert main(["step", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and "Traceback" not in captured.err
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize(
    ("name", "environment", "given"),
    [
        ("time_limit.time_limit", {"FLOWC_TIMEOUT": "60"}, 90),
        ("workflow_watch.workflow_watch", {"FLOWC_WORKFLOW": "f-1"}, 90),
        ("time_limit.time_limit", {"FLOWC_TIMEOUT": "60", "FLOWC_GANG_RANK": "1"}, 90),
    ],
)
def test_who_ends_a_rank_knows_how_long_its_step_may_save(
    name: str, environment: dict[str, str], given: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = (Feature("checkpoint", {"grace": given}),)
    steps = (
        task("start", Gang("train", 2)),
        task("train", Next("end"), "start", kind="gang", scope=("start",), features=saves),
        task("end", End(), "train", joins="start"),
    )
    entry = Entry(tmp_path, plan(*steps, name="SmallFlow", parameters=PLAN.parameters))
    entered: list[object] = []

    def enter(*arguments: object) -> None:
        entered.append(arguments[-1])
        raise ContractError("seen")

    monkeypatch.setattr(f"flowc.runtime.{name}", enter)
    for variable, value in entry.environment(FLOWC_GANG_SIZE="2", **{"FLOWC_GANG_RANK": "0", **environment}).items():
        monkeypatch.setenv(variable, value)
    assert main(["step", "train"]) == 2 and entered == [given]


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        ("class SmallFlow(:\n", "line 1"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("import not_there_at_all\n", "No module named 'not_there_at_all'"),
        ("raise SystemExit(3)\n", "SystemExit"),
        ("open('/absent')\n", "/absent"),
        ("from flowc import FlowSpec\nclass Other(FlowSpec): pass\n", "has no flow SmallFlow; it has Other"),
    ],
)
def test_a_flow_file_that_does_not_load(tmp_path: Path, flow: str, said: str) -> None:
    done = Entry(tmp_path, flow=flow).step("start", code=2)
    assert said in done.stderr and "flowc/runtime" not in done.stderr and "flowc/dsl" not in done.stderr


def test_usage() -> None:
    done = subprocess.run([sys.executable, "-m", "flowc.runtime", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "step" in done.stdout
    assert subprocess.run([sys.executable, "-m", "flowc.runtime"], capture_output=True).returncode == 2
