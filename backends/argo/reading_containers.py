"""What a container is told of its run and its step, compared with the Plan; and how one is found in a template.

Nothing here is shared with what writes the templates but the rules by which ``@kubernetes`` and ``@pypi`` are read, so
that a mistake there is seen here.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...compiler.plan import Plan, Step
from ...runtime import contract
from . import options, packages
from .store import DEFAULT
from .verify_report import Report
from .verify_yaml import load_all

RUN = "{{workflow.name}}"
"""What a run is called, and what its JobSets are labelled with."""

SIZE = "{{inputs.parameters.size}}"
"""The size that a gang's template is given."""

_UID = "{{workflow.uid}}"
_PARAMETERS = "{{=sprig.b64enc(workflow.parameters.json)}}"
_HOLE = re.compile(r"\{\{[^{}]*\}\}")
_FETCHED = "/tmp/flowc/code"  # noqa: S108 (in a pod of its own)
"""Where fetch.py puts the code."""

_NO_RECORD = {
    "type": "ProcessFailure",
    "message": "the pod of the last attempt ended without a record of why; Argo says {{inputs.parameters.status}}",
}
"""What a caught failure is called that nobody wrote down."""

FROM_POD = {
    "JOBSET_NAME": "metadata.annotations['jobset.sigs.k8s.io/jobset-name']",
    "JOBSET_RESTART_ATTEMPT": "metadata.labels['jobset.sigs.k8s.io/restart-attempt']",
    "REPLICATED_JOB_NAME": "metadata.annotations['jobset.sigs.k8s.io/replicatedjob-name']",
}
"""Where a rank learns to which JobSet it belongs."""

_COPIED = re.compile(r"^COPY code (\S+)$", re.MULTILINE)

_CONSEQUENCES = {
    contract.ATTEMPT: "its attempts have no numbers of their own",
    contract.ROUND: "its rounds are not counted as the flow has them",
    contract.PLAN: "it begins the run, or does not, otherwise than the flow",
    contract.WORKFLOW: "it would outlive its Workflow",
}
"""What a wrong variable means, where that is more than its name says."""


@dataclass(frozen=True)
class Manifests:
    """What was emitted for a Plan: ``spec`` of the WorkflowTemplate, ``bundle.json``, and the files beside them."""

    plan: Plan
    bundle: Mapping[str, Any]
    spec: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def way(self) -> str:
        """How the code travels: ``bundled``, ``installed``, ``image`` or ``s3``."""
        code = str(self.bundle.get("code"))
        return "s3" if code.startswith("s3://") else code

    def code_folder(self, mounts: Mapping[str, str]) -> str:
        """Where a container finds the code."""
        if self.way == "s3":
            return _FETCHED
        if self.way == "image":
            found = _COPIED.search(self.files["Dockerfile"].decode())
            return found[1] if found else "(nowhere)"
        return mounts.get("code", "(nowhere)")

    def datastore(self, mounts: Mapping[str, str]) -> str:
        """The datastore's URL as a container with these mounts sees it."""
        if not self.claim:
            return self._url
        named = [
            item["name"]
            for item in self.spec.get("volumes", ())
            if item.get("persistentVolumeClaim", {}).get("claimName") == self.claim
        ]
        path = next((mounts[name] for name in named if name in mounts), "(nowhere)")
        return f"file://{path}/{urlsplit(self._url).path.strip('/')}".rstrip("/")

    @property
    def claim(self) -> str:
        """The claim that holds the datastore; empty where that is elsewhere."""
        parts = urlsplit(self._url)
        return parts.netloc if parts.scheme == "pvc" else ""

    @property
    def _url(self) -> str:
        return str(self.bundle.get("datastore") or DEFAULT)


# Reading a template --------------------------------------------------------------------------------------------------


def container_of(template: Mapping[str, Any]) -> dict[str, Any] | None:
    """The container of a template, or of the pods of its JobSet; None if it runs nothing of the flow's."""
    if "container" in template:
        return dict(template["container"])
    if "manifest" not in template.get("resource", {}):
        return None
    return dict(pod_of(template)["containers"][0])


def variables_of(container: Mapping[str, Any]) -> dict[str, str]:
    """The environment variables of a container; of those that come from elsewhere, from where."""
    return {item["name"]: item.get("value") or str(item.get("valueFrom", "")) for item in container["env"]}


def deletes(template: Mapping[str, Any]) -> bool:
    """Whether a template deletes objects of the cluster."""
    return bool(template.get("resource", {}).get("action") == "delete")


def pod_of(gang: Mapping[str, Any]) -> dict[str, Any]:
    """``spec`` of the pods of a gang's JobSet."""
    return dict(job_of(gang)["template"]["spec"])


def jobset_of(gang: Mapping[str, Any]) -> dict[str, Any]:
    """The JobSet of a gang's template."""
    return dict(_read_jobset(gang["resource"]["manifest"]))


def job_of(gang: Mapping[str, Any]) -> dict[str, Any]:
    """``spec`` of the Jobs of a gang's JobSet."""
    return dict(jobset_of(gang)["spec"]["replicatedJobs"][0]["template"]["spec"])


@functools.lru_cache(64)
def _read_jobset(text: str) -> Any:
    """What a JobSet's text says. Only with Argo's variables filled in is it YAML."""
    mark = "hole"
    while mark in text:
        mark += "e"
    holes: dict[str, str] = {}

    def fill(hole: re.Match[str]) -> str:
        name = f"<{mark}{len(holes)}>"
        holes[name] = hole[0]
        return name

    documents = load_all(_HOLE.sub(fill, text), "", Report())
    if len(documents) != 1:
        raise ValueError(f"a JobSet's text holds {len(documents)} objects")
    return _emptied(documents[0], re.compile(f"<{mark}[0-9]+>"), holes)


