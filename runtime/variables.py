"""Variables of the environment that a process of flowc's cannot do without."""

from __future__ import annotations

import os

from .outline import ContractError


def required(name: str, remedy: str) -> str:
    """The value of a variable.

    Parameters
    ----------
    remedy : str
        Who sets it, or what else is needed, for the message.

    Raises
    ------
    ContractError
        If it is not set, or empty.
    """
    value = os.environ.get(name)
    if not value:
        raise ContractError(f"{name} is not set; {remedy}")
    return value
