"""Checks of what a resource template does: its conditions, and the JobSet in its manifest.

Kubernetes looks into neither before a workflow runs: a JobSet whose Job is refused never ends, nor does its workflow.
"""

from __future__ import annotations

import re
from typing import Any

from .verify_containers import check_container, volumes_of
from .verify_languages import NotRead, read_condition, replace_tags
from .verify_report import Node, Report, unique
from .verify_yaml import load_all

_ACTIONS = ("get", "create", "apply", "delete", "replace", "patch")
_FIELDS = {"status.terminalState": ("Completed", "Failed")}
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUANTITY = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][0-9]+)?")
_STAND_IN = "1"
"""Reads as a number where a number belongs, and as text within a name."""
_GENERATED = 5
"""Characters that Kubernetes appends to a generateName, and to a pod's name after a dash."""
_RANK = 4
"""Digits of a rank for which a pod's name must have room."""
_LABEL = 63
_RULE = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_ACTIONS_OF_RULES = ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts")
"""What a gang, all of whose ranks live and die as one, may have; JobSet also knows how to start single Jobs anew."""
_REASONS = (
    "BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded", "PodFailurePolicy",
)  # fmt: skip
"""Of a Job that failed (https://kubernetes.io/docs/concepts/workloads/controllers/job/#terminal-job-conditions)."""


def check_resource(resource: Node, path: str, report: Report) -> None:
    """Check a resource template's action, conditions and manifest; its tags are checked elsewhere."""
    action = resource.get("action")
    if action not in _ACTIONS:
        report.add(f"{path}.action", f"there is no action {action!r}", f"take one of {', '.join(_ACTIONS)}")
    manifest = report.text(resource.get("manifest"), f"{path}.manifest")
    conditions = {name: resource.get(name) for name in ("successCondition", "failureCondition")}
    is_jobset = False
    if manifest:
        place = f"{path}.manifest"
        for document in load_all(replace_tags(manifest, _STAND_IN), place, report):
            node = report.mapping(document, place)
            is_jobset = is_jobset or node.get("kind") == "JobSet"
            if node.get("kind") == "JobSet":
                check_jobset(node, place, report)
    elif action in ("create", "apply", "replace"):
        report.add(f"{path}.manifest", f"there is nothing to {action}", "write the manifest")
    for name, condition in conditions.items():
        if condition is None:
            if is_jobset and action == "create":
                message = "the template does not wait for the end of the JobSet"
                report.add(f"{path}.{name}", message, "write status.terminalState == Completed, and == Failed")
            continue
        _check_condition(report.text(condition, f"{path}.{name}"), f"{path}.{name}", is_jobset, report)
    if is_jobset and action == "create" and resource.get("setOwnerReference") is not True:
        message = "the JobSet stays when the workflow is deleted"
        report.add(f"{path}.setOwnerReference", message, "write setOwnerReference: true")


def _check_condition(text: str, path: str, is_jobset: bool, report: Report) -> None:
    try:
        terms = read_condition(replace_tags(text, _STAND_IN))
    except NotRead as error:
        report.add(path, f"it cannot be read: {error}", "write FIELD == VALUE, joined by commas")
        return
    for term in terms:
        if not is_jobset:
            continue
        known = _FIELDS.get(term.key)
        if known is None:
            report.add(path, f"a JobSet has no field {term.key!r} that tells its end", "ask status.terminalState")
        elif term.operator == "!=":
            # It holds as well while the field is not there yet.
            report.add(path, f"{term.key} != ... holds before the JobSet has ended", "use ==")
        for value in term.values:
            if known is not None and value not in known:
                report.add(path, f"{term.key} is never {value!r}", f"it is {' or '.join(known)} in the end")


# JobSet ---------------------------------------------------------------------------------------------------------------


