"""Putting a flow on a cluster: its ConfigMaps where they are missing, everything else by server-side apply."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ....runtime import contract
from ..code import holds_runtime
from ..files import WORKFLOW
from ..store import MOUNT
from .connection import Cluster, Object
from .errors import ClusterError

_ORDER = ("ConfigMap", "ServiceAccount", "Role", "RoleBinding", "WorkflowTemplate", "CronWorkflow")
"""What is used comes before what uses it."""

_NOISE = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")
_SHOWN = 8


def objects_of(files: Mapping[str, bytes]) -> list[Object]:
    """Every object of the manifests, in the order in which they are to be applied."""
    found = [
        document
        for name, data in files.items()
        if name.endswith(".yaml")
        for document in _documents(data)
        if document["kind"] in _ORDER
    ]
    return sorted(found, key=lambda item: (_ORDER.index(item["kind"]), item["metadata"]["name"]))


def template_of(files: Mapping[str, bytes]) -> Object:
    """The WorkflowTemplate among the manifests."""
    (template,) = _documents(files[WORKFLOW])
    return template


def _documents(data: bytes) -> list[Object]:
    import yaml

    return list(yaml.load_all(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def deploy(
    cluster: Cluster, files: Mapping[str, bytes], *, dry_run: bool, force: bool, tell: Callable[[str], None]
) -> None:
    """Bring the flow's objects up to date and tell of each what was done.

    Raises
    ------
    ClusterError
        If Argo or JobSet are not installed, or another flow has this one's name there, before anything is changed; if
        a right is missing; if somebody else has changed what is to be applied; if the cluster refuses an object.
    """
    objects = objects_of(files)
    check_installed(cluster, gangs=b"jobset.x-k8s.io" in files[WORKFLOW])
    if not force:
        _check_same_flow(cluster, template_of(files))
    for item in objects:
        kind, metadata = item["kind"], {**item["metadata"], "namespace": cluster.namespace}
        body = {**item, "metadata": metadata}
        if kind == "RoleBinding":
            body["subjects"] = [{**each, "namespace": cluster.namespace} for each in item["subjects"]]
        what = _create_once if kind == "ConfigMap" else _apply
        tell(f"{what(cluster, kind, body, dry_run, force):<11} {kind} {metadata['name']}")
    _left_over(cluster, objects, dry_run, tell)


def check_installed(cluster: Cluster, *, gangs: bool) -> None:
    """Raise a `ClusterError` where Argo, or for gangs JobSet, is not installed."""
    for kind in ("WorkflowTemplate", *(["JobSet"] if gangs else [])):
        try:
            cluster.listed(kind, limit=1)
        except ClusterError as error:
            if error.status != 403:  # whoever may not list may yet be allowed to apply
                raise


def _check_same_flow(cluster: Cluster, template: Object) -> None:
    """Raise a `ClusterError` where the WorkflowTemplate of this name is not an earlier version of the flow.

    Kubernetes' names are in small letters, and a project is no part of them: two flows may have one name.
    """
    name = template["metadata"]["name"]
    there = cluster.get("WorkflowTemplate", name)
    if there is None or _flow_of(there) == _flow_of(template):
        return
    raise ClusterError(
        f"namespace {cluster.namespace} has a WorkflowTemplate {name} of {_flow_of(there)}, and this is "
        f"{_flow_of(template)}: deploy into another namespace, give the class another name, or replace what is there "
        "with --force"
    )


def _flow_of(template: Object) -> str:
    """Of which flow a WorkflowTemplate is, in words."""
    labels = template["metadata"].get("labels") or {}
    if labels.get("app.kubernetes.io/managed-by") != "flowc":
        return "somebody else, not made by flowc"
    variables = [item for each in template["spec"].get("templates", ()) for item in _variables(each)]
    flow = next((item.get("value") for item in variables if item["name"] == contract.FLOW_NAME), "?")
    project = labels.get("flowc/project")
    return f"the flow {flow}" + (f" of project {project}" if project else "")


def _variables(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list((template.get("container") or {}).get("env") or ())


def _create_once(cluster: Cluster, kind: str, body: Object, dry_run: bool, force: bool) -> str:
    """An immutable ConfigMap, whose name tells its content."""
    name = body["metadata"]["name"]
    there = cluster.get(kind, name)
    if there is None:
        try:
            cluster.create(kind, body, dry_run=dry_run)
            return "created"
        except ClusterError as error:
            if error.status != 409:
                raise
        there = cluster.get(kind, name) or {}  # somebody else was faster
    if any((there.get(key) or {}) != (body.get(key) or {}) for key in ("data", "binaryData")):
        raise ClusterError(
            f"ConfigMap {name} in namespace {cluster.namespace} holds something else than the code that its name "
            f"stands for; delete it, if no run needs it: kubectl -n {cluster.namespace} delete configmap {name}"
        )
    return "unchanged"


def _apply(cluster: Cluster, kind: str, body: Object, dry_run: bool, force: bool) -> str:
    name = body["metadata"]["name"]
    before = cluster.get(kind, name)
    try:
        after = cluster.apply(kind, body, dry_run=dry_run, force=force)
    except ClusterError as error:
        if error.status == 409:
            raise ClusterError(
                f"{error}. Somebody else has changed these fields since the last deploy: take the change over into the "
                "flow, or overwrite it with --force",
                409,
            ) from None
        if dry_run and kind == "RoleBinding" and before is None and error.status == 404:
            # Whoever may not bind every role is asked for the rights of this one, which a dry run has not created.
            return "created"
        raise
    if before is None:
        return "created"
    return "unchanged" if _content(before) == _content(after) else "changed"


def _content(item: Object) -> str:
    """What an object says, without what the server adds to it."""
    metadata = {name: value for name, value in item.get("metadata", {}).items() if name not in _NOISE}
    return json.dumps({**{k: v for k, v in item.items() if k != "status"}, "metadata": metadata}, sort_keys=True)


def _left_over(cluster: Cluster, objects: list[Object], dry_run: bool, tell: Callable[[str], None]) -> None:
    """A schedule that the flow has no more is taken away; earlier code and rights stay, for runs under way."""
    template = next(item for item in objects if item["kind"] == "WorkflowTemplate")["metadata"]
    flow = template["labels"]["flowc/flow"]
    wanted = f"app.kubernetes.io/managed-by=flowc,flowc/flow={flow}"
    names = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for item in _listed(cluster, "CronWorkflow", wanted):
        if ("CronWorkflow", item["metadata"]["name"]) not in names:
            cluster.delete("CronWorkflow", item["metadata"]["name"], dry_run=dry_run)
            tell(f"{'deleted':<11} CronWorkflow {item['metadata']['name']}: the flow has no schedule any more")
    for kind, what, once in (
        ("ConfigMap", "code of earlier versions, which runs under way may need", "once none is"),
        ("RoleBinding", "rights that the flow needs no more, but runs under way may", "once none does"),
    ):
        old = sorted(item["metadata"]["name"] for item in _listed(cluster, kind, wanted))
        old = [name for name in old if (kind, name) not in names]
        if old:
            more = f" and {len(old) - _SHOWN} more" if len(old) > _SHOWN else ""
            tell(f"{'kept':<11} {what}: {kind} {' '.join(old[:_SHOWN])}{more}")
            tell(f"{'':<11} {once}: kubectl -n {cluster.namespace} delete {kind.lower()} {' '.join(old)}")


def _listed(cluster: Cluster, kind: str, labels: str) -> list[Object]:
    try:
        return cluster.listed(kind, labels)
    except ClusterError as error:
        if error.status == 403:
            return []
        raise


def code_of(spec: Mapping[str, Any]) -> set[str]:
    """What the spec of a template says of the flow's own code: names of ConfigMaps, or the digest of what the image or
    the bucket holds.
    """
    volumes = [volume.get("projected", {}) for volume in spec.get("volumes", ())]
    names = {str(source["configMap"]["name"]) for volume in volumes for source in volume.get("sources", ())}
    for template in spec.get("templates", ()):
        names |= {str(item.get("value")) for item in _variables(template) if item.get("name") == contract.CODE_DIGEST}
    return {name for name in names if not holds_runtime(name)}


def way_of(spec: Mapping[str, Any]) -> str:
    """How the flow's own code comes to the pods of a template, as far as `code_of` can be compared: as ``maps``, in the
    ``image``, or from a ``bucket``.
    """
    names = {item.get("name") for template in spec.get("templates", ()) for item in _variables(template)}
    return "bucket" if contract.CODE_URL in names else "image" if contract.CODE_DIGEST in names else "maps"


def store_of(spec: Mapping[str, Any]) -> str:
    """The URL of the datastore that the spec of a template names, as ``--datastore`` takes it."""
    variables = {item["name"]: item.get("value") for each in spec.get("templates", ()) for item in _variables(each)}
    url = str(variables.get(contract.DATASTORE)).rstrip("/")
    claims = [item.get("persistentVolumeClaim", {}).get("claimName") for item in spec.get("volumes", ())]
    claim = next(filter(None, claims), None)
    return url if claim is None else f"pvc://{claim}{url.removeprefix(f'file://{MOUNT}')}"
