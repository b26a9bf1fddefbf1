"""Every decorator of the DSL, each a dataclass of its options, with the names that Metaflow users know.

Sizes are MiB, times are in the unit that the option names. ``None`` leaves a choice to the target. The dataclasses only
list options and are never made: without methods to generate, they cost next to nothing to import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Optional, Union

from .declarations import Decorator, Specification
from .plain import dataclass, field

Quantity = Union[int, float, str, None]
"""A number, or text with a unit (``"16Gi"``)."""


# Behaviour of a step -------------------------------------------------------------------------------------------------


@dataclass(init=False, repr=False, eq=False)
class Retry(Specification):
    """Run the step again when it fails, up to ``times`` more times; a gang is retried as a whole.

    ``backoff`` multiplies the wait from one retry to the next; 1 keeps it constant.
    """

    label: ClassVar[str] = "retry"
    times: int = 3
    minutes_between_retries: float = 2
    backoff: float = 1


@dataclass(init=False, repr=False, eq=False)
class Timeout(Specification):
    """Fail an attempt that takes longer than ``seconds + minutes + hours``."""

    label: ClassVar[str] = "timeout"
    seconds: float = 0
    minutes: float = 0
    hours: float = 0


@dataclass(init=False, repr=False, eq=False)
class Catch(Specification):
    """Go on although the step failed for good; the artifact named ``var`` then holds the failure, None otherwise."""

    label: ClassVar[str] = "catch"
    var: Optional[str] = None
    print_exception: bool = True


@dataclass(init=False, repr=False, eq=False)
class Environment(Specification):
    """Environment variables of the step."""

    label: ClassVar[str] = "environment"
    vars: Mapping[str, str] = field(default_factory=dict)


@dataclass(init=False, repr=False, eq=False)
class Checkpoint(Specification):
    """``current.checkpoint.save(path)``, ``.load()`` and ``.latest``: state that outlives an attempt of the step.

    Each task has its own, and so has each rank of a gang.

    ``load_policy``: ``fresh`` loads only what this run saved, ``eager`` also what the run it was resumed from saved,
    ``none`` nothing unless asked.

    ``grace``: seconds that the step's processes have to save when the attempt is asked to end; without it the target
    says how many.
    """

    label: ClassVar[str] = "checkpoint"
    load_policy: str = "fresh"
    temp_dir_root: Optional[str] = None
    grace: Optional[float] = None


@dataclass(init=False, repr=False, eq=False)
class Secrets(Specification):
    """Secrets of the target that are put into the step's environment."""

    label: ClassVar[str] = "secrets"
    repeatable: ClassVar[bool] = True
    sources: Sequence[Any] = ()
    role: Optional[str] = None


@dataclass(init=False, repr=False, eq=False)
class Pypi(Specification):
    """Python packages that the step needs, by name and version."""

    label: ClassVar[str] = "pypi"
    python: Optional[str] = None
    packages: Mapping[str, str] = field(default_factory=dict)
    disabled: Optional[bool] = None


@dataclass(init=False, repr=False, eq=False)
class Conda(Specification):
    """Conda packages that the step needs, by name and version."""

    label: ClassVar[str] = "conda"
    python: Optional[str] = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    disabled: Optional[bool] = None


@dataclass(init=False, repr=False, eq=False)
class Card(Specification):
    """A report of the step. Accepted, so that flows that carry it run; no report is drawn yet."""

    label: ClassVar[str] = "card"
    repeatable: ClassVar[bool] = True
    type: str = "default"
    id: Optional[str] = None
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout: int = 45
    refresh_interval: int = 5
    customize: bool = False
    save_errors: bool = True


# What a step needs ----------------------------------------------------------------------------------------------------


@dataclass(init=False, repr=False, eq=False)
class Resources(Specification):
    """What one task needs on any target: ``cpu`` cores, ``gpu`` devices, and MiB of the rest."""

    label: ClassVar[str] = "resources"
    cpu: Quantity = None
    gpu: Quantity = None
    memory: Quantity = None
    disk: Quantity = None
    shared_memory: Quantity = None


