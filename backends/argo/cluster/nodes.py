"""A Workflow as the cluster has it: its steps with counts, its failure, and what of it is which task.

The nodes of a Workflow are in its status: pods, the attempts of a retried task around a node of type Retry, and the
groups around them (https://argo-workflows.readthedocs.io/en/stable/fields/#nodestatus). Long lists are compressed.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from ....runtime import contract
from ....runtime.report import INTERRUPTED as INTERRUPTED_TYPE
from ....runtime.report import PROCESS_FAILURE
from ....runtime.runs import DONE, FAILED, INTERRUPTED, RUNNING, RunStatus

FLOW_LABEL = "flowc/flow"
RUN_LABEL = "flowc/run"
_ENDED = ("Succeeded", "Failed", "Error")
_BAD = ("Failed", "Error")
_NO_STEP = ("Skipped", "Omitted")
_SHUTDOWN = ("shutdown with strategy", "Stopped with strategy")
"""What Argo says of what ended because the Workflow was shut down: of pods, and of nodes of type Retry."""

_STATES = {"Succeeded": "done", "Failed": "failed", "Error": "failed", "Running": "running"}
_ORDER = ("done", "running", "waiting", "failed", "caught")
_EXIT = re.compile(r"exit code ([0-9]+)")


class Made(NamedTuple):
    """What a template makes: tasks of a step, or of a caught one the task that goes on."""

    step: str
    gang: bool = False
    caught: bool = False


class Task(NamedTuple):
    """A task as Argo tells of it: the node that stands for all of its attempts."""

    made: Made
    place: str
    node: Mapping[str, Any]

    @property
    def address(self) -> str:
        """``train/0.3``, without a rank."""
        return f"{self.made.step}/{self.place}" if self.place else self.made.step

    @property
    def state(self) -> str:
        """done, running, waiting or failed."""
        return _STATES.get(str(self.node.get("phase") or ""), "waiting")


class RunningFlow:
    """One Workflow of a flow.

    Parameters
    ----------
    workflow : mapping
        The object.
    spec : mapping, optional
        That of its WorkflowTemplate, where the Workflow has no copy of it yet.
    """

    def __init__(self, workflow: Mapping[str, Any], spec: Mapping[str, Any] | None = None) -> None:
        self.workflow = workflow
        self.status: Mapping[str, Any] = workflow.get("status") or {}
        self.spec = self.status.get("storedWorkflowTemplateSpec") or spec or workflow.get("spec") or {}

    @property
    def name(self) -> str:
        """Its name: the run's id."""
        return str(self.workflow["metadata"]["name"])

    @property
    def phase(self) -> str:
        """What Argo says of it; empty before its controller has seen it."""
        return str(self.status.get("phase") or "")

    @property
    def ended(self) -> bool:
        """Whether it has ended, its exit handler included."""
        return self.phase in _ENDED

    @property
    def shutdown(self) -> str:
        """``Stop`` or ``Terminate`` once somebody has asked for it."""
        return str((self.workflow.get("spec") or {}).get("shutdown") or "")

    @property
    def offloaded(self) -> bool:
        """Whether its nodes lie in Argo's database, out of reach from here."""
        return bool(self.status.get("offloadNodeStatusVersion"))

    @cached_property
    def env(self) -> Mapping[str, str]:
        """The variables of the first container that runs a step: flow, datastore and so on."""
        for template in self.spec.get("templates") or ():
            found = {item["name"]: item.get("value", "") for item in template.get("container", {}).get("env") or ()}
            if contract.FLOW_NAME in found:
                return found
        return {}

    @property
    def flow(self) -> str:
        """The flow's name; that of its label where nothing else says it."""
        labels = self.workflow["metadata"].get("labels") or {}
        return self.env.get(contract.FLOW_NAME) or str(labels.get(FLOW_LABEL) or self.name)

    @cached_property
    def nodes(self) -> Mapping[str, Mapping[str, Any]]:
        """The nodes by id."""
        packed = self.status.get("compressedNodes")
        if packed:
            found: Mapping[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed)))
            return found
        return self.status.get("nodes") or {}

    @cached_property
    def templates(self) -> Mapping[str, Made]:
        """What the templates make, by name; those of no step are left out."""
        out = {}
        for template in self.spec.get("templates") or ():
            made = _made(template)
            if made is not None:
                out[str(template["name"])] = made
        return out

    @cached_property
    def longest_grace(self) -> float:
        """Seconds that a pod of Argo's own may take to end, where a step says more than Kubernetes gives; else 0."""
        found = [0.0]
        for template in self.spec.get("templates") or ():
            try:
                found.append(float(json.loads(template["podSpecPatch"])["terminationGracePeriodSeconds"]))
            except (KeyError, TypeError, ValueError):
                pass  # none, or somebody else's
        return max(found)

    @property
    def may_have_gangs(self) -> bool:
        """Whether any step is a gang, as far as its templates are known."""
        return not self.templates or any(made.gang for made in self.templates.values())

    def tasks(self) -> Iterator[Task]:
        """Every task that was begun or waits to be, in the order in which Argo made them."""
        attempts = {
            child for node in self.nodes.values() if node.get("type") == "Retry" for child in node.get("children") or ()
        }
        found = [
            (str(node.get("startedAt") or "~"), identity)
            for identity, node in self.nodes.items()
            if node.get("type") in ("Pod", "Retry")
            and identity not in attempts
            and node.get("phase") not in _NO_STEP
            and node.get("templateName") in self.templates
        ]
        for _, identity in sorted(found):
            node = self.nodes[identity]
            yield Task(self.templates[str(node["templateName"])], _index(node), node)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many tasks of each step are in which state; a gang is one task."""
        out: dict[str, dict[str, int]] = {}
        for task in self.tasks():
            states = out.setdefault(task.made.step, dict.fromkeys(_ORDER, 0))
            state = task.state
            if task.made.caught and state == "done":
                states["failed"] -= 1
                state = "caught"
            states[state] += 1
        return {step: {state: n for state, n in states.items() if n > 0} for step, states in out.items()}

    def run_status(self) -> RunStatus:
        """How the run stands, by what Argo says alone."""
        started, finished = (seconds(self.status.get(name)) for name in ("startedAt", "finishedAt"))
        if not self.ended:
            return RunStatus(RUNNING, started)
        if self.phase == "Succeeded":
            return RunStatus(DONE, started, finished)
        failure = self.failure()
        if failure is None and self.shutdown:
            message = f"the workflow was shut down with strategy {self.shutdown}"
            failure = {"address": None, "attempt": 0, "type": INTERRUPTED_TYPE, "message": message}
        elif failure is None and (stopped := self._stopped()):
            failure = {"address": None, "attempt": 0, "type": INTERRUPTED_TYPE, "message": stopped}
        elif failure is None:
            message = str(self.status.get("message") or "Argo does not say why")
            failure = {"address": None, "attempt": 0, "type": PROCESS_FAILURE, "message": message}
        state = INTERRUPTED if failure["type"] == INTERRUPTED_TYPE else FAILED
        return RunStatus(state, started, finished, failure=failure)

    def _stopped(self) -> str:
        """What a node says that ended because the Workflow was shut down; empty where none does."""
        return next((str(node["message"]) for node in self.nodes.values() if _was_shut_down(node)), "")

    def failure(self) -> dict[str, Any] | None:
        """The task that failed first and was not caught; None where there is none."""
        caught = {(task.made.step, task.place) for task in self.tasks() if task.made.caught and task.state == "done"}
        bad = [
            task
            for task in self.tasks()
            if task.state == "failed"
            and (task.made.step, task.place) not in caught
            and not _was_shut_down(task.node)
            and not _was_shut_down(self.attempts(task)[-1])
        ]
        if not bad:
            return None
        first = min(bad, key=lambda task: str(task.node.get("finishedAt") or "~"))
        last = self.attempts(first)[-1]
        message = str(last.get("message") or first.node.get("message") or f"Argo says {first.node.get('phase')}")
        code = _EXIT.search(message)
        return {
            "address": first.address,
            "attempt": len(self.attempts(first)) - 1,
            "type": PROCESS_FAILURE,
            "message": message,
            "exit_code": int(code[1]) if code else None,
            "finished": seconds(last.get("finishedAt")),
        }

    def attempts(self, task: Task) -> list[Mapping[str, Any]]:
        """The nodes of a task's attempts, oldest first."""
        if task.node.get("type") != "Retry":
            return [task.node]
        names = [child for child in task.node.get("children") or () if child in self.nodes]
        return sorted((self.nodes[name] for name in names), key=lambda node: str(node.get("startedAt") or "~")) or [
            task.node
        ]

    def lines(self) -> list[str]:
        """Its steps with counts, one a line."""
        counts = self.counts()
        wide = max(map(len, counts), default=0)
        told = {step: ", ".join(f"{n} {state}" for state, n in states.items()) for step, states in counts.items()}
        return [f"{step:<{wide}}  {text}" for step, text in told.items()]


