"""The container that runs a step, as plain tasks and the ranks of gangs have it, and what its pod needs around it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from ...compiler.plan import Step
from ...runtime import contract
from . import option_values, options
from .code import CODE, PLAN, VOLUME
from .packages import requirements
from .site import Site
from .store import MOUNT

OUTPUTS = "/tmp/flowc/outputs"  # noqa: S108 (in a pod of its own)
"""Where a task leaves what Argo must know."""

START = 600
"""Seconds that a pod may take until its step begins, which ``@timeout`` does not count."""

_LONGEST_REST = 10 * 365 * 24 * 3600
"""Seconds: Kubernetes takes no number above 2^31."""

_TO_END = 15
"""Seconds that a pod has beyond those in which its step may save a checkpoint: to record its end, and to end."""

RUN = "{{workflow.name}}"
"""The run's id: the Workflow's name is unique in its namespace while it exists."""

_RUN_UID = "{{workflow.uid}}"
"""A Workflow of the same name has another one, be it later, in another namespace or in another cluster."""

_OURS = frozenset(["PYTHONPATH"])
"""Variables of ``@environment`` that only the step's own process sees, because flowc needs them before."""

_SPOT_TAINTS = (("cloud.google.com/gke-spot", "true"), ("kubernetes.azure.com/scalesetpriority", "spot"))
_SPOT_NODES = (
    ("cloud.google.com/gke-spot", "true"),
    ("eks.amazonaws.com/capacityType", "SPOT"),
    ("karpenter.sh/capacity-type", "spot"),
    ("kubernetes.azure.com/scalesetpriority", "spot"),
)


def step_env(site: Site, step: Step) -> Iterator[tuple[str, str]]:
    """The variables that every container of a step has."""
    yield from flow_env(site)
    if step.name == site.plan.first:
        yield from beginning_env(site)
    wanted = requirements(site.plan, step)
    if wanted:
        yield contract.PACKAGES, json.dumps(wanted)
    if step.loop is not None:
        # The records know it; through loops in fan-outs no parameter could carry it.
        yield contract.ROUND, "auto"


def flow_env(site: Site) -> Iterator[tuple[str, str]]:
    """The variables that name flow, run and datastore."""
    yield contract.DATASTORE, site.store.url
    yield contract.FLOW_FILE, site.flow_file
    yield contract.FLOW_NAME, site.plan.name
    yield contract.LOGS, "tee"
    yield contract.RUN_ID, RUN
    yield from site.code.env.items()


def beginning_env(site: Site) -> Iterator[tuple[str, str]]:
    """The variables by which the run is created."""
    # As base64, because kubelet and Argo replace parts of what looks like their own variables in any text.
    given = "{{=sprig.b64enc(workflow.parameters.json)}}" if site.plan.parameters else "{}"
    yield contract.PARAMETERS, given
    yield contract.PLAN, f"{site.code.folder}/{PLAN}"
    yield contract.RUN_UID, _RUN_UID
    yield contract.TARGET, "argo"


def attempt_env(step: Step) -> Iterator[tuple[str, str]]:
    """The number of the attempt, which Argo knows only where it may try again; how long it may take, and waits."""
    if step.retry is not None:
        yield contract.ATTEMPT, "{{retries}}"
        if step.retry.wait and step.retry.backoff != int(step.retry.backoff):
            # Argo counts in whole numbers; the attempt waits for what is left.
            yield contract.WAIT, f"{step.retry.wait:.15g} {step.retry.backoff:.15g} {int(step.retry.backoff)}"
    if step.timeout is not None:
        yield contract.TIMEOUT, f"{step.timeout:.15g}"


def container(
    site: Site, step: Step, args: list[str], env: Mapping[str, str], *, devices: bool = True
) -> dict[str, Any]:
    """The container of a step.

    Parameters
    ----------
    args : list of str
        What follows ``python -m flowc.runtime``.
    env : mapping
        Its variables besides those of ``@environment``.
    devices : bool
        Whether it gets GPUs and the like.
    """
    given = options.given(step)
    out: dict[str, Any] = {"image": str(given.get("image") or site.image)}
    if given.get("image_pull_policy"):
        out["imagePullPolicy"] = str(given["image_pull_policy"])
    out["command"] = [str(given.get("executable") or "python"), *site.code.command]
    out["args"] = args
    if site.settings.way != "s3":  # where it is not there yet
        # Not the flow's folder: Python would take a flow called random.py for its own. The runtime goes there.
        out["workingDir"] = CODE
    own = {name: unexpanded(text) for name, text in sorted(step.env.items()) if in_container(name, text)}
    out["env"] = [{"name": name, "value": text} for name, text in {**own, **dict(sorted(env.items()))}.items()]
    named = [*secrets(step)]
    if named:
        out["envFrom"] = [{"secretRef": {"name": name}} for name in named]
    if given.get("port"):
        out["ports"] = [{"containerPort": given["port"]}]
    limits = options.limits(step) if devices else {}
    out["resources"] = {"requests": options.requests(step), **({"limits": limits} if limits else {})}
    context = option_values.security_context(given.get("security_context") or {})
    if context:
        out["securityContext"] = context
    out["volumeMounts"] = mounts(site, step)
    return out


def in_container(name: str, text: str) -> bool:
    """Whether the container gets a variable of ``@environment``; others only the step's own process, from the Plan."""
    return name not in _OURS and "{{" not in text  # which Argo would replace