def _emptied(value: Any, mark: re.Pattern[str], holes: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return mark.sub(lambda found: holes[found[0]], value)
    if isinstance(value, dict):
        return {_emptied(key, mark, holes): _emptied(item, mark, holes) for key, item in value.items()}
    return [_emptied(item, mark, holes) for item in value] if isinstance(value, list) else value


# Comparing with the Plan ---------------------------------------------------------------------------------------------


def _mounts(container: Mapping[str, Any]) -> dict[str, str]:
    return {item["name"]: item["mountPath"] for item in container.get("volumeMounts", ())}


def own_variables(step: Step, gang: bool, caught: bool) -> Iterator[tuple[str, str]]:
    """The variables that depend on the step alone."""
    if step.loop is not None:
        yield contract.ROUND, "auto"
    if caught:
        yield contract.ATTEMPT, str(1 + (step.retry.times if step.retry else 0))
        yield contract.CAUGHT, json.dumps(_NO_RECORD)
    elif step.retry is not None:
        yield contract.ATTEMPT, "{{retries}}"
        whole = math.floor(step.retry.backoff)
        if step.retry.wait and step.retry.backoff != whole:
            yield contract.WAIT, f"{step.retry.wait!r} {step.retry.backoff!r} {whole}"
    if step.timeout is not None and not caught:
        yield contract.TIMEOUT, repr(step.timeout)
    if gang:
        yield contract.GANG_SIZE, SIZE
        yield contract.WORKFLOW, RUN
        patience = options.given(step).get("hostname_resolution_timeout")
        if patience:
            yield contract.GANG_TIMEOUT, str(patience)


def _of_run(made: Manifests, step: Step, container: Mapping[str, Any], begins: bool) -> Iterator[tuple[str, str]]:
    """The variables that every container has, and those of one that may have to begin the run."""
    folder = made.code_folder(_mounts(container))
    yield contract.DATASTORE, made.datastore(_mounts(container))
    yield contract.FLOW_FILE, f"{folder}/flow/{made.bundle['file']}"
    yield contract.FLOW_NAME, made.plan.name
    yield contract.LOGS, "tee"
    yield contract.RUN_ID, RUN
    if made.way != "installed":
        yield "PYTHONPATH", folder
    if made.way == "image":
        yield contract.CODE, folder
    wanted = packages.requirements(made.plan, step)
    if wanted:
        yield contract.PACKAGES, json.dumps(wanted)
    if begins:
        yield contract.PLAN, f"{folder}/plan.json"
        yield contract.PARAMETERS, _PARAMETERS if made.plan.parameters else "{}"
        yield contract.TARGET, "argo"
    if begins or contract.RUN_UID in variables_of(container):
        yield contract.RUN_UID, _UID


def _elsewhere(made: Manifests, container: Mapping[str, Any], gang: bool) -> Iterator[str]:
    """The variables that are looked at beside what they belong to."""
    yield contract.OUTPUTS
    if made.way in ("image", "s3"):
        yield from (contract.CODE_DIGEST, contract.CODE_URL)
    if gang:
        yield from FROM_POD


def variable_problems(
    made: Manifests, step: Step, container: Mapping[str, Any], own: Mapping[str, str]
) -> Iterator[str]:
    """What a container is told otherwise than it must be. ``own`` are the variables that only this one has."""
    there = variables_of(container)
    others = set(_elsewhere(made, container, contract.GANG_SIZE in own))
    begins = step.name == made.plan.first
    meant = {**dict(_of_run(made, step, container, begins)), **own}
    of_step = {name for name, text in step.env.items() if name != "PYTHONPATH" and "{{" not in text} - set(meant)
    for name, text in step.env.items():
        if name in of_step - others and _as_the_kubelet_reads(there.get(name, "")) != text:
            yield f"the variable {name} is {there.get(name)!r}"
    for name in sorted({*meant, *there} - others - of_step):
        if _read(name, there.get(name)) == _read(name, meant.get(name)):
            continue
        if name == contract.TIMEOUT:
            yield f"it may take {there.get(name)} seconds, not {step.timeout}"
        else:
            why = f"{_CONSEQUENCES[name]}: " if name in _CONSEQUENCES else ""
            yield f"{why}the variable {name} is {there.get(name)!r}, not {meant.get(name)!r}"


def _as_the_kubelet_reads(text: str) -> str:
    """A value once the kubelet has read it: of two dollars it leaves one, and ``$(`` begins another variable's name."""
    return re.sub(r"\$([$(])", lambda found: "$" if found[1] == "$" else "\0", text)


def _read(name: str, text: str | None) -> object:
    """The value of a variable, equal for texts that mean the same."""
    if text is None:
        return None
    if name in (contract.TIMEOUT, contract.WAIT):
        try:
            return [float(f"{float(number):.12g}") for number in text.split()]
        except ValueError:
            return text
    return text


def start_problems(made: Manifests, step: Step, container: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with how Python is started."""
    mounts = _mounts(container)
    start = [f"{mounts.get('code')}/fetch.py"] if made.way == "s3" else ["-m", "flowc.runtime"]
    command = [str(options.given(step).get("executable") or "python"), *start]
    if container.get("command") != command:
        yield f"its command is {container.get('command')}, not {command}"
    folder = made.code_folder(mounts)
    if container.get("workingDir") != (None if made.way == "s3" else folder):
        yield f"it works in the folder {container.get('workingDir')}, not in {folder}"
