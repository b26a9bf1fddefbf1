"""Reading emitted manifests back: the templates must say what the Plan among the code says.

The ConfigMaps are compared with the digest that the Plan carries, the schedule with the Plan's. Objects as such,
templates with their pods, the calls between them, and rights are read in modules of their own.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...compiler.plan import Plan, code_digest
from ...runtime import contract
from ..base import Unfaithful, plan_among
from ..bundle import content_digest, unpack
from . import options
from .reading_calls import call_problems
from .reading_containers import Manifests, container_of, variables_of
from .reading_fields import differences, elsewhere
from .reading_objects import object_problems, parameter_problems
from .reading_pods import pod_problems
from .reading_rights import rights_problems
from .reading_templates import template_problems
from .verify import read_documents, verify_read

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def read_files(files: Mapping[str, bytes]) -> Plan:
    """The Plan that manifests describe.

    Raises
    ------
    Unfaithful
        If they do not, with every reason.
    """
    try:
        bundle = json.loads(files["bundle.json"])
        read, findings = read_documents(files)
    except (KeyError, ValueError) as error:
        raise Unfaithful([f"the manifests cannot be read: {error}"]) from None
    documents = [item for _, item in read if isinstance(item, dict)]
    templates = [item for item in documents if item.get("kind") == "WorkflowTemplate"]
    if len(templates) != 1:
        raise Unfaithful([*map(str, findings), f"there are {len(templates)} WorkflowTemplates, not one"])
    try:
        spec = templates[0]["spec"]
        code, problems = _laid_out(spec, documents, files, bundle)
        plan = plan_among(code)
        problems += _problems(plan, bundle, spec, documents, code, files)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise Unfaithful([f"the manifests do not have flowc's form: {type(error).__name__}: {error}"]) from None
    problems += [str(item) for item in [*findings, *verify_read(read, files)]]
    if problems:
        raise Unfaithful(problems)
    return plan


def _laid_out(
    spec: Mapping[str, Any], documents: list[dict[str, Any]], files: Mapping[str, bytes], bundle: Mapping[str, Any]
) -> tuple[dict[str, bytes], list[str]]:
    """The files that pods see, by their path, and what is wrong with them."""
    mounted, problems = _mounted(spec, documents)
    way = str(bundle.get("code"))
    if way == "image":
        return {name[len("code/") :]: data for name, data in files.items() if name.startswith("code/")}, problems
    if way.startswith("s3://"):
        if "fetch.py" not in mounted:
            problems.append("nothing mounts fetch.py, which gets the code")
        return unpack(files["code.zip"]), problems
    return mounted, problems


def _mounted(spec: Mapping[str, Any], documents: list[dict[str, Any]]) -> tuple[dict[str, bytes], list[str]]:
    """What the ConfigMaps lay out."""
    maps = {item["metadata"]["name"]: item for item in documents if item.get("kind") == "ConfigMap"}
    volumes = [item for item in spec.get("volumes", ()) if item["name"] == "code"]
    out: dict[str, bytes] = {}
    problems = []
    for source in [source for volume in volumes for source in volume["projected"]["sources"]]:
        meant = {"configMap": elsewhere("items", "name")}
        problems += [f"volume code: {problem}" for problem in differences(source, meant, "sources")]
        if "configMap" not in source:
            continue
        item = maps.pop(source["configMap"]["name"], None)
        if item is None:
            problems.append(f"ConfigMap {source['configMap']['name']} is missing")
            continue
        if item.get("immutable") is not True:
            problems.append(f"ConfigMap {item['metadata']['name']} can be changed")
        content = {key: text.encode() for key, text in item.get("data", {}).items()}
        content.update({key: base64.b64decode(text) for key, text in item.get("binaryData", {}).items()})
        for entry in source["configMap"]["items"]:
            problems += [f"volume code: {problem}" for problem in differences(entry, elsewhere("key", "path"), "items")]
            if entry["key"] not in content:
                problems.append(f"ConfigMap {item['metadata']['name']} has no {entry['key']}")
            elif entry["path"] in out:
                problems.append(f"{entry['path']} is there twice")
            else:
                out[entry["path"]] = content[entry["key"]]
    problems += [f"ConfigMap {name} is mounted nowhere" for name in maps]
    return out, problems


def _problems(
    plan: Plan,
    bundle: Mapping[str, Any],
    spec: Mapping[str, Any],
    documents: list[dict[str, Any]],
    code: Mapping[str, bytes],
    files: Mapping[str, bytes],
) -> list[str]:
    found = []
    if (bundle.get("target"), bundle.get("flow")) != ("argo", plan.name):
        found.append(f"bundle.json speaks of {bundle.get('flow')} for {bundle.get('target')}")
    own = {path[len("flow/") :]: data for path, data in code.items() if path.startswith("flow/")}
    if code_digest(own, plan.configs) != plan.digest:
        found.append("the ConfigMaps do not hold the code that plan.json was compiled from")
    if bundle.get("file") not in own:
        found.append(f"the flow's file {bundle.get('file')} is missing")
    if (bundle.get("code") != "installed") != ("flowc/runtime/__main__.py" in code):
        found.append("bundle.json and the ConfigMaps disagree on whether flowc's runtime travels along")
    lists = [item["resources"] for item in documents if item.get("kind") == "Kustomization"]
    if len(lists) != 1:
        found.append(f"there are {len(lists)} Kustomizations, not one")
    elif sorted(lists[0]) != sorted(name for name in files if name.endswith(".yaml") and name != "kustomization.yaml"):
        found.append("kustomization.yaml does not list the manifests")
    found += _pinned(bundle, spec, code, files)
    made = Manifests(plan, bundle, spec, files)
    found += object_problems(made, documents)
    found += parameter_problems(plan, spec)
    found += _cron(plan, next(item for item in documents if item.get("kind") == "WorkflowTemplate"), documents)
    found += _namespace(plan, bundle, documents)
    found += template_problems(made)
    found += pod_problems(made)
    found += call_problems(plan, spec)
    found += rights_problems(plan, spec, documents)
    return found


def _pinned(
    bundle: Mapping[str, Any], spec: Mapping[str, Any], code: Mapping[str, bytes], files: Mapping[str, bytes]
) -> Iterator[str]:
    """Whether every container insists on this code, where it is not mounted."""
    way = str(bundle.get("code"))
    if way != "image" and not way.startswith("s3://"):
        return
    digest = content_digest(code) if way == "image" else hashlib.sha256(files["code.zip"]).hexdigest()
    for item in spec["templates"]:
        container = container_of(item)
        if container is None:
            continue
        env = variables_of(container)
        if env.get(contract.CODE_DIGEST) != digest:
            yield f"template {item['name']} does not insist on the code that lies beside the manifests"
        if env.get(contract.CODE_URL) != bundle.get("url"):
            yield f"template {item['name']} fetches its code from {env.get(contract.CODE_URL)}"


def _cron(plan: Plan, template: Mapping[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    there = [item["spec"] for item in documents if item.get("kind") == "CronWorkflow"]
    if len(there) != (plan.schedule is not None):
        yield f"the flow's schedule is {[item.get('schedules') for item in there]}"
        return
    for item in there:
        assert plan.schedule is not None
        meant = str(plan.schedule.options["cron"])
        if [_times(text) for text in item.get("schedules", ())] != [_times(meant)]:
            yield f"the flow's schedule is {item.get('schedules')}, not {meant!r}"
        if item.get("timezone") != (plan.schedule.options.get("timezone") or None):
            yield f"the schedule's timezone is {item.get('timezone')}, not {plan.schedule.options.get('timezone')}"
        if item.get("workflowSpec") != {"workflowTemplateRef": {"name": template["metadata"]["name"]}}:
            yield f"the schedule starts {item.get('workflowSpec')}"
        more = sorted(set(item) - {"schedules", "timezone", "workflowSpec"})
        if more:
            yield f"the schedule also says {', '.join(more)}"


def _times(schedule: str) -> tuple[object, ...]:
    """The fields of a schedule, the last one as days of the week: 7 is a Sunday, too, and not known to Argo."""
    *others, days = schedule.split()
    try:
        return *others, frozenset(day % 7 for item in days.split(",") for day in _weekdays(item.lower()))
    except ValueError:
        return *others, days


def _weekdays(item: str) -> range:
    span, slash, every = item.partition("/")
    ends = [_WEEKDAYS.index(end) if end in _WEEKDAYS else int(end) for end in span.split("-") if end not in ("*", "?")]
    first, last = (ends[0], ends[-1]) if ends else (0, 6)
    return range(first, (6 if slash and len(ends) == 1 else last) + 1, int(every or 1))


def _namespace(plan: Plan, bundle: Mapping[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    named = [bundle.get("namespace"), *(options.given(step).get("namespace") for step in plan.steps)]
    meant = next((name for name in named if name), None)
    for item in documents:
        holder = item if item.get("kind") == "Kustomization" else item["metadata"]
        if holder.get("namespace") != meant:
            name = f"{item['kind']} {holder.get('name', '')}".rstrip()
            yield f"{name} belongs to the namespace {holder.get('namespace')}, not {meant}"
