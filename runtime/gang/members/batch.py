"""AWS Batch multi-node parallel jobs.

The variables: https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html. The main node's address is given
to all but the main node itself; attempts count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from .reading import Claim, MembershipError, needed, number

_INDEX = "AWS_BATCH_JOB_NODE_INDEX"
_NODES = "AWS_BATCH_JOB_NUM_NODES"
_MAIN = "AWS_BATCH_JOB_MAIN_NODE_INDEX"
_ADDRESS = "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"
_ATTEMPT = "AWS_BATCH_JOB_ATTEMPT"


def claim(env: Mapping[str, str]) -> Optional[Claim]:
    """The node's place; the main node is rank 0 whatever its index. None outside a multi-node parallel job."""
    index = number(env, _INDEX)
    if index is None:
        return None
    size, main = needed(env, _NODES, _INDEX), needed(env, _MAIN, _INDEX)
    if index >= size or main >= size:
        raise MembershipError(f"{_INDEX}={index} and {_MAIN}={main} do not fit {_NODES}={size}")
    rank = (index - main) % size
    address = env.get(_ADDRESS, "")
    if rank and not address:
        raise MembershipError(f"{_ADDRESS} is not set on node {index}, though the main node is node {main}")
    restarts = max((number(env, _ATTEMPT) or 1) - 1, 0)
    return Claim("batch", size, rank, address if rank else "", restarts)
