"""What Slurm can do."""

from __future__ import annotations

from ..base import Capabilities

CAPABILITIES = Capabilities(
    target="slurm",
    title="Slurm",
    frameworks=frozenset(["parallel", "torchrun", "deepspeed", "ray", "tensorflow", "mpi", "jax", "dask"]),
    resources=frozenset(["cpu", "memory", "gpu", "disk"]),
    features=frozenset(["checkpoint", "project"]),
    option_group="slurm",
    options=frozenset(
        """partition account qos time constraint gres exclusive reservation nodelist exclude modules
        container setup extra""".split()  # noqa: SIM905
    ),
    reserved_env=("SLURM_", "SLURMD_", "SBATCH_", "SRUN_"),
)