def check_jobset(jobset: Node, path: str, report: Report) -> None:
    """Check a JobSet whose tags have been replaced."""
    metadata = report.mapping(jobset.get("metadata"), f"{path}.metadata")
    _check_labels(metadata, f"{path}.metadata", report)
    spec = report.mapping(jobset.get("spec"), f"{path}.spec")
    success = report.mapping(spec.get("successPolicy"), f"{path}.spec.successPolicy")
    _one_of(success.get("operator"), ("All", "Any"), f"{path}.spec.successPolicy.operator", report)
    failure = report.mapping(spec.get("failurePolicy"), f"{path}.spec.failurePolicy")
    _whole(failure.get("maxRestarts"), 0, f"{path}.spec.failurePolicy.maxRestarts", report, required=True)
    _check_rules(failure, f"{path}.spec.failurePolicy", report)
    network = report.mapping(spec.get("network"), f"{path}.spec.network")
    for name in ("enableDNSHostnames", "publishNotReadyAddresses"):
        if network.get(name) is not True:
            message = "ranks find each other by name, from before they are ready"
            report.add(f"{path}.spec.network.{name}", message, f"write {name}: true")
    jobs = list(report.items(spec.get("replicatedJobs"), f"{path}.spec.replicatedJobs"))
    if not jobs:
        report.add(f"{path}.spec.replicatedJobs", "the JobSet has no job", "give it one")
    for place, job in jobs:
        _whole(job.get("replicas"), 1, f"{place}.replicas", report)
        name = report.text(job.get("name"), f"{place}.name")
        _check_names(metadata, name, f"{path}.metadata", place, report)
        template = report.mapping(job.get("template"), f"{place}.template")
        _check_job(report.mapping(template.get("spec"), f"{place}.template.spec"), f"{place}.template.spec", report)


def _check_rules(policy: Node, path: str, report: Report) -> None:
    """The rules by which a JobSet is started anew, which its webhook looks at once the workflow runs."""
    rules = list(report.items(policy.get("rules"), f"{path}.rules"))
    unique((str(rule.get("name")) for _, rule in rules), f"{path}.rules", "rule", report)
    for place, rule in rules:
        name = report.text(rule.get("name"), f"{place}.name", required=True)
        if not _RULE.fullmatch(name):
            report.add(f"{place}.name", f"{name!r} cannot be the name of a rule", "use letters, digits and _")
        _one_of(rule.get("action"), _ACTIONS_OF_RULES, f"{place}.action", report)
        for reason in report.sequence(rule.get("onJobFailureReasons"), f"{place}.onJobFailureReasons"):
            _one_of(reason, _REASONS, f"{place}.onJobFailureReasons", report)


def _check_pod_failures(spec: Node, pod: Node, path: str, report: Report) -> None:
    """What Kubernetes refuses in a Job's podFailurePolicy once the workflow runs."""
    if spec.get("podFailurePolicy") is None:
        return
    policy, place = report.mapping(spec.get("podFailurePolicy"), f"{path}.podFailurePolicy"), f"{path}.podFailurePolicy"
    _one_of(spec.get("podReplacementPolicy"), ("Failed",), f"{path}.podReplacementPolicy", report)
    spec_of_pod = f"{path}.template.spec"
    _one_of(pod.get("restartPolicy"), ("Never",), f"{spec_of_pod}.restartPolicy", report)
    containers = [each.get("name") for _, each in report.items(pod.get("containers"), f"{spec_of_pod}.containers")]
    for at, rule in report.items(policy.get("rules"), f"{place}.rules"):
        _one_of(rule.get("action"), ("FailJob", "Ignore", "Count"), f"{at}.action", report)
        if (rule.get("onExitCodes") is None) == (rule.get("onPodConditions") is None):
            report.add(at, "a rule looks at exit codes or at conditions of the pod", "write one of both")
        if rule.get("onExitCodes") is not None:
            codes = report.mapping(rule.get("onExitCodes"), f"{at}.onExitCodes")
            _one_of(codes.get("operator"), ("In", "NotIn"), f"{at}.onExitCodes.operator", report)
            values = report.sequence(codes.get("values"), f"{at}.onExitCodes.values")
            if not values:
                report.add(f"{at}.onExitCodes.values", "no exit code is listed", "list those that are meant")
            for value in values:
                # Kubernetes takes 0, the end of what is well, for no failure at all.
                _whole(value, 0 if codes.get("operator") == "NotIn" else 1, f"{at}.onExitCodes.values", report)
            name = codes.get("containerName")
            if name is not None and name not in containers:
                report.add(f"{at}.onExitCodes.containerName", f"the pod has no container {name!r}", "name one it has")
        for each, condition in report.items(rule.get("onPodConditions"), f"{at}.onPodConditions"):
            report.text(condition.get("type"), f"{each}.type", required=True)
            _one_of(condition.get("status"), ("True", "False", "Unknown"), f"{each}.status", report)


