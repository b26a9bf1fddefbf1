"""Options of the frameworks' decorators and commands, without the frameworks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from flow_target import until
from flowc.runtime.frameworks import deepspeed, environment, ray
from flowc.runtime.frameworks.base import Site
from flowc.runtime.frameworks.standby import Command
from framework_rows import Row
from framework_rows_control import RAY
from frameworks_lab import HEAVY, GangLab, patient, require
from test_environment import HERE, OneHost


def site(folder: Path, **options: Any) -> Site:
    return Site(OneHost(0, *HERE), options, str(folder), source=str(folder))  # type: ignore[arg-type]


@pytest.mark.parametrize("decorator", ["ray", "metaflow_ray"])
def test_a_gang_must_have_formed_in_the_time_that_its_decorator_gives(decorator: str, tmp_path: Path) -> None:
    row = Row(decorator, "pass", lambda size: [], needs=RAY.needs, options="all_nodes_started_timeout=1")
    require(row)
    gang = GangLab(tmp_path, row.flow(), row.files)
    gang.create_run()
    done = gang.rank_0_alone()
    assert done.returncode == 69 and "rank 1" in done.stderr and "1 s" in done.stderr, done.stderr
    gang.assert_clean(done.stdout, done.stderr)


def test_ray_listens_where_it_is_told_to(tmp_path: Path) -> None:
    assert ray._port(site(tmp_path, main_port=16379)) == 16379
    # Its service for clients has another one, whatever the user says.
    assert ray._port(site(tmp_path, main_port=16379), own=True) != 16379
    assert ray._port(site(tmp_path)) > 1023


class Standing:
    """Nodes that note what they are to run."""

    pythons = ("python-0", "python-1")

    def run(self, commands: Mapping[int, Command], name: str) -> None:
        self.argv = {rank: list(command.argv) for rank, command in commands.items()}
        self.env = {rank: dict(command.env) for rank, command in commands.items()}


@pytest.mark.parametrize(
    ("given", "gpus", "slots"),
    [(None, 0, 1), (None, 3, 3), ({"num_gpus": 2}, 0, 2), (["--num_gpus=4", "--module"], 1, 4)],
)
def test_deepspeed_s_launcher_is_told_of_all_nodes_and_which_one_it_is(
    given: Any, gpus: int, slots: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").touch()
    monkeypatch.setattr(environment, "device_count", lambda site: gpus)
    standing: Any = Standing()
    deepspeed.DeepSpeed(site(tmp_path), standing).run("train.py", {"lr": 0.1}, given)
    assert set(standing.argv) == {0, 1}
    for rank, argv in standing.argv.items():
        assert argv[:2] == [f"python-{rank}", "-c"]
        assert argv[3] == f"rank0 slots={slots}\nrank1 slots={slots}\n"
        assert "--no_ssh" in argv and f"--node_rank={rank}" in argv and "--master_addr=127.0.0.1" in argv
        assert argv[-3:] == [str(tmp_path / "train.py"), "--lr", "0.1"]
    assert standing.argv[0][4:-6] == [word.replace("_rank=1", "_rank=0") for word in standing.argv[1][4:-6]]


def test_deepspeed_s_processes_share_the_cores_of_their_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.py").touch()
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    standing: Any = Standing()
    started = deepspeed.DeepSpeed(site(tmp_path), standing, ["16", "9"])
    started.run("train.py", None, {"num_gpus": 4})
    assert standing.env == {0: {"OMP_NUM_THREADS": "4"}, 1: {"OMP_NUM_THREADS": "2"}}
    started.run("train.py", None, {"num_gpus": 32})
    assert standing.env[0] == {"OMP_NUM_THREADS": "1"}
    # The step has set it for its own node; the user had set it on the other one from the beginning.
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    deepspeed.DeepSpeed(site(tmp_path), standing, ["16", None]).run("train.py", None, {"num_gpus": 4})
    assert standing.env == {0: {}, 1: {}}


@pytest.mark.slow
@pytest.mark.timeout(HEAVY)
@pytest.mark.parametrize(
    ("seen", "number", "expected"),
    [("3, GPU-ab", 2, "3,GPU-ab"), ("5", 2, "5"), ("", 1, ""), (None, 2, "0,1")],
)
def test_deepspeed_s_processes_see_the_devices_of_their_rank(
    seen: str | None, number: int, expected: str, tmp_path: Path
) -> None:
    require(Row("deepspeed", "", lambda size: [], needs=("torch", "deepspeed")))
    saying = "import os\nos.write(1, ('sees ' + os.environ['CUDA_VISIBLE_DEVICES'] + chr(10)).encode())\n"
    (tmp_path / "say.py").write_text(saying)
    env = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    if seen is not None:
        env["CUDA_VISIBLE_DEVICES"] = seen
    hostfile = f"rank0 slots={number}\nrank1 slots={number}\n"
    words = ["--no_ssh", "--master_addr=127.0.0.1", "--master_port=29511", "--node_rank=1", str(tmp_path / "say.py")]
    done = subprocess.run(
        [sys.executable, "-c", deepspeed._START, hostfile, "30,0.5", *words], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("sees")] == [f"sees {expected}"] * number


DEAF = """
import os, signal, sys, time
up, what = sys.argv[-2:]  # after --local_rank
rank = os.environ["LOCAL_RANK"]
def count(*_):
    open(f"{up}-asked", "a").write("once ")
