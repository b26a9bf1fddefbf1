"""What ``@kubernetes``, ``@resources`` and ``@secrets`` ask of a step's pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...compiler.plan import Step
from ...compiler.quantities import BadQuantity, cores, count, mebibytes
from . import option_values as values

_VENDORS = {"intel": "gpu.intel.com/i915", "habana": "habana.ai/gaudi", "neuron": "aws.amazon.com/neuron"}


@dataclass(frozen=True)
class Option:
    """One option of ``@kubernetes``: what it becomes, what it takes, and what is wrong with a value (or nothing)."""

    becomes: str
    takes: str
    wrong: Callable[[Any], str | None] = lambda value: None
    gangs_only: bool = False


@dataclass(frozen=True)
class Problem:
    """What is wrong with a step's settings, and what to do; ``code`` is the diagnostic's."""

    code: str
    message: str
    help: str


OPTIONS: Mapping[str, Option] = {
    "cpu": Option("resources.requests.cpu", "cores; the larger of it and `@resources(cpu=)`, 1 by default"),
    "memory": Option("resources.requests.memory", "MiB or text; the larger of it and `@resources(memory=)`, 4096"),
    "disk": Option("resources.requests.ephemeral-storage", "MiB or text; the larger of it and `@resources`, 10240"),
    "gpu": Option("resources.limits", "devices; the larger of it and `@resources(gpu=)`"),
    "gpu_vendor": Option(
        "resources.limits", "`nvidia` (default), `amd`, `intel`, ..., or a resource's whole name", values.bad_vendor
    ),
    "image": Option("container.image", "before `--image`", values.bad_image),
    "image_pull_policy": Option("container.imagePullPolicy", "`Always`, `IfNotPresent` or `Never`"),
    "image_pull_secrets": Option(
        "imagePullSecrets", "of the whole Workflow, and of the JobSet's pods", values.bad_subdomains
    ),
    "service_account": Option(
        "serviceAccountName", "gets the rights that Argo needs, but is not created", values.bad_subdomain
    ),
    "namespace": Option(
        "metadata.namespace", "of everything; all steps must agree, and `--namespace` too", values.bad_namespace
    ),
    "secrets": Option("container.envFrom", "names of Secrets, as in `@secrets`", values.bad_subdomains),
    "node_selector": Option("nodeSelector", "a dictionary, or `key=value,key=value`", values.bad_selector),
    "tolerations": Option(
        "tolerations", "dictionaries; `toleration_seconds` or `tolerationSeconds`", values.bad_tolerations
    ),
    "labels": Option("metadata.labels", "of the pods and of the JobSet", values.bad_labels),
    "annotations": Option("metadata.annotations", "of the pods and of the JobSet", values.bad_annotations),
    "shared_memory": Option("volumes", "MiB or text: a memory volume at /dev/shm"),
    "use_tmpfs": Option("volumes", "`True`: a memory volume at `tmpfs_path`"),
    "tmpfs_size": Option("volumes", "MiB or text; implies `use_tmpfs`; half of the memory by default"),
    "tmpfs_path": Option("volumes", "`/tmpfs` by default", values.bad_path),
    "persistent_volume_claims": Option(
        "volumes", 'where to mount which claim: `{"claim": "/path"}`', values.bad_claims
    ),
    "port": Option("container.ports", "a port of the container"),
    "qos": Option(
        "resources.limits",
        "`Guaranteed`: limits are the requests; `Burstable` (default): no limits but those of devices",
    ),
    "executable": Option("container.command", "the Python of the image; `python` by default", values.bad_executable),
    "hostname_resolution_timeout": Option(
        "FLOWC_GANG_TIMEOUT", "seconds in which a gang must have formed", gangs_only=True
    ),
    "security_context": Option(
        "container.securityContext", "with Kubernetes' names, also as `run_as_user`", values.bad_security
    ),
    "priority_class": Option("priorityClassName", "the name of a PriorityClass", values.bad_subdomain),
    "queue": Option("kueue.x-k8s.io/queue-name", "a LocalQueue of Kueue", values.bad_subdomain),
    "topology": Option(
        "alpha.jobset.sigs.k8s.io/exclusive-topology",
        "a key of node labels: no two gangs in one such domain",
        values.bad_key,
        gangs_only=True,
    ),
    "efa": Option("resources.limits", "EFA interfaces: `vpc.amazonaws.com/efa`", values.bad_count),
    "extended_resources": Option(
        "resources.limits",
        'further devices by name: `{"rdma/hca": 1}`; huge pages: `{"hugepages-2Mi": "128Mi"}`',
        values.bad_extended,
    ),
    "spot": Option("affinity, tolerations", "`True`: only nodes that a cloud may take back (AKS, EKS, GKE, Karpenter)"),
}
"""Every option of ``@kubernetes`` that flowc sees to."""


def given(step: Step) -> Mapping[str, Any]:
    """What the flow says in ``@kubernetes``."""
    return step.options.get("kubernetes", {})


def problems(step: Step) -> Iterator[Problem]:
    """What Kubernetes would refuse or misread in a step's settings."""
    options = given(step)
    for name, value in options.items():
        option = OPTIONS.get(name)
        if option is None:
            continue  # the table of capabilities speaks of it
        message = option.wrong(value) or _hole(value)
        if message:
            tip = f"it takes {option.takes.replace('`', '')}"
            yield Problem("FC409", f"@kubernetes({name}=...): {message}", tip)
        elif option.gangs_only and step.kind != "gang":
            yield Problem("FC407", f"@kubernetes({name}=...) has no effect on a step that is no gang", "")
    for name, value in step.env.items():
        message = _lone(value)
        if message:
            yield Problem("FC409", f"@environment: the variable {name}: {message}", "leave it out")
    for feature in step.features:
        if feature.name == "secrets":
            for source in sources(feature.options.get("sources", ())):
                if isinstance(source, Problem):
                    yield source
    paths = [mount["mountPath"] for mount in _paths(step)]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield Problem("FC409", f"two volumes are to be mounted at {path}", "give each its own path")


