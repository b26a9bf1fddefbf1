"""Where a task stands in its gang, as its surroundings say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Optional

from .. import contract
from ..place import GangPlace
from .members import batch, jobset, local, slurm
from .members.reading import Claim, MembershipError, number

__all__ = ["GangPlace", "Membership", "MembershipError", "detect", "from_environment"]

_SCHEDULERS = (jobset, batch, slurm)


@dataclass(frozen=True)
class Membership:
    """One rank's place in one attempt of a gang.

    Parameters
    ----------
    size : int
        World size.
    rank : int
        From 0, the control rank.
    main : str
        Host name or IP address of the control rank; may be empty on the control rank itself, where nobody needs it.
    attempt : int
        From 0; what another attempt left behind cannot join.
    port : int or None
        Where the control rank should listen; None: on a port that every rank works out.
    source : str
        Who said so: ``local``, ``slurm``, ``batch`` or ``jobset``.
    spare : str
        An address of the control rank, for where nobody can resolve ``main``.
    group : str
        The JobSet, which may start its pods anew by itself; empty elsewhere.
    restarts : int
        How often it has; the attempt counts that already.
    """

    size: int
    rank: int
    main: str = "127.0.0.1"
    attempt: int = 0
    port: Optional[int] = None
    source: str = "local"
    spare: str = ""
    group: str = ""
    restarts: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise MembershipError(f"a gang has at least 1 rank, not {self.size}")
        if not 0 <= self.rank < self.size:
            raise MembershipError(f"rank {self.rank} is no rank of a gang of {self.size}")
        if self.rank and not self.main:
            raise MembershipError(f"rank {self.rank} was not told where the control rank is")

    @property
    def place(self) -> GangPlace:
        """The place alone, without the attempt."""
        return GangPlace(self.rank, self.size, self.main or "127.0.0.1", self.port or 0)


def detect(environ: Optional[Mapping[str, str]] = None) -> Optional[Membership]:
    """This task's place, from flowc's own variables or else the scheduler's; None if nobody speaks of a gang.

    ``FLOWC_GANG_SIZE`` and ``FLOWC_GANG_RANK`` together say all, whatever else is set: a run inside a scheduler's job
    has its own gangs. A single one of them must agree with the scheduler. ``FLOWC_GANG_MAIN``, ``FLOWC_GANG_PORT`` and
    ``FLOWC_ATTEMPT`` go before what the scheduler says.

    Raises
    ------
    MembershipError
        If a variable is no number, missing, or contradicts another one.
    """
    env = os.environ if environ is None else environ
    own = local.claim(env)
    if own is not None and own.size is not None and own.rank is not None:
        return _membership(own, env)
    for scheduler in _SCHEDULERS:
        found = scheduler.claim(env)
        if found is not None:
            return _membership(_agree(own, found), env)
    if own is None:
        return None
    missing, given = (
        (contract.GANG_RANK, contract.GANG_SIZE) if own.rank is None else (contract.GANG_SIZE, contract.GANG_RANK)
    )
    raise MembershipError(f"{given} is set but {missing} is not, and no scheduler's variables say it: set both or none")


def from_environment(environment: Optional[Mapping[str, str]] = None) -> Optional[GangPlace]:
    """The place that :func:`detect` finds, as the task takes it; None where no gang's size is known.

    Raises
    ------
    MembershipError
        As :func:`detect` does.
    """
    found = detect(environment)
    return None if found is None else found.place


def _agree(own: Optional[Claim], found: Claim) -> Claim:
    if own is None:
        return found
    for name, ours, theirs in (
        (contract.GANG_SIZE, own.size, found.size),
        (contract.GANG_RANK, own.rank, found.rank),
    ):
        if ours is not None and theirs is not None and ours != theirs:
            raise MembershipError(
                f"{name}={ours} contradicts {found.source}, which says {theirs}: unset it, or set "
                f"{contract.GANG_SIZE} and {contract.GANG_RANK} both"
            )
    return replace(
        found,
        size=found.size if own.size is None else own.size,
        rank=found.rank if own.rank is None else own.rank,
    )


def _membership(claim: Claim, env: Mapping[str, str]) -> Membership:
    if claim.size is None:
        raise MembershipError(
            f"{claim.source} does not say how many ranks the gang has: set {contract.GANG_SIZE} beside its variables"
        )
    if claim.rank is None:
        raise MembershipError(f"{claim.source} does not say which rank this is: set {contract.GANG_RANK}")
    attempt = number(env, contract.ATTEMPT)
    if claim.restarts:
        # Restarts in place do not change the task's variables; the attempt must differ all the same.
        attempt = (attempt or 0) + claim.restarts
    port = number(env, contract.GANG_PORT)
    if port is not None and port > 65535:
        raise MembershipError(f"{contract.GANG_PORT}={port} is no TCP port")
    return Membership(
        size=claim.size,
        rank=claim.rank,
        main=env.get(contract.GANG_MAIN) or claim.main,
        attempt=attempt or 0,
        port=port or None,
        source=claim.source,
        spare="" if env.get(contract.GANG_MAIN) else claim.spare,
        group=claim.group,
        restarts=claim.restarts,
    )
