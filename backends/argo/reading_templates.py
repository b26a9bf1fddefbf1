"""What the templates of a WorkflowTemplate run, compared with the steps of the Plan.

Nothing here is shared with what writes the templates but the rules by which ``@kubernetes`` and ``@secrets`` are
read, so that a mistake there is seen here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ...compiler.plan import Foreach, Gang, Step, Switch
from ...runtime import contract, preemptions
from . import options
from .container import secrets
from .reading_containers import (
    FROM_POD,
    RUN,
    SIZE,
    Manifests,
    container_of,
    deletes,
    job_of,
    jobset_of,
    own_variables,
    pod_of,
    start_problems,
    variable_problems,
    variables_of,
)
from .reading_ending import ending_problems
from .site import IMAGE

_INDEX = "{{inputs.parameters.index}}"

_HOUR, _DAY = 3600, 24 * 3600
_BEGINS, _FORMS = 600, 600
"""Seconds that a pod has to begin, and that a gang has to form where nothing else is said (docs/gangs.md)."""

_UNTIMED = 5 * _DAY
"""Seconds that a gang without ``@timeout`` may take."""


def template_problems(made: Manifests) -> Iterator[str]:
    """What the templates that run something say otherwise than the Plan."""
    steps = {step.name: step for step in made.plan.steps}
    runs: dict[tuple[str, bool], Mapping[str, Any]] = {}
    for item in made.spec["templates"]:
        if "dag" in item or deletes(item):
            continue
        container = container_of(item)
        args = (container or {}).get("args") or [""]
        if container is None or args[0] not in ("step", "end"):
            yield f"template {item['name']} runs neither a step nor the end of the run"
            continue
        if args[0] == "end":
            continue
        key = args[1], contract.CAUGHT in variables_of(container)
        if key in runs:
            yield f"templates {runs[key]['name']} and {item['name']} both run step {args[1]}"
        runs[key] = item
        if args[1] in steps:
            for problem in _step_problems(made, steps[args[1]], item, container):
                yield f"template {item['name']}: {problem}"
    unknown = sorted({name for name, _ in runs} - set(steps))
    if unknown:
        yield f"templates run {', '.join(unknown)}, which are no steps of the flow"
    for name, step in steps.items():
        if (name, False) not in runs:
            yield f"no template runs step {name}"
        elif (step.catch is not None) != ((name, True) in runs):
            yield f"step {name} is caught in one place only"
    yield from _outputs_folders(made)
    if (made.plan.first, False) in runs:
        yield from ending_problems(made, runs[made.plan.first, False])


def _step_problems(made: Manifests, step: Step, item: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    gang = "resource" in item
    caught = contract.CAUGHT in variables_of(container)
    if gang != (step.kind == "gang" and not caught):
        yield f"it is {'a' if gang else 'no'} gang"
        return
    depth = len(step.scope) - (step.kind == "gang")
    if container["args"] != ["step", step.name, *(["--index", _INDEX] if depth else [])]:
        yield "it has an index, or has none, otherwise than the flow"
    names = [*(["index"] if depth else []), *(["size"] if gang else []), *(["status"] if caught else [])]
    if item.get("inputs", {}) != ({"parameters": [{"name": name} for name in names]} if names else {}):
        yield f"its inputs are {item.get('inputs')}, not {', '.join(names) or 'none'}"
    yield from variable_problems(made, step, container, dict(own_variables(step, gang, caught)))
    yield from start_problems(made, step, container)
    yield from _outputs(step, item, variables_of(container), caught)
    yield from _retries(step, item, caught)
    yield from _deadlines(step, item)
    yield from _needs(made, step, container, caught)
    account = options.given(step).get("service_account")
    if not gang and item.get("serviceAccountName") != account:
        yield f"it has the account {item.get('serviceAccountName')}, not {account or 'that of the Workflow'}"
    if gang:
        yield from _gang(made, item)


def _outputs_folders(made: Manifests) -> Iterator[str]:
    found = {}
    for item in made.spec["templates"]:
        container = container_of(item)
        if container is not None and contract.OUTPUTS in variables_of(container):
            found[variables_of(container)[contract.OUTPUTS]] = item["name"]
    if len(found) > 1:
        named = " and ".join(f"{folder!r} (template {name})" for folder, name in found.items())
        yield f"the variable {contract.OUTPUTS} differs: {named}"


def _outputs(step: Step, item: Mapping[str, Any], env: Mapping[str, str], caught: bool) -> Iterator[str]:
    gang = "resource" in item
    folder = env.get(contract.OUTPUTS, "")
    if gang == folder.startswith("/"):
        yield f"the variable {contract.OUTPUTS} is {env.get(contract.OUTPUTS)!r}"
    counted = isinstance(step.leave, Foreach) or (isinstance(step.leave, Gang) and step.leave.size is None)
    wanted = {"width"} if counted else {"to"} if isinstance(step.leave, Switch) else set()
    there = item.get("outputs", {}).get("parameters", [])
    if {each["name"] for each in there} != (set() if gang or caught else wanted):
        yield "it does not say what its step decides"
    for each in there:
        if each.get("valueFrom") != {"path": f"{folder}/{each['name']}"}:
            yield f"its output {each['name']} comes from {each.get('valueFrom')}, and the step leaves it in {folder}"


# How often and how long ----------------------------------------------------------------------------------------------


def _retries(step: Step, item: Mapping[str, Any], caught: bool) -> Iterator[str]:
    there = item.get("retryStrategy", {})
    retry = None if caught else step.retry
    # Without a limit Argo tries for ever.
    times = there.get("limit", "any number of" if "retryStrategy" in item else 0)
    if str(times) != str(retry.times if retry else 0):
        yield f"it is tried {times} times more"
    if retry is None:
        return
    backoff = there.get("backoff", {})
    if retry.wait:
        meant = {"duration": retry.wait, "factor": math.floor(retry.backoff)}
        read = {key: _number(text) for key, text in backoff.items()}
        good = set(read) == set(meant) and all(math.isclose(read[key], meant[key]) for key in meant)
    else:
        meant, good = {}, not backoff
    if not good:
        yield f"it waits {backoff or 'not at all'} before it is tried again, not {meant or 'not at all'}"
    if there.get("retryPolicy") != "Always" or set(there) - {"limit", "retryPolicy", "backoff"}:
        yield f"it is not tried again after every failure: {there}"


def _number(text: object) -> float:
    try:
        return float(str(text).removesuffix("s"))
    except ValueError:
        return math.nan


def _deadlines(step: Step, item: Mapping[str, Any]) -> Iterator[str]:
    gang = "resource" in item
    if "timeout" in item:
        yield f"it ends after {item['timeout']}, waiting included"
    there, meant = item.get("activeDeadlineSeconds"), _seconds(step, gang)
    if not gang:
        if str(there) != str(meant):
            yield f"it ends after {there} seconds, not {meant}"
        return
    assert meant is not None
    of_job = job_of(item).get("activeDeadlineSeconds")
    if of_job is None:
        yield "nothing ends its Job"
    elif of_job != meant:
        yield f"its Job ends after {of_job} seconds, not {meant}"
    # Kueue may keep a JobSet waiting for long.
    whole = meant + (7 * _DAY if options.given(step).get("queue") else _HOUR)
    if step.retry is not None:
        # Its JobSet may be started anew after preemptions.
        whole += min(preemptions.MOST * meant, preemptions.LONGEST)
    if str(there) != str(whole):
        yield f"Argo gives it up after {there} seconds, not {whole}"


def _seconds(step: Step, gang: bool) -> int | None:
    """After how many seconds Kubernetes ends an attempt: what it may take and wait, and what it needs around that."""
    waits = 0
    if step.retry is not None:
        try:
            left = contract.rest_of_wait(
                step.retry.times, step.retry.wait, step.retry.backoff, math.floor(step.retry.backoff)
            )
        except OverflowError:
            left = math.inf
        waits = math.ceil(min(left, 3650 * _DAY))
    if step.timeout is None:
        return _UNTIMED + waits if gang else None
    begins = _BEGINS
    if gang:
        framework = {} if step.framework is None else step.framework.options
        said: Any = options.given(step).get("hostname_resolution_timeout")
        said = said or framework.get("all_nodes_started_timeout")
        begins = _HOUR + math.ceil(said or _FORMS)
    return math.ceil(step.timeout) + begins + math.ceil(step.grace or 0) + waits


# What a pod gets -----------------------------------------------------------------------------------------------------


def _needs(made: Manifests, step: Step, container: Mapping[str, Any], caught: bool) -> Iterator[str]:
    """Whether the step's pods get what it asks for; one that only records a failure needs no devices."""
    image = options.given(step).get("image") or made.bundle.get("image") or IMAGE
    if container["image"] != image:
        yield f"its image is {container['image']}, not {image}"
    resources = container.get("resources", {})
    limits = {} if caught else options.limits(step)
    for name, wanted in (("requests", options.requests(step)), ("limits", limits)):
        there = {each: str(amount) for each, amount in resources.get(name, {}).items()}
        if there != wanted:
            yield f"its {name} are {there or 'none'}, not {wanted or 'none'}"
    sources = container.get("envFrom", [])
    if sources != [{"secretRef": {"name": name}} for name in secrets(step)]:
        yield f"its secrets are {sources or 'none'}, not {', '.join(secrets(step)) or 'none'}"