def _was_shut_down(node: Mapping[str, Any]) -> bool:
    """Whether a node ended because the Workflow was stopped or terminated."""
    return any(mark in str(node.get("message")) for mark in _SHUTDOWN)


def _made(template: Mapping[str, Any]) -> Made | None:
    container, gang = template.get("container"), False
    if container is None and (template.get("resource") or {}).get("action") == "create":
        container, gang = _rank(str(template["resource"].get("manifest") or "")), True
    args = list((container or {}).get("args") or ())
    if len(args) < 2 or args[0] != "step":
        return None
    names = [item.get("name") for item in (container or {}).get("env") or ()]
    return Made(str(args[1]), gang, contract.CAUGHT in names)


def _rank(manifest: str) -> Mapping[str, Any]:
    """The container of a gang's ranks."""
    import yaml

    try:
        # A tag of Argo's that is no text stands where a number will be.
        found = yaml.safe_load(re.sub(r": \{\{[^{}]*\}\}$", ": 1", manifest, flags=re.MULTILINE))
        pod = found["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        out: Mapping[str, Any] = pod["containers"][0]
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        return {}
    return out


def _index(node: Mapping[str, Any]) -> str:
    for item in (node.get("inputs") or {}).get("parameters") or ():
        if item.get("name") == "index":
            return str(item.get("value") or "")
    return ""


def seconds(text: Any) -> float:
    """A time of Kubernetes as seconds since 1970; 0 where there is none."""
    if not text:
        return 0.0
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