def _paths(step: Step) -> Iterator[dict[str, str]]:
    options = given(step)
    for path in dict(options.get("persistent_volume_claims") or {}).values():
        yield {"mountPath": str(path).rstrip("/")}
    memory_volume = tmpfs(step)
    if memory_volume is not None:
        yield {"mountPath": memory_volume[0].rstrip("/")}
    if shared_memory(step):
        yield {"mountPath": "/dev/shm"}  # noqa: S108


def _hole(value: Any) -> str | None:
    """Argo would take ``{{`` in any text for one of its variables."""
    texts = _texts(value)
    return next((f"{text!r} holds {{{{, which Argo replaces" for text in texts if "{{" in text), None)


def _lone(value: str) -> str | None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return "it holds a character that no file can hold"
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def sources(listed: Any) -> Iterator[str | Problem]:
    """The Secrets that ``@secrets`` names, in order; a problem for what is none."""
    help = 'write sources=["name of a Secret"] or {"type": "kubernetes", "id": "name"}'
    for source in listed:
        name, kind = source, "kubernetes"
        if isinstance(source, Mapping):
            name, kind = source.get("id"), str(source.get("type", "kubernetes"))
        if kind != "kubernetes":
            yield Problem("FC409", f"@secrets: Argo takes Secrets of the cluster, not those of {kind!r}", help)
        elif not isinstance(name, str) or values.bad_subdomain(name):
            yield Problem("FC409", f"@secrets: {name!r} is no name of a Secret", help)
        else:
            yield name


# Amounts -------------------------------------------------------------------------------------------------------------

_TMPFS = "/tmpfs"  # noqa: S108
MEMORY = 4096
DISK = 10240
"""MiB of a pod whose flow does not say."""


def cpu(step: Step) -> float:
    """Cores. One is also the default of ``@resources``, so a smaller number in ``@kubernetes`` stands."""
    own = _amount(cores, given(step).get("cpu"))
    if own is None or step.resources.cpu == 1:
        return step.resources.cpu if own is None else own
    return max(own, step.resources.cpu)


def memory(step: Step) -> int:
    """MiB."""
    return _larger(_amount(mebibytes, given(step).get("memory")), step.resources.memory) or MEMORY


def disk(step: Step) -> int:
    """MiB."""
    return _larger(_amount(mebibytes, given(step).get("disk")), step.resources.disk) or DISK


def shared_memory(step: Step) -> int:
    """MiB; 0 leaves it to the container runtime."""
    return _larger(_amount(mebibytes, given(step).get("shared_memory")), step.resources.shared_memory)


def gpu(step: Step) -> int:
    """Devices."""
    return _larger(_amount(count, given(step).get("gpu")), step.resources.gpu)


def tmpfs(step: Step) -> tuple[str, int] | None:
    """Path and MiB of a memory volume; None for none."""
    options = given(step)
    size = _amount(mebibytes, options.get("tmpfs_size"))
    wanted = options.get("use_tmpfs")
    if wanted or (wanted is None and size):
        return str(options.get("tmpfs_path") or _TMPFS), int(size or memory(step) // 2)
    return None


def requests(step: Step) -> dict[str, str]:
    """``resources.requests`` of the container."""
    return {"cpu": _cores(cpu(step)), "memory": f"{memory(step)}Mi", "ephemeral-storage": f"{disk(step)}Mi"}


def limits(step: Step) -> dict[str, str]:
    """``resources.limits`` of the container."""
    options = given(step)
    out = requests(step) if options.get("qos") == "Guaranteed" else {}
    if gpu(step):
        vendor = str(options.get("gpu_vendor") or "nvidia")
        out[vendor if "/" in vendor else _VENDORS.get(vendor, f"{vendor}.com/gpu")] = str(gpu(step))
    if options.get("efa"):
        out["vpc.amazonaws.com/efa"] = str(options["efa"])
    out.update({name: str(value) for name, value in sorted(dict(options.get("extended_resources") or {}).items())})
    return out


def _larger(*amounts: float | None) -> int:
    return int(max((amount for amount in amounts if amount is not None), default=0))


def _amount(read: Callable[[Any], float], value: Any) -> float | None:
    if value is None:
        return None
    try:
        return read(value)
    except BadQuantity:  # a problem that the compiler has told already
        return None


def _cores(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{round(value * 1000)}m"
