"""The time that an attempt may take, where no scheduler sees to it: the first process of its container does."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, Optional

from . import contract
from .address import Address
from .datastore.base import DatastoreError
from .outline import ContractError
from .record import FAILED, Failure, Record, Records
from .report import TIMEOUT, too_long

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_REST = 1.0
"""Seconds beyond those to save a checkpoint, in which a rank ends what does not do so by itself."""


class TimeLimit(NamedTuple):
    """When to end an attempt, and what is to be done then.

    Parameters
    ----------
    seconds : float
        From now on.
    grace : float
        Seconds that it then has to end by itself.
    asked : callable
        Called when it is asked to end.
    ended : callable
        Called once it has ended without success.
    """

    seconds: float
    grace: float
    asked: Callable[[], None]
    ended: Callable[[], None]


def time_limit(
    records: Records, address: Address, attempt: int, size: Optional[int], checkpoint: Optional[float] = None
) -> Optional[TimeLimit]:
    """The limit that FLOWC_TIMEOUT sets; None where it is not set, and in the workers of a gang, of which the control
    rank counts the time.

    The record of the failure is written by whoever calls the functions of the limit: the attempt itself cannot.

    Parameters
    ----------
    size : int or None
        World size of the gang.
    checkpoint : float, optional
        Seconds that ``@checkpoint(grace=)`` gives.

    Raises
    ------
    ContractError
        If the variable holds no number of seconds.
    """
    try:
        seconds = contract.seconds(contract.TIMEOUT)
        grace = GRACE
        if size is not None or checkpoint is not None:
            grace = max(GRACE, contract.preempt_grace(checkpoint) + _REST)
    except ValueError as error:
        raise ContractError(str(error)) from None
    os.environ.pop(contract.TIMEOUT, None)
    if seconds is None or (size is not None and address.index[-1] != 0):
        return None
    started = time.time()
    late: list[Address] = []

    def asked() -> None:
        try:
            late[:] = [each for each in _places(address, size) if not _done(records, each, attempt)]
        except DatastoreError as error:
            tell(str(error))
        tell(f"{_message(seconds, late, size)}; it is asked to end")

    def ended() -> None:
        first = (late or [address])[0]
        failure = Failure(TIMEOUT, _message(seconds, late, size))
        rank = None if size is None else first.index[-1]
        record = Record(first, attempt, FAILED, started, time.time(), failure=failure, rank=rank, size=size)
        try:
            if not _done(records, first, attempt):
                records.commit(record)
        except DatastoreError as error:
            tell(f"that {first} took too long could not be recorded: {error}")

    return TimeLimit(seconds, grace, asked, ended)


def tell(text: str) -> None:
    """Say something in the output of the container."""
    sys.stderr.write(f"flowc: {text}\n")
    sys.stderr.flush()


def _places(address: Address, size: Optional[int]) -> list[Address]:
    if size is None:
        return [address]
    return [Address(address.step, (*address.index[:-1], rank), address.round) for rank in range(size)]


def _done(records: Records, address: Address, attempt: int) -> bool:
    record = records.read(address, attempt)
    return record is not None and record.done


def _message(seconds: Optional[float], late: list[Address], size: Optional[int]) -> str:
    return too_long(seconds, [each.index[-1] for each in late] if size is not None else [])


def rest_of_wait(attempt: int) -> float:
    """Seconds that this attempt has to wait before it begins, by FLOWC_WAIT; 0 where that is not set.

    Raises
    ------
    ContractError
        If the variable holds no three numbers.
    """
    text = os.environ.get(contract.WAIT)
    if not text or attempt < 1:
        return 0.0
    try:
        wait, factor, whole = map(float, text.split())
        return contract.rest_of_wait(attempt, wait, factor, whole)
    except (ValueError, OverflowError):
        raise ContractError(f"{contract.WAIT}={text!r} holds no three numbers") from None
