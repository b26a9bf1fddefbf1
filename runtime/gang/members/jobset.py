"""A JobSet of one replicated job with one Indexed Job, on Kubernetes.

Kubernetes sets JOB_COMPLETION_INDEX (https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode).
The names and the restart count come by the downward API from the annotations and labels
``jobset.sigs.k8s.io/jobset-name``, ``/replicatedjob-name`` and ``/restart-attempt``; a pod's DNS name is
``<jobset>-<replicated job>-<job index>-<pod index>.<subdomain>``, the subdomain being the JobSet's name. Nothing tells
a pod how many there are, so FLOWC_GANG_SIZE has to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from ... import contract
from .reading import Claim, MembershipError, number

_INDEX = "JOB_COMPLETION_INDEX"
_NAME = "JOBSET_NAME"
_JOB = "REPLICATED_JOB_NAME"
_RESTARTS = "JOBSET_RESTART_ATTEMPT"


def claim(env: Mapping[str, str]) -> Optional[Claim]:
    """The pod's place; None outside a JobSet."""
    name = env.get(_NAME)
    if not name:
        return None
    rank = number(env, _INDEX)
    if rank is None:
        raise MembershipError(f"{_NAME} is set but {_INDEX} is not: the job's completionMode has to be Indexed")
    job = env.get(_JOB)
    if not job and not env.get(contract.GANG_MAIN):
        raise MembershipError(f"{_NAME} is set but neither {_JOB} nor {contract.GANG_MAIN}: where is the control rank?")
    main, restarts = f"{name}-{job}-0-0.{name}" if job else "", number(env, _RESTARTS) or 0
    return Claim("jobset", None, rank, main, restarts, group=name)
