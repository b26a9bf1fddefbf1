"""Which process of a node is asked to end when the whole gang is; tests/semantics_on_slurm has a real one do so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flowc.runtime.slurm import control_rank

RANK = ["python3", "/code/start-flowc.py", "step", "train", "--index", "0"]
ENVIRON = ["PATH=/bin", "SLURM_JOB_ID=7", "SLURM_PROCID=0"]


class Proc:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, pid: int, parent: int, argv: list[str], environ: list[str]) -> None:
        folder = self.folder / str(pid)
        folder.mkdir()
        (folder / "cmdline").write_text("".join(f"{word}\0" for word in argv))
        (folder / "environ").write_text("".join(f"{word}\0" for word in environ))
        (folder / "stat").write_text(f"{pid} (a) name) S {parent} 1 1")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(control_rank, "PROC", str(tmp_path))
    (tmp_path / "self").mkdir()
    return Proc(tmp_path)


def test_the_supervisor_is_the_first_of_those_that_look_alike(proc: Proc) -> None:
    proc.add(30, 20, RANK, ENVIRON)
    proc.add(20, 10, RANK, ENVIRON)
    proc.add(10, 9, RANK, ENVIRON)
    proc.add(9, 1, ["slurmstepd: [7.0]"], ["PATH=/bin"])
    proc.add(40, 30, ["python", "train.py"], ENVIRON)
    assert control_rank.find("7") == 10


def test_a_container_s_own_process_is_not_it(proc: Proc) -> None:
    proc.add(10, 9, ["apptainer", "exec", "--bind", "/x", "image.sif", *RANK], ENVIRON)
    proc.add(20, 10, ["/usr/bin/python3", "-m", "flowc.runtime", "step", "train"], ENVIRON)
    assert control_rank.find("7") == 20


@pytest.mark.parametrize(
    ("argv", "environ"),
    [
        (RANK, ["SLURM_JOB_ID=7", "SLURM_PROCID=1"]),
        (RANK, ["SLURM_JOB_ID=70", "SLURM_PROCID=0"]),
        (["python3", "/code/start-flowc.py", "supervise", "step", "--", "bash"], ENVIRON),
        (["bash", "/steps/train.sbatch", "attempt"], ENVIRON),
        ([], []),
    ],
    ids=["another rank", "another job", "the job's own", "its script", "a thread of the kernel"],
)
def test_others_are_not_it(argv: list[str], environ: list[str], proc: Proc) -> None:
    proc.add(10, 9, argv, environ)
    assert control_rank.find("7") is None


def test_who_is_gone_or_another_user_s_is_passed_over(proc: Proc) -> None:
    (proc.folder / "5").mkdir()
    proc.add(10, 9, RANK, ENVIRON)
    assert control_rank.find("7") == 10


def test_the_real_files_are_read() -> None:
    assert control_rank._words(str(os.getpid()), "cmdline")[0] != b""
    assert control_rank._parent(str(os.getpid())) == os.getppid()
