"""A gang: the ranks of one attempt, which form over TCP, work together, and live and die as one."""

from __future__ import annotations

from .failure import (
    EXIT_GANG_FAILED,
    EXIT_NOT_FORMED,
    EXIT_PREEMPTED,
    CollectiveError,
    GangAborted,
    GangError,
    GangFailure,
    GangResult,
    RankEnd,
)
from .handle import GangHandle, Member
from .membership import Membership, MembershipError, detect
from .supervise import supervise
from .supervisor import Limits
from .wire import new_token

__all__ = [
    "EXIT_GANG_FAILED",
    "EXIT_NOT_FORMED",
    "EXIT_PREEMPTED",
    "CollectiveError",
    "GangAborted",
    "GangError",
    "GangFailure",
    "GangHandle",
    "GangResult",
    "Limits",
    "Member",
    "Membership",
    "MembershipError",
    "RankEnd",
    "detect",
    "new_token",
    "supervise",
]