@dataclass(init=False, repr=False, eq=False)
class Kubernetes(Specification):
    """Settings of the step on Kubernetes.

    ``queue`` is a LocalQueue of Kueue, ``topology`` a key of node labels whose values no two gangs share, ``spot`` asks
    for nodes that may be taken back, and ``extended_resources`` counts further devices by name (``{"rdma/hca": 1}``).
    """

    label: ClassVar[str] = "kubernetes"
    cpu: Quantity = None
    memory: Quantity = None
    disk: Quantity = None
    gpu: Quantity = None
    gpu_vendor: Optional[str] = None
    image: Optional[str] = None
    image_pull_policy: Optional[str] = None
    image_pull_secrets: Optional[Sequence[str]] = None
    service_account: Optional[str] = None
    namespace: Optional[str] = None
    secrets: Optional[Sequence[str]] = None
    node_selector: Union[str, Mapping[str, str], None] = None
    tolerations: Optional[Sequence[Mapping[str, Any]]] = None
    labels: Optional[Mapping[str, str]] = None
    annotations: Optional[Mapping[str, str]] = None
    shared_memory: Quantity = None
    use_tmpfs: Optional[bool] = None
    tmpfs_size: Quantity = None
    tmpfs_path: Optional[str] = None
    persistent_volume_claims: Optional[Mapping[str, str]] = None
    compute_pool: Optional[str] = None
    port: Optional[int] = None
    qos: Optional[str] = None
    executable: Optional[str] = None
    hostname_resolution_timeout: Optional[int] = None
    security_context: Optional[Mapping[str, Any]] = None
    priority_class: Optional[str] = None
    queue: Optional[str] = None
    topology: Optional[str] = None
    efa: Optional[int] = None
    extended_resources: Optional[Mapping[str, Any]] = None
    spot: Optional[bool] = None


@dataclass(init=False, repr=False, eq=False)
class Batch(Specification):
    """Settings of the step on AWS Batch."""

    label: ClassVar[str] = "batch"
    cpu: Quantity = None
    gpu: Quantity = None
    memory: Quantity = None
    image: Optional[str] = None
    queue: Optional[str] = None
    iam_role: Optional[str] = None
    execution_role: Optional[str] = None
    shared_memory: Quantity = None
    max_swap: Optional[int] = None
    swappiness: Optional[int] = None
    efa: Optional[int] = None
    inferentia: Optional[int] = None
    trainium: Optional[int] = None
    use_tmpfs: Optional[bool] = None
    tmpfs_size: Quantity = None
    tmpfs_path: Optional[str] = None
    ephemeral_storage: Optional[int] = None
    host_volumes: Union[str, Sequence[str], None] = None
    efs_volumes: Union[str, Sequence[str], None] = None
    log_driver: Optional[str] = None
    log_options: Optional[Sequence[str]] = None
    aws_batch_tags: Optional[Mapping[str, str]] = None


@dataclass(init=False, repr=False, eq=False)
class Slurm(Specification):
    """Settings of the step on Slurm; ``extra`` holds further sbatch options by name."""

    label: ClassVar[str] = "slurm"
    partition: Optional[str] = None
    account: Optional[str] = None
    qos: Optional[str] = None
    time: Union[str, int, None] = None
    constraint: Optional[str] = None
    gres: Optional[str] = None
    exclusive: Optional[bool] = None
    reservation: Optional[str] = None
    nodelist: Optional[str] = None
    exclude: Optional[str] = None
    modules: Optional[Sequence[str]] = None
    container: Optional[str] = None
    setup: Optional[str] = None
    extra: Mapping[str, Any] = field(default_factory=dict)


# Gangs ----------------------------------------------------------------------------------------------------------------


@dataclass(init=False, repr=False, eq=False)
class Parallel(Specification):
    """A step of a gang; ``current.parallel`` says which rank this is."""

    label: ClassVar[str] = "parallel"


@dataclass(init=False, repr=False, eq=False)
class Torchrun(Specification):
    """A gang in which ``current.torch.run(...)`` starts torchrun on every node. Timeouts are seconds."""

    label: ClassVar[str] = "torchrun"
    nproc_per_node: Optional[int] = None
    master_port: Optional[int] = None
    all_nodes_started_timeout: int = 600


@dataclass(init=False, repr=False, eq=False)
class DeepSpeed(Specification):
    """A gang in which ``current.deepspeed.run(...)`` starts DeepSpeed over all nodes. Timeouts are seconds."""

    label: ClassVar[str] = "deepspeed"
    all_nodes_started_timeout: int = 600
    worker_polling_freq: float = 0.5


@dataclass(init=False, repr=False, eq=False)
class Ray(Specification):
    """A gang that forms a Ray cluster before the body runs on its head. Timeouts are seconds."""

    label: ClassVar[str] = "metaflow_ray"
    aliases: ClassVar[tuple[str, ...]] = ("ray",)
    main_port: Optional[int] = None
    worker_polling_freq: float = 10
    all_nodes_started_timeout: int = 600


@dataclass(init=False, repr=False, eq=False)
class TensorFlow(Specification):
    """A gang with TF_CONFIG set on every node. Timeouts are seconds."""

    label: ClassVar[str] = "tensorflow"
    all_nodes_started_timeout: int = 600


@dataclass(init=False, repr=False, eq=False)
class Mpi(Specification):
    """A gang in which ``current.mpi`` compiles, copies and runs MPI programs over all nodes. Timeouts are seconds.

    ``slots`` is how many processes each node has room for, by default the step's ``cpu``. ``ssh=True`` has ``mpirun``
    reach the nodes by an sshd that is started for the step, where flowc's own agent will not do; that takes
    openssh-server in the image. ``launcher="srun"`` has Slurm start the processes where the step runs in a job of it,
    ``"mpirun"`` says that it never should; by default it does where there is no mpirun.
    """

    label: ClassVar[str] = "mpi"
    all_nodes_started_timeout: int = 600
    worker_polling_freq: float = 0.5
    slots: Optional[int] = None
    ssh: bool = False
    launcher: Optional[str] = None