def _gang(made: Manifests, item: Mapping[str, Any]) -> Iterator[str]:
    resource = item["resource"]
    ends = {"successCondition": "Completed", "failureCondition": "Failed"}
    if resource.get("action") != "create":
        yield f"it does not create its JobSet, but says {resource.get('action')}"
    for name, state in ends.items():
        if resource.get(name) != f"status.terminalState == {state}":
            yield f"its {name} is {resource.get(name)!r}"
    jobset = jobset_of(item)
    label = jobset["metadata"].get("labels", {}).get("flowc/run")
    if label != RUN:
        yield f"its JobSet has the label flowc/run {label!r}, not {RUN}, by which the end of the run deletes it"
    jobs = jobset["spec"]["replicatedJobs"]
    count = sum(int(job.get("replicas", 1)) for job in jobs)
    if count != 1:
        yield f"its JobSet has {count} Jobs, not one"
    job, pod = job_of(item), pod_of(item)
    for name in ("parallelism", "completions"):
        if job.get(name) != SIZE:
            yield f"its {name} is {job.get(name)!r}, not the gang's size"
    again = jobset["spec"].get("failurePolicy", {}).get("maxRestarts", 0), job.get("backoffLimit"), pod["restartPolicy"]
    if again != (0, 0, "Never"):
        yield "its ranks are started again within one attempt"
    if len(pod["containers"]) != 1 or pod.get("initContainers"):
        yield "its pods have more than one container"
    shared = made.spec.get("volumes", [])
    names = {each["name"] for each in shared}
    if [each for each in pod.get("volumes", []) if each["name"] in names] != shared:
        yield "its ranks have other volumes than the rest of the flow"
    sources = {each["name"]: each.get("valueFrom", {}).get("fieldRef", {}) for each in pod["containers"][0]["env"]}
    for name, path in FROM_POD.items():
        if sources.get(name, {}).get("fieldPath") != path:
            yield f"the variable {name} does not tell its ranks which JobSet they belong to"