def _check_names(metadata: Node, job: str, path: str, place: str, report: Report) -> None:
    """The names of Jobs, ``<jobset>-<job>-0``, and of pods, ``<jobset>-<job>-0-<rank>-abcde``, are DNS labels."""
    generated = metadata.get("name") is None
    field = "generateName" if generated else "name"
    name = report.text(metadata.get(field), f"{path}.{field}")
    whole = name + "x" * _GENERATED if generated else name
    if not _DNS_LABEL.fullmatch(whole):
        report.add(f"{path}.{field}", f"{name!r} cannot be the name of a JobSet", "use a-z, 0-9 and -, a letter first")
    if not _DNS_LABEL.fullmatch(job):
        report.add(f"{place}.name", f"{job!r} cannot be the name of a job", "use a-z, 0-9 and -, a letter first")
    length = len(whole) + len(job) + len("--0-") + _RANK + len("-") + _GENERATED
    if length > _LABEL:
        message = f"the names of its pods have {length} characters, and a DNS label takes {_LABEL}"
        report.add(f"{path}.{field}", message, f"shorten {name!r} by {length - _LABEL}")


def _check_job(spec: Node, path: str, report: Report) -> None:
    _whole(spec.get("backoffLimit"), 0, f"{path}.backoffLimit", report, required=True)
    for name in ("parallelism", "completions"):
        _whole(spec.get(name), 1, f"{path}.{name}", report, required=True)
    _one_of(spec.get("completionMode"), ("Indexed",), f"{path}.completionMode", report)
    if spec.get("parallelism") != spec.get("completions"):
        report.add(f"{path}.parallelism", "not all ranks run at once", "write the same as in completions")
    if spec.get("activeDeadlineSeconds") is None:
        message = "nothing ends the Job when the workflow is terminated or its pods cannot start"
        report.add(f"{path}.activeDeadlineSeconds", message, "give it a deadline")
    else:
        _whole(spec.get("activeDeadlineSeconds"), 1, f"{path}.activeDeadlineSeconds", report)
    template = report.mapping(spec.get("template"), f"{path}.template")
    _check_labels(report.mapping(template.get("metadata"), f"{path}.template.metadata"), f"{path}.template", report)
    pod, place = report.mapping(template.get("spec"), f"{path}.template.spec"), f"{path}.template.spec"
    _check_pod_failures(spec, pod, path, report)
    _one_of(pod.get("restartPolicy"), ("Never", "OnFailure"), f"{place}.restartPolicy", report)
    _whole(pod.get("terminationGracePeriodSeconds"), 0, f"{place}.terminationGracePeriodSeconds", report, required=True)
    volumes = volumes_of(pod, place, report)
    containers = list(report.items(pod.get("containers"), f"{place}.containers"))
    if not containers:
        report.add(f"{place}.containers", "the pod has no container", "give it one")
    for at, container in [*containers, *report.items(pod.get("initContainers"), f"{place}.initContainers")]:
        check_container(container, at, volumes, report)
        resources = report.mapping(container.get("resources"), f"{at}.resources")
        for kind in ("requests", "limits"):
            amounts = report.mapping(resources.get(kind), f"{at}.resources.{kind}")
            for name, amount in amounts.items():
                if not _QUANTITY.fullmatch(str(amount)):
                    report.add(f"{at}.resources.{kind}.{name}", f"{amount!r} is no quantity", "write '500m' or '2Gi'")


def _check_labels(metadata: Node, path: str, report: Report) -> None:
    for kind in ("labels", "annotations"):
        for name, value in report.mapping(metadata.get(kind), f"{path}.{kind}").items():
            text = report.text(value, f"{path}.{kind}.{name}", required=True)
            if kind == "labels" and not re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", text):
                message = f"{text!r} cannot be the value of a label"
                report.add(f"{path}.labels.{name}", message, "use at most 63 letters, digits, -, _ and .")


def _whole(value: Any, least: int, path: str, report: Report, *, required: bool = False) -> None:
    if value is None and not required:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        what = "nothing is said" if value is None else f"{value!r} is no whole number of {least} or more"
        report.add(path, what, f"write one of {least} or more, without quotes")


def _one_of(value: Any, allowed: tuple[str, ...], path: str, report: Report) -> None:
    if value not in allowed:
        message = (
            "nothing is said, and the default is not to be relied on" if value is None else f"{value!r} is unknown"
        )
        report.add(path, message, f"write {' or '.join(allowed)}")
