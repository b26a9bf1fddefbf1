"""What an attempt waits and how long it may take, where no scheduler counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from flowc.runtime import contract
from flowc.runtime.address import Address
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.outline import ContractError
from flowc.runtime.record import DONE, Record, Records
from flowc.runtime.time_limit import rest_of_wait, time_limit


def test_what_argo_does_not_wait_is_waited_by_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWC_WAIT", "30 1.5 1")
    assert [rest_of_wait(attempt) for attempt in range(4)] == [0, 0, 15, 37.5]
    monkeypatch.setenv("FLOWC_WAIT", "30 two 1")
    with pytest.raises(ContractError, match="holds no three numbers"):
        rest_of_wait(1)
    # What a target leaves room for: of all attempts the last one waits longest.
    assert contract.rest_of_wait(4, 600, 1.5, 1) == 1425
    assert contract.rest_of_wait(3000, 600, 2, 2) == contract.rest_of_wait(1, 600, 1.5, 1) == 0
    monkeypatch.delenv("FLOWC_WAIT")
    assert rest_of_wait(5) == 0


def test_of_a_gang_the_control_rank_counts_and_names_who_was_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = Records(FileDatastore(str(tmp_path)), "F", "1")
    ranks = [Address("train", (4, rank)) for rank in range(3)]
    monkeypatch.setenv("FLOWC_TIMEOUT", "2.5")
    assert time_limit(records, ranks[1], 1, 3) is None
    monkeypatch.setenv("FLOWC_TIMEOUT", "2.5")
    limit = time_limit(records, ranks[0], 1, 3)
    assert limit is not None and limit.seconds == 2.5 and limit.grace > 20
    records.commit(Record(ranks[0], 1, DONE, 0.0, 1.0))
    limit.asked()
    assert "took longer than 2.5 s (@timeout); still running: rank 1, 2; it is asked to end" in capsys.readouterr().err
    limit.ended()
    late = records.read(ranks[1], 1)
    assert late is not None and late.failure is not None and (late.failure.type, late.rank) == ("Timeout", 1)
    assert records.read(ranks[2], 1) is None and records.read(ranks[0], 1).done  # type: ignore[union-attr]
    assert time_limit(records, ranks[0], 1, 3) is None, "what the attempt starts is not timed"


@pytest.mark.parametrize(
    ("size", "said", "variable", "grace"),
    [
        (None, None, None, 5),
        (None, None, "60", 5),
        (None, 90, None, 91),
        (None, 90, "60", 61),
        (None, 2, None, 5),
        (2, None, None, 31),
        (2, 90, None, 91),
        (2, 90, "60", 61),
    ],
)
def test_what_saves_has_the_time_that_the_step_or_the_operator_says(
    size: int | None, said: float | None, variable: str | None, grace: float, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("FLOWC_TIMEOUT", "2.5")
    monkeypatch.delenv("FLOWC_PREEMPT_GRACE", raising=False)
    if variable is not None:
        monkeypatch.setenv("FLOWC_PREEMPT_GRACE", variable)
    address = Address("train", () if size is None else (0,))
    limit = time_limit(Records(FileDatastore(str(tmp_path)), "F", "1"), address, 0, size, said)
    assert limit is not None and limit.grace == grace
