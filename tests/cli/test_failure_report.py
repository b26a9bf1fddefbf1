"""What is said at the end of a run that failed."""

from __future__ import annotations

from typing import Any

import pytest
from flowc.cli.invocation import Invocation
from flowc.cli.report import failure_lines

FAILURE = {
    "address": "train/1",
    "attempt": 0,
    "type": "ValueError",
    "message": "bad shard",
    "exit_code": 1,
    "signal": None,
    "rank": None,
    "traceback": 'Traceback (most recent call last):\n  File "flow.py", line 3, in train\nValueError: bad shard\n',
    "last_lines": [
        "loading shard 1\n",
        "Traceback (most recent call last):\n",
        '  File "flow.py", line 3, in train\n',
        "ValueError: bad shard\n",
    ],
}


def said(attempts: int | None = None, **more: Any) -> list[str]:
    return failure_lines({**FAILURE, **more}, invocation=Invocation(), run="12", attempts=attempts)


def test_a_task_with_its_exception() -> None:
    assert said() == [
        "train/1 failed: ValueError: bad shard",
        "",
        "    Traceback (most recent call last):",
        '      File "flow.py", line 3, in train',
        "    ValueError: bad shard",
        "",
        "  its output:  flowc logs 12/train/1",
        "  to go on:    flowc resume 12",
    ]


def test_a_rank_with_its_exit_code_and_what_it_said_last() -> None:
    lines = said(rank=1)
    assert lines[1] == "  rank 1 of its gang failed first, exit code 1"
    assert lines.index("  it said last:") > lines.index("    ValueError: bad shard")
    assert lines.count("    loading shard 1") == 1 and lines.count("    ValueError: bad shard") == 1


@pytest.mark.parametrize(
    ("more", "facts"),
    [
        ({"exit_code": 41}, "exit code 41"),
        ({"exit_code": 41, "rank": 2, "traceback": ""}, "rank 2 of its gang failed first, exit code 41"),
        ({"exit_code": None, "signal": "SIGKILL", "rank": 0}, "rank 0 of its gang failed first"),
        ({"attempt": 1, "attempts": 3}, "attempt 2 of 3"),
    ],
)
def test_facts(more: dict[str, Any], facts: str) -> None:
    assert said(**more)[1] == f"  {facts}"


def test_long_last_lines_are_cut() -> None:
    lines = said(rank=0, last_lines=[f"line {number}\n" for number in range(100)])
    assert "    line 99" in lines and "    line 59" not in lines
