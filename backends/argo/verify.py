"""Verifying Argo's manifests: what its lint would refuse, and what neither it nor the schemas would, until it runs.

The schemas themselves are not looked at: fields and their types are checked by the API server. What a manifest says in
little languages of its own, what it refers to, and what a JobSet within a text says, is checked by nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .verify_report import Finding, Node, Report
from .verify_workflow import check_spec
from .verify_yaml import load_all

__all__ = ["Finding", "verify_documents", "verify_files"]

_LARGEST = 1024 * 1024
"""Bytes of an object in Kubernetes."""

_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_WORKFLOWS = ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate")
# As the library reads them by which Argo does (https://pkg.go.dev/github.com/robfig/cron/v3).
_CRON_FIELDS = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    (0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_CRON_ITEM = re.compile(r"(?:[*?]|([0-9]+|[A-Za-z]{3})(?:-([0-9]+|[A-Za-z]{3}))?)(?:/0*[1-9][0-9]*)?")


def verify_files(files: Mapping[str, bytes]) -> list[Finding]:
    """The mistakes in a folder of manifests.

    Parameters
    ----------
    files : mapping
        Content by name. Those that end in ``.yaml`` or ``.yml`` are read; a kustomization must list what is there.
    """
    documents, findings = read_documents(files)
    return [*findings, *verify_read(documents, files)]


def read_documents(files: Mapping[str, bytes]) -> tuple[list[tuple[str, Any]], list[Finding]]:
    """The documents of all files of YAML, each with its file's name, and the mistakes found in reading them."""
    documents: list[tuple[str, Any]] = []
    findings: list[Finding] = []
    for name, data in sorted(files.items()):
        if not name.endswith((".yaml", ".yml")):
            continue
        report = Report(name)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            report.add("", f"it is not UTF-8: {error.reason} at byte {error.start}", "write it as UTF-8")
            text = ""
        documents += [(name, document) for document in load_all(text, "", report)]
        findings += report.findings
    return documents, findings


def verify_read(documents: list[tuple[str, Any]], files: Mapping[str, bytes]) -> list[Finding]:
    """The mistakes in what `read_documents` has read."""
    findings: list[Finding] = []
    for name, document in documents:
        if isinstance(document, Mapping) and document.get("kind") == "Kustomization":
            findings += _kustomization(document, name, files)
    return [*findings, *_verify(documents)]


def verify_documents(documents: Iterable[Any]) -> list[Finding]:
    """The mistakes in manifests that are values already: mappings as YAML gives them."""
    return _verify([("", document) for document in documents])


def _verify(documents: list[tuple[str, Any]]) -> list[Finding]:
    findings: list[Finding] = []
    maps = {_name(doc): doc for _, doc in documents if isinstance(doc, Mapping) and doc.get("kind") == "ConfigMap"}
    templates = {_name(doc) for _, doc in documents if isinstance(doc, Mapping) and doc.get("kind") in _WORKFLOWS}
    for file, value in documents:
        report = Report(file)
        document = report.mapping(value, "")
        kind = document.get("kind")
        _check_metadata(document, report)
        if kind in _WORKFLOWS:
            spec = report.mapping(document.get("spec"), "spec")
            check_spec(spec, "spec", report)
            _check_maps(spec, maps, report)
        elif kind == "CronWorkflow":
            _check_cron(report.mapping(document.get("spec"), "spec"), templates, report)
        elif kind == "ConfigMap":
            _check_map(document, report)
        findings += report.findings
    return findings


def _name(document: Node) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, Mapping) else ""


def _check_metadata(document: Node, report: Report) -> None:
    kind = document.get("kind")
    if kind is None or document.get("apiVersion") is None:
        report.add("", "this is no object of Kubernetes", "write apiVersion and kind")
        return
    metadata = report.mapping(document.get("metadata"), "metadata")
    for field in ("labels", "annotations"):
        for name, value in report.mapping(metadata.get(field), f"metadata.{field}").items():
            report.text(value, f"metadata.{field}.{name}", required=True)
    if kind == "Kustomization":
        return
    name = report.text(metadata.get("name"), "metadata.name")
    # The names of a workflow's pods and labels are made of it; a CronWorkflow appends its own time to it.
    longest = {"WorkflowTemplate": 63, "Workflow": 63, "CronWorkflow": 52}.get(str(kind), 253)
    if not _DNS_NAME.fullmatch(name) or len(name) > longest:
        message = f"{name!r} cannot be the name of a {kind}"
        report.add("metadata.name", message, f"use at most {longest} of a-z, 0-9, - and .")


