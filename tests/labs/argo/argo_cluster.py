"""A cluster that knows Argo and JobSet as far as flowc's manifests need them: objects, workflows, what they leave."""

from __future__ import annotations

import random
import shutil
import string
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from argo_jobsets import Hosts, JobSet
from argo_language import NotModelled, known
from argo_pods import Place, content
from argo_workflow import Node, Workflow
from hosts_lab import Host

_IGNORED = ("ServiceAccount", "Role", "RoleBinding", "Kustomization")
"""Objects without which nothing would run for real; the lab asks nobody for permission."""


class StillRunning(Exception):
    """A workflow did not end in time; the message has what its nodes said."""


class Cluster:
    """Objects and their pods, until the end of a ``with`` block.

    Parameters
    ----------
    folder : Path
        Where everything lies; of the hosts lab, if there are hosts.
    shared : sequence of Path
        Folders of this machine that pods see at their own paths, as on a node's disk.
    hosts : sequence of Host, optional
        Where the ranks of gangs run, one on each; otherwise all are on this machine's loopback.
    at_once : int
        How many pods of Argo run at once.
    grace : float
        Seconds between SIGTERM and SIGKILL for pods that say nothing of it.
    image, variables : mapping, optional
        Folders that the image of all pods has, by their path there, and variables that they are given.
    """

    def __init__(
        self,
        folder: Path,
        *,
        shared: Sequence[Path] = (),
        hosts: Sequence[Host] | None = None,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        compiled: Path | None = None,
        at_once: int = 3,
        grace: float = 30.0,
        image: Mapping[str, Path] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.maps: dict[str, Mapping[str, bytes]] = {}
        self.templates: dict[str, Mapping[str, Any]] = {}
        self.crons: dict[str, Mapping[str, Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.place = Place(folder, self.maps, secrets or {}, shared, image or {}, variables or {})
        if compiled is not None:
            compiled.mkdir(parents=True, exist_ok=True)
            if not (folder / "compiled").exists():  # of a cluster before, in the same folder
                (folder / "compiled").symlink_to(compiled)
            self.place.shared = [*shared, compiled]
        self.place.shared = [*self.place.shared, folder]
        self.hosts = Hosts(list(hosts)) if hosts is not None else None
        self.jobsets: list[JobSet] = []
        self.at_once, self.grace = at_once, grace

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for jobset in self.jobsets:
            jobset.delete()
        shutil.rmtree(self.place.folder / "pods", ignore_errors=True)

    def apply(self, files: Mapping[str, bytes]) -> None:
        """``kubectl apply -k``: take over the objects of a folder of manifests, by name and content."""
        for name, data in files.items():
            if not name.endswith(".yaml"):
                continue
            for document in yaml.load_all(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
                self._apply(document)

    def _apply(self, document: Mapping[str, Any]) -> None:
        kind, name = document["kind"], document.get("metadata", {}).get("name")
        if kind == "ConfigMap":
            self.maps[name] = content(document)
        elif kind == "WorkflowTemplate":
            known(document, kind, "apiVersion", "kind", "metadata", "spec")
            self.templates[name] = document["spec"]
        elif kind == "CronWorkflow":
            self.crons[name] = document["spec"]
        elif kind not in _IGNORED:
            raise NotModelled(f"the lab knows no {kind}")

    def workflow(self, template: str, parameters: Mapping[str, str] | None = None, name: str = "") -> Workflow:
        """``argo submit --from workflowtemplate/...``, not yet begun."""
        tail = "".join(random.choice(string.ascii_lowercase) for _ in range(5))
        return Workflow(self, name or f"{template}-{tail}", self.templates[template], parameters or {})

    def submit(
        self, template: str, parameters: Mapping[str, str] | None = None, name: str = "", timeout: float = 300
    ) -> Workflow:
        """Run a workflow to its end."""
        return self.ended(self.workflow(template, parameters, name), timeout)

    def ended(self, workflow: Workflow, timeout: float = 300) -> Workflow:
        """Run a workflow to its end."""
        thread = self.begin(workflow)
        thread.join(timeout)
        if thread.is_alive():
            workflow.terminate()
            raise StillRunning(report(workflow))
        if thread.problem is not None:
            raise thread.problem
        return workflow

    @staticmethod
    def begin(workflow: Workflow) -> Running:
        """Run a workflow in the background."""
        thread = Running(workflow)
        thread.start()
        return thread

    def delete(self, flags: list[str]) -> None:
        """``kubectl delete jobset --selector LABEL=VALUE --ignore-not-found``."""
        if len(flags) != 4 or flags[:2] != ["jobset", "--selector"] or flags[3] != "--ignore-not-found":
            raise NotModelled(f"kubectl delete {flags}")
        label, _, value = flags[2].partition("=")
        for jobset in self.jobsets:
            if jobset.labels.get(label) == value:
                jobset.delete()

    def running(self) -> list[str]:
        """The names of JobSets with pods that run."""
        return [jobset.name for jobset in self.jobsets if jobset.alive]


class Running(threading.Thread):
    """A workflow in the background, and what went wrong in the lab itself."""

    def __init__(self, workflow: Workflow) -> None:
        super().__init__(daemon=True)
        self.workflow = workflow
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            self.workflow.run()
        except BaseException as error:
            self.problem = error


def report(workflow: Workflow) -> str:
    """The nodes of a workflow with how they ended, and what the bad ones and the exit handler printed."""
    nodes: list[Node] = [*workflow.root.all(), *(workflow.exit.all() if workflow.exit else [])]
    lines = []
    for node in nodes:
        lines.append(f"{node.name} [{node.template}] {node.phase or 'Running'} {node.message}")
        if node.log and (node.phase != "Succeeded" or (workflow.exit is not None and node in workflow.exit.all())):
            lines += [f"    {line}" for line in node.log.splitlines()[-30:]]
    return "\n".join(lines)
