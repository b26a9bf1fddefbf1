"""Reading emitted manifests back: the templates must say what the Plan among the code says.

What a step's template says is compared with the step, what the DAG templates say with the ways between the steps, the
ConfigMaps with the digest that the Plan carries.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...compiler.plan import Plan, Step, Switch, code_digest
from ...runtime import contract
from ..base import Unfaithful, plan_among
from ..bundle import content_digest, unpack
from . import options
from .container import secrets
from .site import IMAGE
from .verify import read_documents, verify_read
from .verify_report import Report
from .verify_yaml import load_all
from .ways import NoWay, Ways

_HOLE = re.compile(r"\{\{[^{}]*\}\}")


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
        item = maps.pop(source["configMap"]["name"], None)
        if item is None:
            problems.append(f"ConfigMap {source['configMap']['name']} is missing")
            continue
        if item.get("immutable") is not True:
            problems.append(f"ConfigMap {item['metadata']['name']} can be changed")
        content = {key: text.encode() for key, text in item.get("data", {}).items()}
        content.update({key: base64.b64decode(text) for key, text in item.get("binaryData", {}).items()})
        for entry in source["configMap"]["items"]:
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
    listed = next(item for item in documents if item.get("kind") == "Kustomization")["resources"]
    if sorted(listed) != sorted(name for name in files if name.endswith(".yaml") and name != "kustomization.yaml"):
        found.append("kustomization.yaml does not list the manifests")
    found += _pinned(bundle, spec, code, files)
    found += _parameters(plan, spec)
    found += _cron(plan, documents)
    found += _templates(plan, bundle, spec)
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
        container = _container(item)
        if container is None:
            continue
        env = _env(container)
        if env.get(contract.CODE_DIGEST) != digest:
            yield f"template {item['name']} does not insist on the code that lies beside the manifests"
        if env.get(contract.CODE_URL) != bundle.get("url"):
            yield f"template {item['name']} fetches its code from {env.get(contract.CODE_URL)}"


def _parameters(plan: Plan, spec: Mapping[str, Any]) -> Iterator[str]:
    there = {item["name"]: item for item in spec.get("arguments", {}).get("parameters", [])}
    if list(there) != [item.name for item in plan.parameters]:
        yield f"the Workflow's parameters are {', '.join(there) or 'none'}"
        return
    for parameter in plan.parameters:
        item = there[parameter.name]
        if parameter.required != ("value" not in item):
            yield f"parameter {parameter.name} is required in one place only"
            continue
        default = parameter.default
        if not parameter.required and isinstance(default, (int, float)) and json.loads(item["value"]) != default:
            yield f"the default of parameter {parameter.name} is {item['value']!r}"
        if isinstance(default, str) and "{{" in default:
            default = ""
        if parameter.type == "str" and isinstance(default, str) and item.get("value", default) != default:
            yield f"the default of parameter {parameter.name} is {item['value']!r}"


def _cron(plan: Plan, documents: list[dict[str, Any]]) -> Iterator[str]:
    there = [item["spec"]["schedules"] for item in documents if item.get("kind") == "CronWorkflow"]
    if there != ([[plan.schedule.options["cron"]]] if plan.schedule else []):
        yield f"the flow's schedule is {there}"


# Templates -----------------------------------------------------------------------------------------------------------


def _templates(plan: Plan, bundle: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    by_name = {item["name"]: item for item in spec["templates"]}
    dags = {name: item["dag"]["tasks"] for name, item in by_name.items() if "dag" in item and name != spec["onExit"]}
    step_of: dict[str, str] = {}
    seen: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, item in by_name.items():
        container = _container(item)
        if container is None or container["args"][0] != "step":
            continue
        step_of[name] = container["args"][1]
        seen[step_of[name], contract.CAUGHT in _env(container)] = item
    for step in plan.steps:
        item = seen.get((step.name, False))
        if item is None:
            yield f"no template runs step {step.name}"
            continue
        for problem in [*_template(plan, step, item), *_needs(bundle, step, item)]:
            yield f"template {item['name']}: {problem}"
        if (step.catch is not None) != ((step.name, True) in seen):
            yield f"step {step.name} is caught in one place only"
    first = seen.get((plan.first, False))
    if first is not None:
        yield from _end(plan, first, by_name)
    unknown = sorted(set(step_of.values()) - {step.name for step in plan.steps})
    if unknown:
        yield f"templates run {', '.join(unknown)}, which are no steps of the flow"
        return
    yield from _ways(plan, spec["entrypoint"], dags, step_of, by_name)


def _end(plan: Plan, first: Mapping[str, Any], by_name: Mapping[str, Any]) -> Iterator[str]:
    """Whether the end is recorded with what the first step has to reach the datastore, and to load the flow."""
    for name, item in by_name.items():
        container, other = item.get("container", {}), first.get("container", {})
        if container.get("args", [""])[0] != "end":
            continue
        keys = ("image", "command", "envFrom", "securityContext")
        fields = [key for key in keys if container.get(key) != other.get(key)]
        fields += [key for key in ("serviceAccountName", "volumes") if item.get(key) != first.get(key)]
        for field in fields:
            yield f"template {name}: its {field} is not that of step {plan.first}"


def _ways(
    plan: Plan, entry: str, dags: Mapping[str, Any], step_of: Mapping[str, str], by_name: Mapping[str, Any]
) -> Iterator[str]:
    switches = {step.name: len(step.leave.targets) for step in plan.steps if isinstance(step.leave, Switch)}
    gangs = frozenset(name for name in step_of if "resource" in by_name[name])
    kinds = {"branches": "next"}
    meant = {
        (step.name, target, kinds.get(step.leave.kind, step.leave.kind))
        for step in plan.steps
        for target in step.leave.targets
    }
    try:
        ways = Ways(dags, step_of, switches, gangs)
        there = ways.all()
        if ways.first(entry) != plan.first:
            yield f"the Workflow begins with {ways.first(entry)}, not with {plan.first}"
        if ways.ends(entry) != {plan.last}:
            yield f"the Workflow ends with {', '.join(sorted(ways.ends(entry)))}, not with {plan.last}"
    except NoWay as error:
        yield str(error)
        return
    for source, target, kind in sorted(meant - there):
        yield f"nothing leads from {source} to {target} ({kind})"
    for source, target, kind in sorted(there - meant):
        yield f"something leads from {source} to {target} ({kind}), and the flow has no such way"


def _container(template: Mapping[str, Any]) -> dict[str, Any] | None:
    """The container of a template, or of the pods of its JobSet."""
    if "container" in template:
        return dict(template["container"])
    text = template.get("resource", {}).get("manifest")
    if text is None:
        return None
    pod = _manifest(text)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    return dict(pod["spec"]["containers"][0])


@functools.lru_cache(64)
def _manifest(text: str) -> Any:
    documents = load_all(_HOLE.sub(lambda hole: f"<{hole[0][2:-2]}>", text), "", Report())
    return documents[0]


def _env(container: Mapping[str, Any]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in container["env"]}


def _template(plan: Plan, step: Step, item: Mapping[str, Any]) -> Iterator[str]:
    container = _container(item)
    assert container is not None
    env = _env(container)
    gang = "resource" in item
    if gang != (step.kind == "gang"):
        yield f"it is {'a' if gang else 'no'} gang"
        return
    if gang and env.get(contract.WORKFLOW) != env.get(contract.RUN_ID):
        yield "it would outlive its Workflow"
    for name, text in step.env.items():
        # As the kubelet reads it, for which two of them stand for one.
        if name != "PYTHONPATH" and "{{" not in text and env.get(name, "").replace("$$", "$") != text:
            yield f"the variable {name} is {env.get(name)!r}"
    retries = int(item.get("retryStrategy", {}).get("limit", "0"))
    if retries != (step.retry.times if step.retry else 0):
        yield f"it is tried {retries} times more"
    if (contract.ATTEMPT in env) != bool(retries):
        yield "its attempts have no numbers"
    if (env.get(contract.ROUND) == "auto") != (step.loop is not None):
        yield "its rounds are not counted"
    if (contract.PLAN in env) != (step.name == plan.first):
        yield "it begins the run, or does not, otherwise than the flow"
    if env[contract.FLOW_NAME] != plan.name:
        yield f"it runs the flow {env[contract.FLOW_NAME]}"
    depth = len(step.scope) - (1 if gang else 0)
    if ("--index" in container["args"]) != bool(depth):
        yield "it has an index, or has none, otherwise than the flow"
    limit = _manifest(item["resource"]["manifest"])["spec"]["replicatedJobs"][0]["template"]["spec"] if gang else item
    if float(env.get(contract.TIMEOUT, 0)) != (step.timeout or 0):
        yield f"it may take {env.get(contract.TIMEOUT)} seconds"
    if step.timeout is not None and int(limit.get("activeDeadlineSeconds", 0)) < math.ceil(step.timeout):
        yield f"it ends after {limit.get('activeDeadlineSeconds')} seconds"
    if step.timeout is None and not gang and "activeDeadlineSeconds" in item:
        yield f"it ends after {item['activeDeadlineSeconds']} seconds"
    wanted = {"foreach": {"width"}, "switch": {"to"}}.get(step.leave.kind, set())
    if step.leave.kind == "gang" and getattr(step.leave, "size", None) is None:
        wanted = {"width"}
    if not gang and {each["name"] for each in item.get("outputs", {}).get("parameters", [])} != wanted:
        yield "it does not say what its step decides"


def _needs(bundle: Mapping[str, Any], step: Step, item: Mapping[str, Any]) -> Iterator[str]:
    """Whether the step's pods get what it asks for."""
    container = _container(item)
    assert container is not None
    image = options.given(step).get("image") or bundle.get("image") or IMAGE
    if container["image"] != image:
        yield f"its image is {container['image']}, not {image}"
    resources = container.get("resources", {})
    for name, wanted in (("requests", options.requests(step)), ("limits", options.limits(step))):
        there = {each: str(amount) for each, amount in resources.get(name, {}).items()}
        if there != wanted:
            yield f"its {name} are {there or 'none'}, not {wanted or 'none'}"
    named = [each["secretRef"]["name"] for each in container.get("envFrom", ())]
    if named != secrets(step):
        yield f"its secrets are {', '.join(named) or 'none'}"
