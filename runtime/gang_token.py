"""The secret of a gang: made by whoever commits the record that opens it, kept in the datastore, read by its ranks.

The datastore is the root of trust of a run: who may read it may join. Nothing of the secret is in a record, an
environment, an argument or a log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .address import Address
from .outline import ContractError

if TYPE_CHECKING:
    from .lineage import Lineage
    from .record import Record, Records

_NAME = "gang.token"


def issue(records: Records, record: Record) -> None:
    """Make the secret for the gang that a record opens; to be called before the record is committed.

    Raises
    ------
    DatastoreError
        If it cannot be written.
    """
    from .gang.wire import new_token

    records.datastore.write_private(_key(records, record.address, record.attempt), new_token())


def read(lineage: Lineage) -> bytes:
    """The secret of the gang that a task is a rank of.

    Raises
    ------
    ContractError
        If there is none.
    DatastoreError
        If it cannot be read.
    """
    opener = lineage.opener(len(lineage.address.index) - 1)
    try:
        return lineage.records.datastore.read(_key(lineage.records, opener.address, opener.attempt))
    except FileNotFoundError:
        raise ContractError(
            f"{lineage.address} cannot join its gang: {opener.address} left no secret for it; run that step again"
        ) from None


def _key(records: Records, address: Address, attempt: int) -> str:
    return f"{records.folder(address, attempt)}/{_NAME}"