signal.signal(signal.SIGTERM, {"0": signal.SIG_IGN, "1": count, "2": lambda *_: sys.exit(0)}[rank])
open(f"{up}-{rank}", "w").close()
while not all(os.path.exists(f"{up}-{number}") for number in range(3)):
    time.sleep(0.05)
if rank == "0" and what == "fail":
    sys.exit(7)
end = time.monotonic() + (1.5 if what == "wait" else 60)
while time.monotonic() < end:
    time.sleep(0.1)
open(f"{up}-saved-{rank}", "w").close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["fail", "wait"])
def test_deepspeed_s_launcher_waits_for_the_deaf_only_where_it_was_asked_to_end(what: str, tmp_path: Path) -> None:
    require(Row("deepspeed", "", lambda size: [], needs=("torch", "deepspeed")))
    (tmp_path / "deaf.py").write_text(DEAF)
    words = ["--no_ssh", "--force_multi", "--master_addr=127.0.0.1", "--master_port=29512", "--node_rank=0"]
    words += [str(tmp_path / "deaf.py"), str(tmp_path / "up"), what]
    launcher = subprocess.Popen(
        [sys.executable, "-c", deepspeed._START, "rank0 slots=3\n", "20,0.5", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        start_new_session=True,
    )  # fmt: skip
    until(lambda: all((tmp_path / f"up-{rank}").exists() for rank in range(3)), 60)
    if what == "wait":
        os.killpg(launcher.pid, signal.SIGTERM)
    began = time.monotonic()
    said = launcher.communicate(timeout=60)[0]
    assert launcher.returncode == (7 if what == "fail" else 1), said
    assert time.monotonic() - began < (patient(3) if what == "fail" else 20), said
    saved = [(tmp_path / f"up-saved-{rank}").exists() for rank in range(3)]
    assert saved == ([False] * 3 if what == "fail" else [True, True, False]), said
    assert (tmp_path / "up-asked").read_text() == "once ", said


def test_deepspeed_listens_where_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    standing: Any = Standing()
    words = ["--master_port", "29511", "--master_addr=10.0.0.9"]
    deepspeed.DeepSpeed(site(tmp_path), standing).run("train.py", None, words)
    argv = standing.argv[1]
    assert [word for word in argv if "master" in word] == ["--master_port", "--master_addr=10.0.0.9"]
