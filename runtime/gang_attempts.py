"""The number of a gang's attempt where a JobSet starts the gang anew, and whether it may do so once more.

Under ``@retry`` Argo makes a JobSet for each attempt and counts them; a JobSet whose pods were asked to end from
outside starts them anew by itself and counts that. Neither number tells an attempt from all others. So each leaves its
own beside the records, where all of its ranks find the same: the JobSets before have ended.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple, Optional

from . import preemptions
from .address import Address
from .outline import ContractError

if TYPE_CHECKING:
    from .gang.membership import Membership
    from .record import Records

_FOLDER = "begun"
_BEGUN = re.compile(r"([0-9]+)\.([0-9]+)\.(.+)")


class _Begun(NamedTuple):
    """An attempt that began: its number, how often its JobSet had been started anew, the JobSet's name."""

    number: int
    restarts: int
    jobset: str

    @property
    def name(self) -> str:
        return f"{self.number}.{self.restarts}.{self.jobset}"


class GangAttempt:
    """One attempt of a gang in a JobSet.

    Attributes
    ----------
    number : int
        From 0.
    preempted : int
        How many of the attempts before were asked to end from outside.
    """

    def __init__(self, records: Records, control: Address, begun: _Begun, preempted: int, since: float) -> None:
        self.number = begun.number
        self.preempted = preempted
        self._store = records.datastore
        self._over = f"{_folder(records, control)}/over.{begun.jobset}"
        self._since = since

    def set_over(self) -> None:
        """Let every rank know that its JobSet is not to be started anew, though the gang is asked to end.

        Raises
        ------
        DatastoreError
            If it cannot be written.
        """
        self._store.create(self._over, b"")

    def is_over(self) -> bool:
        """Whether that was said."""
        return self._store.exists(self._over)

    def why_not_again(self) -> Optional[str]:
        """Why a further attempt counts, if this one is asked to end from outside; None if it does not.

        Raises
        ------
        DatastoreError
            If the datastore cannot be asked.
        """
        if self.is_over():
            return "it is ended for good"
        if self.preempted >= preemptions.MOST:
            return f"it is asked to end for the {self.preempted + 1}st time"
        if time.time() - self._since > preemptions.LONGEST:
            return f"its JobSet is older than {preemptions.LONGEST // 86400} days"
        return None


def begin_attempt(records: Records, address: Address, membership: Membership) -> Optional[GangAttempt]:
    """The attempt that this rank is about to begin; None where no JobSet could start it anew.

    Raises
    ------
    ContractError
        If the JobSet should not have begun it: it was started anew too often, was over, or another one has taken its
        place.
    DatastoreError
        If the datastore cannot be read or written.
    """
    if not membership.group:
        return None
    control = Address(address.step, (*address.index[:-1], 0), address.round)
    folder, store = _folder(records, control), records.datastore
    begun = _begun(records, control)
    mine = [each for each in begun if each.jobset == membership.group]
    others = [each for each in begun if each.jobset != membership.group]
    tries = membership.attempt - membership.restarts
    first = mine[0].number - mine[0].restarts if mine else max([tries, *(each.number + 1 for each in others)])
    now = _Begun(first + membership.restarts, membership.restarts, membership.group)
    later = next((each for each in others if each.number >= now.number), None)
    if later is not None:
        raise ContractError(f"JobSet {later.jobset} has taken the place of {now.jobset}, which may not go on")
    since = time.time()
    store.create(f"{folder}/{now.name}", f"{since:.0f}".encode())
    if now.restarts and mine:
        since = _time(store.read(f"{folder}/{min(mine).name}"), since)
    restarts = {each.jobset: each.restarts for each in sorted(others)}
    attempt = GangAttempt(records, control, now, sum(restarts.values()) + now.restarts, since)
    if not now.restarts:
        return attempt
    if attempt.preempted > preemptions.MOST:
        raise ContractError(f"{address} was asked to end {attempt.preempted} times; that is enough")
    if attempt.is_over():
        raise ContractError(f"{address} has ended for good; JobSet {now.jobset} should not have been started anew")
    return attempt


def _folder(records: Records, control: Address) -> str:
    return f"{records.folder(control)}/{_FOLDER}"


def _begun(records: Records, control: Address) -> list[_Begun]:
    found = map(_BEGUN.fullmatch, records.datastore.list(_folder(records, control)))
    return [_Begun(int(each[1]), int(each[2]), each[3]) for each in found if each is not None]


def _time(text: bytes, otherwise: float) -> float:
    return float(text) if text.isdigit() else otherwise