def unexpanded(text: str) -> str:
    """A value in which the kubelet finds no ``$(NAME)`` to replace and no ``$$`` to halve."""
    return re.sub(r"\$(?=[$(])", "$$", text)


def secrets(step: Step) -> list[str]:
    """The Secrets whose entries become variables of the step."""
    found = list(options.given(step).get("secrets") or ())
    for feature in step.features:
        if feature.name == "secrets":
            listed = feature.options.get("sources") or ()
            found += [item for item in options.sources(listed) if isinstance(item, str)]
    return list(dict.fromkeys(found))


# Volumes -------------------------------------------------------------------------------------------------------------


def mounts(site: Site, step: Step) -> list[dict[str, Any]]:
    """``volumeMounts``: the code, the datastore's claim, and what the step asks for."""
    out: list[dict[str, Any]] = []
    if site.code.maps:
        out.append({"name": VOLUME, "mountPath": CODE, "readOnly": True})
    if site.store.claim:
        out.append({"name": "data", "mountPath": MOUNT})
    return out + [{"name": item["name"], "mountPath": path} for item, path in _own(step)]


def own_volumes(step: Step) -> list[dict[str, Any]]:
    """The volumes that only this step has."""
    return [item for item, _ in _own(step)]


def _own(step: Step) -> Iterator[tuple[dict[str, Any], str]]:
    given = options.given(step)
    for number, (claim, path) in enumerate(sorted(dict(given.get("persistent_volume_claims") or {}).items()), 1):
        yield {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}, str(path)
    if options.shared_memory(step):
        yield _memory("shared-memory", options.shared_memory(step)), "/dev/shm"  # noqa: S108
    tmpfs = options.tmpfs(step)
    if tmpfs:
        yield _memory("tmpfs", tmpfs[1]), tmpfs[0]
    read_only = option_values.security_context(given.get("security_context") or {}).get("readOnlyRootFilesystem")
    if read_only and not (tmpfs and tmpfs[0].rstrip("/") == "/tmp"):  # noqa: S108
        yield {"name": "tmp", "emptyDir": {}}, "/tmp"  # noqa: S108


def _memory(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": f"{size}Mi"}}


# The pod -------------------------------------------------------------------------------------------------------------


def labels(site: Site, step: Step) -> dict[str, str]:
    """Labels by which the pods and JobSets of a step are found."""
    own = {str(key): str(value) for key, value in sorted(dict(options.given(step).get("labels") or {}).items())}
    return {**own, **site.labels, "flowc/run": RUN, "flowc/step": site.drawing.of_step[step.name]}


def step_annotations(step: Step) -> dict[str, str]:
    """The step's own annotations."""
    given = options.given(step).get("annotations") or {}
    return {str(key): str(value) for key, value in sorted(dict(given).items())}


def placement(step: Step, *, spot: bool = True) -> dict[str, Any]:
    """Where a pod may run, with whose rights and how urgently; without ``spot`` not on nodes that a cloud takes back,
    whatever the step says."""
    given = options.given(step)
    out: dict[str, Any] = {}
    if given.get("service_account"):
        out["serviceAccountName"] = str(given["service_account"])
    if given.get("node_selector"):
        out["nodeSelector"] = dict(sorted(option_values.selector(given["node_selector"]).items()))
    tolerations = option_values.tolerations(given.get("tolerations") or ())
    if spot and given.get("spot"):
        tolerations += [
            {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"} for key, value in _SPOT_TAINTS
        ]
        terms = [
            {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]} for key, value in _SPOT_NODES
        ]
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        out["affinity"] = {"nodeAffinity": required}
    if tolerations:
        out["tolerations"] = tolerations
    if given.get("priority_class"):
        out["priorityClassName"] = str(given["priority_class"])
    context = option_values.pod_security_context(given.get("security_context") or {})
    if context:
        out["securityContext"] = context
    return out


def deadline(step: Step, start: int = START) -> int | None:
    """Whole seconds after which Kubernetes ends an attempt that does not see to it itself; ``start`` are those that it
    may take to begin."""
    if step.timeout is None:
        return None
    return math.ceil(step.timeout) + start + math.ceil(step.grace or 0) + longest_rest(step)


def longest_rest(step: Step) -> int:
    """Whole seconds that an attempt may wait in its pod before it begins: the last one waits longest."""
    if step.retry is None:
        return 0
    retry = step.retry
    try:
        seconds = contract.rest_of_wait(retry.times, retry.wait, retry.backoff, int(retry.backoff))
    except OverflowError:
        seconds = _LONGEST_REST
    return math.ceil(min(seconds, _LONGEST_REST))


def termination_grace(step: Step, least: int) -> int:
    """Whole seconds that a pod has between SIGTERM and SIGKILL: those to save a checkpoint, and some to end."""
    return least if step.grace is None else max(least, math.ceil(step.grace) + _TO_END)


def retry_strategy(step: Step) -> dict[str, Any] | None:
    """``retryStrategy``: after every end but a good one, also that of a node."""
    if step.retry is None:
        return None
    out: dict[str, Any] = {"limit": str(step.retry.times), "retryPolicy": "Always"}
    if step.retry.wait:
        # Go reads no exponents.
        seconds = format(Decimal(f"{step.retry.wait:.15g}"), "f")
        out["backoff"] = {"duration": f"{seconds}s", "factor": str(int(step.retry.backoff))}
    return out