def _check_cron(spec: Node, templates: set[str], report: Report) -> None:
    schedules = [str(item) for item in report.sequence(spec.get("schedules"), "spec.schedules")]
    if spec.get("schedule") is not None:
        schedules.append(report.text(spec["schedule"], "spec.schedule"))
    if not schedules:
        report.add("spec.schedules", "there is no schedule", "write one, as in '0 2 * * *'")
    for schedule in schedules:
        if not schedule.startswith("@") and not _is_schedule(schedule):
            report.add("spec.schedules", f"{schedule!r} is no schedule", "write five fields, as in '0 2 * * *'")
    inner = report.mapping(spec.get("workflowSpec"), "spec.workflowSpec")
    reference = inner.get("workflowTemplateRef")
    if reference is None:
        check_spec(inner, "spec.workflowSpec", report)
        return
    name = report.mapping(reference, "spec.workflowSpec.workflowTemplateRef").get("name")
    if templates and name not in templates:
        message = f"there is no workflow template {name!r}"
        report.add("spec.workflowSpec.workflowTemplateRef.name", message, f"name {' or '.join(sorted(templates))}")


def _is_schedule(text: str) -> bool:
    fields = text.split()
    return len(fields) == len(_CRON_FIELDS) and all(
        _is_cron_item(item, *about) for field, about in zip(fields, _CRON_FIELDS) for item in field.split(",")
    )


def _is_cron_item(item: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    match = _CRON_ITEM.fullmatch(item)
    if match is None:
        return False
    ends = [end.lower() for end in match.groups() if end]
    known = [int(end) if end.isdigit() else words.index(end) + low for end in ends if end.isdigit() or end in words]
    return len(known) == len(ends) and known == sorted(known) and all(low <= end <= high for end in known)


def _check_map(document: Node, report: Report) -> None:
    size = 0
    for field in ("data", "binaryData"):
        for key, value in report.mapping(document.get(field), field).items():
            if not _KEY.fullmatch(str(key)) or len(str(key)) > 253:
                report.add(f"{field}.{key}", f"{key!r} cannot be a key", "use letters, digits, -, _ and .")
            text = report.text(value, f"{field}.{key}", required=True)
            size += len(str(key)) + len(text.encode("utf-8", "surrogatepass"))
    if size >= _LARGEST:
        report.add("data", f"it has {size} bytes, and an object takes less than {_LARGEST}", "split it")


def _check_maps(spec: Node, maps: Mapping[str, Node], report: Report) -> None:
    """What the volumes take from ConfigMaps that are here, too: each must be there, with the keys that are mounted."""
    if not maps:
        return
    holders = [("spec", spec), *report.items(spec.get("templates"), "spec.templates")]
    for path, holder in holders:
        for place, volume in report.items(holder.get("volumes"), f"{path}.volumes"):
            sources: list[tuple[str, Any]] = [(f"{place}.configMap", volume.get("configMap"))]
            projected = report.mapping(volume.get("projected"), f"{place}.projected")
            for at, part in report.items(projected.get("sources"), f"{place}.projected.sources"):
                sources.append((f"{at}.configMap", part.get("configMap")))
            for where, source in sources:
                if source is not None:
                    _check_source(report.mapping(source, where), where, maps, report)


def _check_source(source: Node, path: str, maps: Mapping[str, Node], report: Report) -> None:
    name = str(source.get("name"))
    if name not in maps:
        if source.get("optional") is not True and "{{" not in name:
            report.add(f"{path}.name", f"there is no ConfigMap {name!r}", f"there is {', '.join(sorted(maps))}")
        return
    contents = (maps[name].get("data"), maps[name].get("binaryData"))
    keys = {key for content in contents if isinstance(content, Mapping) for key in content}
    for place, item in report.items(source.get("items"), f"{path}.items"):
        if item.get("key") not in keys:
            report.add(f"{place}.key", f"ConfigMap {name!r} has no key {item.get('key')!r}", "mount one that it has")
        target = report.text(item.get("path"), f"{place}.path")
        if not target or target.startswith("/") or ".." in target.split("/"):
            report.add(f"{place}.path", f"{target!r} is no path below the mount", "write a relative one without ..")


def _kustomization(document: Node, name: str, files: Mapping[str, bytes]) -> list[Finding]:
    report = Report(name)
    folder = name.rpartition("/")[0]
    listed = [str(item) for item in report.sequence(document.get("resources"), "resources")]
    for at, item in enumerate(listed):
        if "://" not in item and (f"{folder}/{item}" if folder else item) not in files:
            report.add(f"resources[{at}]", f"there is no file {item!r}", "list what is there")
    return report.findings
