"""Slurm: one task a rank of a step started by srun.

The variables: https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES. Task 0 of a step runs on the
first host of its node list, in block and in cyclic distribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from .hostlist import expand
from .reading import Claim, MembershipError, number

_RANK = "SLURM_PROCID"
_SIZES = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS")
_NODES = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
_RESTARTS = "SLURM_RESTART_COUNT"
_LAUNCHER = "SLURM_LAUNCH_NODE_IPADDR"
"""Where srun was called: a job's script runs on its first node. Slurm itself need not resolve the names of nodes."""


def claim(env: Mapping[str, str]) -> Optional[Claim]:
    """The task's place in its step; None outside one."""
    rank = number(env, _RANK)
    if rank is None:
        return None
    sizes = {name: value for name in _SIZES for value in [number(env, name)] if value is not None}
    if not sizes:
        return None  # a batch script that was not told a number of tasks, and no step
    named, size = next(iter(sizes.items()))
    if rank >= size:
        raise MembershipError(f"{_RANK}={rank} is no rank of {named}={size}")
    nodes = next((env[name] for name in _NODES if env.get(name)), "")
    if not nodes:
        raise MembershipError(f"{_RANK} is set but {_NODES[0]} is not: nobody says where rank 0 is")
    return Claim("slurm", size, rank, next(expand(nodes)), number(env, _RESTARTS) or 0, env.get(_LAUNCHER, ""))
