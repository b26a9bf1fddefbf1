"""The pods of a run: which task each is, and why one does not start."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ....runtime import contract
from .connection import Cluster, Object
from .nodes import RUN_LABEL, seconds

_WAITING = ("PodInitializing", "ContainerCreating")
"""Reasons that go away by themselves."""

_RANK = "batch.kubernetes.io/job-completion-index"
_JOBSET = "jobset.sigs.k8s.io/jobset-name"
_RESTARTS = "jobset.sigs.k8s.io/restart-attempt"
_YOUNG = 30.0


class TaskPod(NamedTuple):
    """A pod of a task.

    Attributes
    ----------
    address : str
        ``train@2/0.3``; the last number is the rank in a gang.
    container : str
        That which runs the step.
    """

    address: str
    attempt: int
    container: str
    name: str
    pod: Mapping[str, Any]

    @property
    def begun(self) -> bool:
        """Whether it has run, so that there may be a log."""
        return self.pod.get("status", {}).get("phase") in ("Running", "Succeeded", "Failed")

    @property
    def ended(self) -> bool:
        """Whether nothing more comes from it. Argo's containers beside that of the step take some more time."""
        status = self.pod.get("status", {})
        own = [item for item in status.get("containerStatuses") or () if item.get("name") == self.container]
        ended = any((item.get("state") or {}).get("terminated") for item in own)
        return ended or status.get("phase") in ("Succeeded", "Failed")


def of_run(cluster: Cluster, run: str) -> list[Object]:
    """All pods of a run, ranks of gangs included, oldest first."""
    found = cluster.pods(f"{RUN_LABEL}={run}")
    return sorted(found, key=lambda pod: (str(pod["metadata"].get("creationTimestamp")), pod["metadata"]["name"]))


def tasks(pods: Iterable[Mapping[str, Any]]) -> list[TaskPod]:
    """The pods that run steps, with their addresses.

    In which round of a loop a pod is, only its records say; the pods of one task of the same attempt follow each other,
    so they are counted. So are the attempts of gangs: those that a JobSet started anew, and those of JobSets before.
    """
    out: list[TaskPod] = []
    seen: dict[tuple[str, str, int], int] = {}
    gangs: dict[tuple[str, str], dict[str, _JobSet]] = {}
    for pod in pods:
        found = _task(pod)
        if found is None:
            continue
        step, index, attempt, container = found
        name, restarts = _said(pod, _JOBSET), _said(pod, _RESTARTS)
        if name is None:
            round = seen[step, index, attempt] = seen.get((step, index, attempt), 0) + 1
        else:
            jobsets = gangs.setdefault((step, index.rpartition(".")[0]), {})
            jobset = jobsets.setdefault(name, _JobSet(attempt, list(jobsets.values())))
            round, attempt = jobset.round, jobset.attempt(int(restarts or 0))
        marked = f"{step}@{round}" if round > 1 else step
        address = f"{marked}/{index}" if index else marked
        out.append(TaskPod(address, attempt, container, str(pod["metadata"]["name"]), pod))
    return out


class _JobSet:
    """One of those that Argo made for a gang, after others."""

    def __init__(self, tries: int, before: Sequence[_JobSet]) -> None:
        self.tries, self.restarts = tries, 0
        last = before[-1] if before else None
        # Argo counts from 0 again in the next round.
        self.round: int = 1 if last is None else last.round + (tries <= last.tries)
        begun = sum(1 + each.restarts for each in before if each.round == self.round)
        self.first = max(tries, begun)

    def attempt(self, restarts: int) -> int:
        """The number of the attempt in which it was started anew so often; it is told of them in their order."""
        self.restarts = max(self.restarts, restarts)
        return self.first + restarts


def _said(pod: Mapping[str, Any], key: str) -> str | None:
    """What a label says, or an annotation."""
    labels, notes = (pod["metadata"].get(name) or {} for name in ("labels", "annotations"))
    found = labels.get(key, notes.get(key))
    return None if found is None else str(found)


def _task(pod: Mapping[str, Any]) -> tuple[str, str, int, str] | None:
    for container in pod["spec"].get("containers") or ():
        args = [str(word) for word in container.get("args") or ()]
        if args[:1] != ["step"] or len(args) < 2:
            continue
        index = args[args.index("--index") + 1] if "--index" in args else ""
        rank = _said(pod, _RANK)
        if rank is not None:
            index = f"{index}.{rank}" if index else str(rank)
        env = {item["name"]: item.get("value") or "" for item in container.get("env") or ()}
        attempt = env.get(contract.ATTEMPT, "0")
        return args[1], index, int(attempt) if attempt.isdigit() else 0, str(container["name"])
    return None


def wanted(found: Iterable[TaskPod], task: str, attempt: int | None) -> list[TaskPod]:
    """The pods of ``train/0.3``, ``train`` or all, of one attempt, else of the last of each task."""
    mine = [each for each in found if not task or matches(each.address, task)]
    if attempt is not None:
        return [each for each in mine if each.attempt == attempt]
    last: dict[str, TaskPod] = {}
    for each in mine:
        if each.address not in last or each.attempt >= last[each.address].attempt:
            last[each.address] = each
    return list(last.values())


def matches(address: str, task: str) -> bool:
    """Whether an address is of what `wanted` is asked for."""
    step, _, index = address.partition("/")
    wanted_step, slash, wanted_index = task.partition("/")
    if wanted_step != (step if "@" in wanted_step else step.partition("@")[0]):
        return False
    return not slash or index == wanted_index or index.startswith(f"{wanted_index}.")


# What holds pods up ---------------------------------------------------------------------------------------------------


def problems(pods: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The pods that do not start, each with why."""
    addresses = {each.name: each.address for each in tasks(pods)}
    for pod in pods:
        status, name = pod.get("status") or {}, str(pod["metadata"]["name"])
        if status.get("phase") not in ("Pending", None):
            continue
        for why in _reasons(status):
            yield addresses.get(name, f"pod {name}"), why


def _reasons(status: Mapping[str, Any]) -> Iterator[str]:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield f"cannot be scheduled: {condition.get('message') or condition.get('reason')}"
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in _WAITING:
            yield f"does not start: {waiting['reason']}: {waiting.get('message') or container.get('image')}"


def jobset_problems(
    jobsets: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]], now: float
) -> Iterator[tuple[str, str]]:
    """The gangs that have no pods, each with what is known of why."""
    having = {_said(pod, _JOBSET) for pod in pods}
    for jobset in jobsets:
        name, status = str(jobset["metadata"]["name"]), jobset.get("status") or {}
        if status.get("terminalState") or name in having:
            continue
        if (jobset.get("spec") or {}).get("suspend"):
            yield f"gang {name}", "waits in its queue: the JobSet is suspended"
        elif now - seconds(jobset["metadata"].get("creationTimestamp")) > _YOUNG:
            why = "it is just started anew, " if status.get("restarts") else ""
            why += "Kubernetes may refuse its Job, or a quota is used up"
            yield f"gang {name}", f"has no pods: {why}; kubectl describe jobset {name}"


def name_is_legal(name: str) -> bool:
    """Whether an object of Kubernetes may have this name."""
    return re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name) is not None and len(name) <= 253
