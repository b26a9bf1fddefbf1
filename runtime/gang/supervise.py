"""The one way in: run one rank of a gang from forming to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Optional

from .body import BodyCode
from .control import Control
from .failure import GangResult
from .handle import Member
from .membership import Membership
from .supervisor import Limits, Setting, Supervisor, own_host
from .wire import MAX_LACK, GangName, check_token
from .worker import Worker


def supervise(
    membership: Membership,
    token: bytes,
    body: BodyCode,
    *,
    run: str,
    address: str,
    timeout: Optional[float] = None,
    grace: Optional[float] = None,
    preempt_grace: Optional[float] = None,
    limits: Optional[Limits] = None,
    host: Optional[str] = None,
    slots: int = 1,
    stdout: int = 1,
    stderr: int = 2,
    early_warnings: Sequence[int] = (),
    log: Optional[Callable[[str], None]] = None,
    formed: Optional[Callable[[tuple[Member, ...]], None]] = None,
    lack: str = "",
) -> GangResult:
    """Form the gang, run this rank's body in a process of its own, and come back when the whole gang has ended.

    It is called in the main thread of the process that is the rank's task, on every rank, and takes that process's
    SIGTERM, SIGINT and SIGCHLD for as long as it runs. When it is back, no process, socket or port of the rank is left.

    Parameters
    ----------
    membership : Membership
        Which rank this is, of how many, where the control rank is, and the attempt.
    token : bytes
        The attempt's secret, at least 16 random bytes.
    body : callable or sequence of str
        ``body(handle)`` returns an exit code (None is 0); or a program with its arguments.
    run, address : str
        The run's id and the gang's address without the rank, as in ``train@2/0``; every rank must say the same.
    timeout, grace, preempt_grace : float, optional
        Seconds; they go before those of ``limits``.
    limits : Limits, optional
        All times and sizes.
    host : str, optional
        What this host is called in reports.
    slots : int
        How many processes this rank offers room for; the other ranks are told.
    stdout, stderr : int
        Descriptors to which the body's output goes.
    early_warnings : sequence of int
        Further signals that mean what SIGTERM means, as Slurm's ``--signal``.
    log : callable, optional
        Given a line now and then while the gang waits for ranks.
    formed : callable, optional
        Called with the members once the gang has formed, before the body starts.
    lack : str
        Why this rank cannot take part. If it is not empty no gang forms: each rank is told, as soon as it is here, and
        ends with EXIT_NOT_FORMED. A control rank stays for that until all have come, or the time to form is up.

    Returns
    -------
    GangResult
        On every rank; code 0 only if every rank's body ended with 0.

    Raises
    ------
    ValueError
        If the token is too short.
    RuntimeError
        If it is not called in the main thread.
    """
    check_token(token)
    limits = limits or Limits()
    given = {"timeout": timeout, "grace": grace, "preempt_grace": preempt_grace}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    limits = replace(limits, **changes)
    setting = Setting(
        membership=membership,
        token=token,
        name=GangName(run, address, membership.attempt),
        code=body,
        host=host or own_host(),
        slots=slots,
        limits=limits,
        outputs=(stdout, stderr),
        early_warnings=tuple(early_warnings),
        log=log or (lambda line: None),
        formed=formed,
        lack=lack[:MAX_LACK],
    )
    supervisor: Supervisor = Worker(setting) if membership.rank else Control(setting)
    return supervisor.run()
