"""Why an attempt of a gang failed, as each of its ranks says it, beside the rank's logs for whoever follows the run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Optional

from .address import Address
from .record import Records

if TYPE_CHECKING:
    from .gang import GangFailure

_NAME = "gang.json"


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
    except (ValueError, KeyError, TypeError):
        return None
