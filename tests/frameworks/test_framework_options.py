"""Options of the frameworks' decorators and commands, without the frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.frameworks import deepspeed, environment, ray
from flowc.runtime.frameworks.base import Site
from flowc.runtime.frameworks.standby import Command
from framework_rows import Row
from framework_rows_control import RAY
from frameworks_lab import GangLab, require
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


def test_deepspeed_listens_where_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    standing: Any = Standing()
    words = ["--master_port", "29511", "--master_addr=10.0.0.9"]
    deepspeed.DeepSpeed(site(tmp_path), standing).run("train.py", None, words)
    argv = standing.argv[1]
    assert [word for word in argv if "master" in word] == ["--master_port", "--master_addr=10.0.0.9"]
