"""Why an attempt of a gang failed, as each of its ranks says it, beside the rank's logs for whoever follows the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional

from .address import Address
from .record import Records

if TYPE_CHECKING:
    from .gang import GangFailure
    from .gang.failure import RankEnd

_NAME = "gang.json"

_AT_ONCE = 16
"""Reports that are read at the same time."""


def write(records: Records, address: Address, attempt: int, failure: GangFailure) -> None:
    """Leave the report of one rank.

    Raises
    ------
    DatastoreError
        If it cannot be written.
    """
    data = json.dumps(failure.to_json(), separators=(",", ":")).encode()
    records.datastore.write(f"{records.folder(address, attempt)}/{_NAME}", data)


def read(records: Records, address: Address, attempt: int) -> Optional[GangFailure]:
    """The report that a rank left; None where it left none, or one that is damaged."""
    try:
        data = records.datastore.read(f"{records.folder(address, attempt)}/{_NAME}")
    except FileNotFoundError:
        return None
    from .gang.failure import GangFailure

    try:
        return GangFailure.from_json(json.loads(data))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def ends(records: Records, ranks: Sequence[Address], attempt: int) -> tuple[RankEnd, ...]:
    """How all ranks of a gang that failed ended, in their order; nothing where no rank left a report that says so.

    The control rank says it of all. Where it was lost, each of the others says it of itself, and of the one that failed
    first.
    """
    control = read(records, ranks[0], attempt)
    if control is not None and control.ranks:
        return control.ranks
    from concurrent.futures import ThreadPoolExecutor

    from .gang.ends import CAUSES
    from .gang.failure import RankEnd

    with ThreadPoolExecutor(_AT_ONCE) as readers:
        reports = [report for report in readers.map(lambda rank: read(records, rank, attempt), ranks) if report]
    said: dict[int, RankEnd] = {end.rank: end for report in reports for end in report.ranks}
    if not said:
        return ()
    for first in reports:
        if first.kind in CAUSES:
            said.setdefault(first.rank, first)
    unsaid = [RankEnd(rank, None, None, None, (), "left no report", "silent") for rank in range(len(ranks))]
    return tuple(said.get(end.rank, end) for end in unsaid)
