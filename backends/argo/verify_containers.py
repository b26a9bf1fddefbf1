"""Checks of containers, in templates and in the pods of a JobSet: what they run and what they find."""

from __future__ import annotations

from ...compiler.diagnostics import did_you_mean
from .verify_report import Node, Report, unique


def volumes_of(node: Node, path: str, report: Report) -> frozenset[str]:
    """The names of the volumes that a workflow, a template or a pod declares."""
    names = []
    for place, volume in report.items(node.get("volumes"), f"{path}.volumes"):
        names.append(report.text(volume.get("name"), f"{place}.name"))
    for place, claim in report.items(node.get("volumeClaimTemplates"), f"{path}.volumeClaimTemplates"):
        names.append(str(report.mapping(claim.get("metadata"), f"{place}.metadata").get("name")))
    unique(names, f"{path}.volumes", "volume", report)
    return frozenset(names)


def check_containers(node: Node, path: str, volumes: frozenset[str], report: Report) -> None:
    """Check every container of a template."""
    for kind in ("container", "script"):
        if node.get(kind) is not None:
            check_container(report.mapping(node[kind], f"{path}.{kind}"), f"{path}.{kind}", volumes, report)
    for kind in ("initContainers", "sidecars"):
        for place, container in report.items(node.get(kind), f"{path}.{kind}"):
            name = container.get("name")
            if name in ("wait", "main", "init"):
                report.add(f"{place}.name", f"{name!r} is the name of one of Argo's own", "take another name")
            check_container(container, place, volumes, report)


def check_container(container: Node, path: str, volumes: frozenset[str], report: Report) -> None:
    """Check what a container says of its image, its command, its environment and its mounts."""
    if not report.text(container.get("image"), f"{path}.image").strip():
        report.add(f"{path}.image", "the image is empty", "name one")
    if not report.sequence(container.get("command"), f"{path}.command"):
        report.add(f"{path}.command", "there is no command", "write it down: Argo does not ask the image's registry")
    for name in ("command", "args"):
        for at, word in enumerate(report.sequence(container.get(name), f"{path}.{name}")):
            report.text(word, f"{path}.{name}[{at}]")
    _check_environment(container, path, report)
    places: list[str] = []
    for place, mount in report.items(container.get("volumeMounts"), f"{path}.volumeMounts"):
        if str(mount.get("name")) not in volumes:
            near = did_you_mean(str(mount.get("name")), volumes)
            report.add(f"{place}.name", f"there is no volume {mount.get('name')!r}", near or "declare it under volumes")
        places.append(str(mount.get("mountPath")))
    unique(places, f"{path}.volumeMounts", "mount", report)


def _check_environment(container: Node, path: str, report: Report) -> None:
    names = []
    for place, variable in report.items(container.get("env"), f"{path}.env"):
        name = report.text(variable.get("name"), f"{place}.name")
        if not name or "=" in name:
            report.add(f"{place}.name", f"{name!r} cannot be the name of a variable", "name it without =")
        report.text(variable.get("value"), f"{place}.value")
        if "value" in variable and "valueFrom" in variable:
            report.add(place, f"{name} has a value and a valueFrom", "keep one of them")
        names.append(name)
    unique(names, f"{path}.env", "variable", report)
