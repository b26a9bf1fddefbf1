"""What this machine can do."""

from __future__ import annotations

from ..base import Capabilities

CAPABILITIES = Capabilities(
    target="local",
    title="this machine",
    frameworks=frozenset(["parallel", "torchrun", "deepspeed", "ray", "tensorflow", "mpi", "jax", "dask"]),
    features=frozenset(["checkpoint", "project"]),
)
