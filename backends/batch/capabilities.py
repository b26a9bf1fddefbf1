"""What AWS Batch with Step Functions can do."""

from __future__ import annotations

from ..base import Capabilities

CAPABILITIES = Capabilities(
    target="batch",
    title="AWS Batch",
    frameworks=frozenset(["parallel", "torchrun", "deepspeed", "ray", "tensorflow", "mpi", "jax", "dask"]),
    # attemptDurationSeconds is refused below 60.
    min_timeout=60,
    # numNodes of a multi-node parallel job.
    max_gang=1000,
    # retryStrategy.attempts is at most 10, the first included.
    max_retries=9,
    resources=frozenset(["cpu", "memory", "gpu", "shared_memory"]),
    features=frozenset(["checkpoint", "secrets", "schedule", "project"]),
    option_group="batch",
    options=frozenset(
        """cpu gpu memory image queue iam_role execution_role shared_memory max_swap swappiness efa
        inferentia trainium use_tmpfs tmpfs_size tmpfs_path ephemeral_storage host_volumes efs_volumes
        log_driver log_options aws_batch_tags""".split()  # noqa: SIM905
    ),
    reserved_env=("AWS_BATCH",),
)