@dataclass(init=False, repr=False, eq=False)
class Jax(Specification):
    """A gang in which ``jax.distributed`` is initialised on every node. Timeouts are seconds."""

    label: ClassVar[str] = "jax"
    all_nodes_started_timeout: int = 600


@dataclass(init=False, repr=False, eq=False)
class Dask(Specification):
    """A gang that forms a Dask cluster; the body runs on the control node with a client. Timeouts are seconds."""

    label: ClassVar[str] = "dask"
    nthreads: Optional[int] = None
    all_nodes_started_timeout: int = 600


# Flows ----------------------------------------------------------------------------------------------------------------


@dataclass(init=False, repr=False, eq=False)
class Schedule(Specification):
    """Start the flow by the clock, on targets that can: ``cron`` text, or one of ``hourly``, ``daily``, ``weekly``."""

    label: ClassVar[str] = "schedule"
    on: ClassVar[str] = "flow"
    cron: Optional[str] = None
    hourly: bool = False
    daily: bool = False
    weekly: bool = False
    timezone: Optional[str] = None


@dataclass(init=False, repr=False, eq=False)
class Project(Specification):
    """The project that the flow belongs to."""

    label: ClassVar[str] = "project"
    on: ClassVar[str] = "flow"
    name: Optional[str] = None
    branch: Optional[str] = None
    production: bool = False


@dataclass(init=False, repr=False, eq=False)
class Trigger(Specification):
    """Start the flow on an event, on targets that can."""

    label: ClassVar[str] = "trigger"
    on: ClassVar[str] = "flow"
    event: Any = None
    events: Sequence[Any] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(init=False, repr=False, eq=False)
class TriggerOnFinish(Specification):
    """Start the flow when another one ends, on targets that can."""

    label: ClassVar[str] = "trigger_on_finish"
    on: ClassVar[str] = "flow"
    flow: Any = None
    flows: Sequence[Any] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(init=False, repr=False, eq=False)
class ExitHook(Specification):
    """Functions to call when a run has ended."""

    label: ClassVar[str] = "exit_hook"
    on: ClassVar[str] = "flow"
    on_success: Sequence[Any] = ()
    on_error: Sequence[Any] = ()


@dataclass(init=False, repr=False, eq=False)
class PypiBase(Pypi):
    """``@pypi`` for every step of the flow."""

    label: ClassVar[str] = "pypi_base"
    on: ClassVar[str] = "flow"


@dataclass(init=False, repr=False, eq=False)
class CondaBase(Conda):
    """``@conda`` for every step of the flow."""

    label: ClassVar[str] = "conda_base"
    on: ClassVar[str] = "flow"


FRAMEWORKS: tuple[type[Specification], ...] = (Parallel, Torchrun, DeepSpeed, Ray, TensorFlow, Mpi, Jax, Dask)
"""The decorators that make a step a gang."""

SPECIFICATIONS: tuple[type[Specification], ...] = (
    Retry, Timeout, Catch, Environment, Checkpoint, Secrets, Pypi, Conda, Card,
    Resources, Kubernetes, Batch, Slurm, *FRAMEWORKS,
    Schedule, Project, Trigger, TriggerOnFinish, ExitHook, PypiBase, CondaBase,
)  # fmt: skip

BY_LABEL: dict[str, type[Specification]] = {
    name: spec for spec in SPECIFICATIONS for name in (spec.label, *spec.aliases)
}
"""Every specification by each name that users write for it."""

retry = Decorator(Retry)
timeout = Decorator(Timeout)
catch = Decorator(Catch)
environment = Decorator(Environment)
checkpoint = Decorator(Checkpoint)
secrets = Decorator(Secrets)
pypi = Decorator(Pypi)
conda = Decorator(Conda)
card = Decorator(Card)
resources = Decorator(Resources)
kubernetes = Decorator(Kubernetes)
batch = Decorator(Batch)
slurm = Decorator(Slurm)
parallel = Decorator(Parallel)
torchrun = Decorator(Torchrun)
deepspeed = Decorator(DeepSpeed)
metaflow_ray = Decorator(Ray)
ray = metaflow_ray
tensorflow = Decorator(TensorFlow)
mpi = Decorator(Mpi)
jax = Decorator(Jax)
dask = Decorator(Dask)
schedule = Decorator(Schedule)
project = Decorator(Project)
trigger = Decorator(Trigger)
trigger_on_finish = Decorator(TriggerOnFinish)
exit_hook = Decorator(ExitHook)
pypi_base = Decorator(PypiBase)
conda_base = Decorator(CondaBase)
