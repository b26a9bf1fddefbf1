"""Whether a job lacked memory, as both generations of cgroups tell it."""

from __future__ import annotations

from pathlib import Path

import pytest
from flowc.runtime.slurm.out_of_memory import lacked_memory


@pytest.mark.parametrize(
    ("cgroups", "place", "counts", "lacked"),
    [
        ("0::/job_4/step_batch\n", "job_4/step_batch/memory.events", "oom 2\noom_kill 1\noom_group_kill 0\n", True),
        ("0::/job_4/step_batch\n", "job_4/step_batch/memory.events", "oom 0\noom_kill 0\n", False),
        ("5:cpu:/a\n4:memory:/u/job_4\n", "memory/u/job_4/memory.oom_control", "under_oom 0\noom_kill 3\n", True),
        ("4:memory,hugetlb:/job_4\n", "memory/job_4/memory.oom_control", "under_oom 0\noom_kill 0\n", False),
        ("0::/job_4\n", "elsewhere", "", False),
        ("nonsense", "elsewhere", "", False),
    ],
)
def test_deaths_for_want_of_memory(cgroups: str, place: str, counts: str, lacked: bool, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text(cgroups)
    file = tmp_path / "root" / place
    file.parent.mkdir(parents=True)
    file.write_text(counts)
    assert lacked_memory(str(tmp_path / "cgroup"), str(tmp_path / "root")) == lacked


def test_where_nobody_counts(tmp_path: Path) -> None:
    assert not lacked_memory(str(tmp_path / "absent"))
