"""What Argo Workflows with JobSet can do."""

from __future__ import annotations

from ..base import Capabilities

CAPABILITIES = Capabilities(
    target="argo",
    title="Argo Workflows",
    frameworks=frozenset(["parallel", "torchrun", "deepspeed", "ray", "tensorflow", "mpi", "jax", "dask"]),
    resources=frozenset(["cpu", "memory", "gpu", "disk", "shared_memory"]),
    features=frozenset(["checkpoint", "pypi", "pypi_base", "secrets", "schedule", "project"]),
    option_group="kubernetes",
    options=frozenset(
        """cpu memory disk gpu gpu_vendor image image_pull_policy image_pull_secrets service_account
        namespace secrets node_selector tolerations labels annotations shared_memory use_tmpfs tmpfs_size
        tmpfs_path persistent_volume_claims port qos executable hostname_resolution_timeout
        security_context priority_class queue topology efa extended_resources spot""".split()  # noqa: SIM905
    ),
    reserved_env=("ARGO_", "KUBERNETES_", "JOB_COMPLETION_INDEX", "JOBSET_", "REPLICATED_JOB_NAME"),
)
