"""The number of a gang's attempt where a JobSet starts the gang anew, and whether it may do so once more.

Under ``@retry`` Argo makes a JobSet for each attempt and counts them; a JobSet whose pods were asked to end from
outside starts them anew by itself and counts that. Neither number tells an attempt from all others. So each leaves its
own beside the records. The JobSets before have ended, but where Argo lost the pod that watches one: that one goes on no
more once another has begun.
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
    refused : str
        Why the JobSet should not have started the gang anew; empty where it may go on.
    """

    def __init__(self, records: Records, control: Address, begun: _Begun, since: float) -> None:
        self.number = begun.number
        self.refused = ""
        self._records, self._control, self._begun = records, control, begun
        self._store = records.datastore
        self._over = f"{_folder(records, control)}/over.{begun.jobset}"
        self._since = since

    @property
    def preempted(self) -> int:
        """How many of the attempts before were asked to end from outside, as far as one of their ranks had begun."""
        earlier = [each for each in sorted(self.of_others()) if each.number < self.number]
        return sum({each.jobset: each.restarts for each in earlier}.values()) + self._begun.restarts

    def of_others(self) -> list[_Begun]:
        """The attempts that other JobSets have begun."""
        return _of_others(self._records, self._control, self._begun.jobset)

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
            return f"it is asked to end for more than {preemptions.MOST} times"
        if time.time() - self._since > preemptions.LONGEST:
            return f"its JobSet is older than {preemptions.LONGEST // 86400} days"
        return None


def begin_attempt(records: Records, address: Address, membership: Membership) -> Optional[GangAttempt]:
    """The attempt that this rank is about to begin; None where no JobSet could start it anew.

    Raises
    ------
    ContractError
        If another JobSet has taken the place of this one: the number may be that of its attempt, whose records and logs
        are not to be touched.
    DatastoreError
        If the datastore cannot be read or written.
    """
    jobset, restarts = membership.group, membership.restarts
    if not jobset:
        return None
    control = Address(address.step, (*address.index[:-1], 0), address.round)
    first, since = _first(records, control, jobset, membership.attempt - restarts)
    now = _Begun(first + restarts, restarts, jobset)
    records.datastore.create(f"{_folder(records, control)}/{now.name}", b"")
    attempt = GangAttempt(records, control, now, since)
    if not restarts:
        return attempt
    later = next((each.jobset for each in attempt.of_others() if each.number >= now.number), None)
    if later is not None:
        raise ContractError(f"{address}: JobSet {later} has taken the place of {jobset}, which goes on no more")
    if attempt.preempted > preemptions.MOST:
        attempt.refused = f"it was asked to end more than {preemptions.MOST} times"
    elif attempt.is_over():
        attempt.refused = "it has ended for good, and its JobSet should not have started it anew"
    return attempt


def _first(records: Records, control: Address, jobset: str, tries: int) -> tuple[int, float]:
    """The number of a JobSet's first attempt, and when that was: what one of its ranks has worked out, all take."""
    key, store = f"{_folder(records, control)}/first.{jobset}", records.datastore
    try:
        text = store.read(key)
    except FileNotFoundError:
        number = max([tries, *(each.number + 1 for each in _of_others(records, control, jobset))])
        store.create(key, f"{number} {time.time():.0f}".encode())
        text = store.read(key)
    words = text.split()
    return int(words[0]), float(words[1])


def _folder(records: Records, control: Address) -> str:
    return f"{records.folder(control)}/{_FOLDER}"


def _of_others(records: Records, control: Address, jobset: str) -> list[_Begun]:
    found = map(_BEGUN.fullmatch, records.datastore.list(_folder(records, control)))
    return [_Begun(int(each[1]), int(each[2]), each[3]) for each in found if each is not None and each[3] != jobset]
