"""One run of a WorkflowTemplate: what Argo's controller does with it, as far as flowc's manifests need it.

See README.md for what is modelled and what is not.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from argo_jobsets import JobSet
from argo_language import (
    NotModelled,
    Unresolved,
    evaluate_depends,
    evaluate_when,
    known,
    names_in_depends,
    seconds,
    substitute,
)
from argo_pods import HeldPod, Pod

if TYPE_CHECKING:
    from argo_cluster import Cluster

SUCCEEDED, FAILED, ERROR, SKIPPED, OMITTED = "Succeeded", "Failed", "Error", "Skipped", "Omitted"
_BAD = (FAILED, ERROR)
_COMMON = ("name", "inputs", "outputs", "metadata", "retryStrategy", "activeDeadlineSeconds", "timeout", "volumes")
_NOT_LOOKED_AT = (
    "nodeSelector", "tolerations", "affinity", "serviceAccountName", "priorityClassName", "securityContext",
)  # fmt: skip
_SPEC = (
    "entrypoint", "onExit", "arguments", "templates", "volumes", "serviceAccountName", "workflowMetadata",
    "imagePullSecrets", "podGC", "ttlStrategy", "podMetadata",
)  # fmt: skip
_TASK = ("name", "template", "depends", "when", "withSequence", "arguments")
_GRACE = 30.0


@dataclass
class Node:
    """What became of one template that was run, or of one attempt."""

    name: str
    template: str
    phase: str = ""
    message: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    log: str = ""
    is_pod: bool = False
    exit_code: int | None = None
    finished: float = 0.0
    is_group: bool = False
    started: float = field(default_factory=time.time)
    inputs: dict[str, str] = field(default_factory=dict)
    pod_begun: bool = False

    def all(self) -> list[Node]:
        """This node and all below it."""
        return [self, *(node for child in self.children for node in child.all())]

    def ended(self, phase: str, message: str = "") -> Node:
        """Set how it ended."""
        self.phase, self.message, self.finished = phase, message, time.time()
        return self

    def ended_as(self, result: str) -> bool:
        """Whether a ``depends`` on this result holds."""
        if result in ("AnySucceeded", "AllFailed"):
            phases = [child.phase for child in self.children] if self.is_group else []
            return SUCCEEDED in phases if result == "AnySucceeded" else bool(phases) and set(phases) == {FAILED}
        return self.phase == {"Errored": ERROR}.get(result, result)


class Workflow:
    """One run. ``run`` blocks until it has ended; ``stop`` and ``terminate`` may come from another thread."""

    def __init__(self, cluster: Cluster, name: str, spec: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self.cluster, self.name = cluster, name
        self.spec = known(spec, "spec", *_SPEC)
        self.templates = {item["name"]: item for item in self.spec["templates"]}
        given = []
        for item in self.spec.get("arguments", {}).get("parameters", ()):
            known(item, "parameter", "name", "value", "description", "enum")
            value = parameters.get(item["name"], item.get("value"))
            if value is None:
                raise ValueError(f"spec.arguments.{item['name']}.value is required")
            given.append({"name": item["name"], "value": value})
        unknown = set(parameters) - {item["name"] for item in given}
        if unknown:
            raise ValueError(f"the workflow template has no parameters {sorted(unknown)}")
        # The order of keys and the escapes are those of Go's encoder.
        everything = json.dumps(given, separators=(",", ":"), ensure_ascii=False)
        self.variables = {
            "workflow.name": name,
            "workflow.namespace": "default",
            "workflow.uid": f"uid-of-{name}",
            "workflow.parameters": everything,
            "workflow.parameters.json": everything,
            **{f"workflow.parameters.{item['name']}": item["value"] for item in given},
        }
        self.root = Node(name, self.spec["entrypoint"])
        self.exit: Node | None = None
        self._shutdown = ""
        self._ending = False
        self._pods: set[Pod] = set()
        self._lock = threading.Lock()
        self._room = threading.Semaphore(cluster.at_once)
        self._count = 0
        self.problem: BaseException | None = None

    def run(self) -> Node:
        """Run it to its end, the exit handler's included; the node of its entry point."""
        self._template(self.spec["entrypoint"], {}, self.root, {})
        if self.problem is not None:
            raise self.problem
        if self.spec.get("onExit") and self._shutdown != "Terminate":
            self._ending = True
            # Nodes of all kinds, also of attempts that others followed, in the order of a map of Go: in none.
            failed = [node for node in self.root.all() if node.phase in _BAD]
            random.shuffle(failed)
            listed = json.dumps([_told(node) for node in failed])
            more = {
                "workflow.status": self.root.phase,
                # Argo quotes the list once more, so that it survives as a text within the template's JSON.
                "workflow.failures": json.dumps(listed),
            }
            self.exit = Node(f"{self.name}.onExit", self.spec["onExit"])
            self._template(self.spec["onExit"], {}, self.exit, more)
            if self.problem is not None:
                raise self.problem
        return self.root

    def stop(self) -> None:
        """``argo stop``: what runs is ended, the exit handler runs."""
        self._shut("Stop")

    def terminate(self) -> None:
        """``argo terminate``: what runs is ended; the exit handler does not run."""
        self._shut("Terminate")

    def _shut(self, strategy: str) -> None:
        self._shutdown = strategy
        with self._lock:
            pods = list(self._pods)
        for pod in pods:
            threading.Thread(target=pod.terminate, daemon=True).start()

    @property
    def _stopping(self) -> bool:
        return bool(self._shutdown) and not self._ending

    # Templates -------------------------------------------------------------------------------------------------------

    def _template(self, name: str, arguments: Mapping[str, str], node: Node, more: Mapping[str, str]) -> None:
        """Run a template to its end; whatever goes wrong in the lab itself ends the whole run."""
        try:
            self._run_template(self.templates[name], arguments, node, more)
        except Unresolved as error:
            node.ended(ERROR, str(error))
        except BaseException as error:
            self.problem = self.problem or error
            node.ended(ERROR, f"the lab: {error!r}")

    def _run_template(
        self, template: Mapping[str, Any], arguments: Mapping[str, str], node: Node, more: Mapping[str, str]
    ) -> None:
        variables, node.inputs = {**self.variables, **more}, dict(arguments)
        inputs = known(template.get("inputs", {}), "inputs", "parameters").get("parameters", ())
        names = [known(item, "input", "name")["name"] for item in inputs]
        if set(names) != set(arguments):
            raise NotModelled(f"template {template['name']} takes {names}, and is given {sorted(arguments)}")
        variables.update({f"inputs.parameters.{name}": text for name, text in arguments.items()})
        if "dag" in template:
            known(template, template["name"], "name", "inputs", "dag")
            return self._dag(template["dag"], node, variables, more)
        kind = next((kind for kind in ("container", "resource") if kind in template), "")
        known(template, template["name"], *_COMMON, *_NOT_LOOKED_AT, "podSpecPatch", kind)
        leaf = self._container if kind == "container" else self._resource
        if "retryStrategy" not in template:
            return self._attempt(leaf, template, node, variables)
        return self._retried(leaf, template, node, variables)

    def _retried(self, leaf: Callable[..., None], template: Mapping[str, Any], node: Node, variables: Any) -> None:
        strategy = known(template["retryStrategy"], "retryStrategy", "limit", "retryPolicy", "backoff")
        policy = strategy.get("retryPolicy", "OnFailure")
        phases = {"Always": _BAD, "OnFailure": (FAILED,), "OnError": (ERROR,)}[policy]
        backoff = known(strategy.get("backoff", {}), "backoff", "duration", "factor", "maxDuration")
        pause = seconds(backoff["duration"]) if backoff else 0.0
        for number in range(int(strategy["limit"]) + 1):
            child = Node(f"{node.name}({number})", node.template)
            node.children.append(child)
            self._attempt(leaf, template, child, {**variables, "retries": str(number)})
            node.outputs, node.exit_code = child.outputs, child.exit_code
            if child.phase == SUCCEEDED:
                node.ended(SUCCEEDED)
                return
            if child.phase not in phases or self._stopping or number == int(strategy["limit"]):
                break
            time.sleep(pause)
            pause *= float(backoff.get("factor", 1))
        more = "No more retries left" if number == int(strategy["limit"]) and number else child.message
        if self._stopping:
            more = f"Stopped with strategy '{self._shutdown}'"
        node.ended(child.phase, more)

    def _attempt(self, leaf: Callable[..., None], template: Mapping[str, Any], node: Node, variables: Any) -> None:
        with self._lock:
            self._count += 1
            number = self._count
        node.is_pod = True
        pod_name = f"{self.name}-{template['name']}-{number}"
        replaced = substitute(template, {**variables, "pod.name": pod_name})
        if self._stopping:
            node.ended(FAILED, f"workflow shutdown with strategy:  {self._shutdown}")
            return
        node.inputs = _inputs(variables)
        leaf(replaced, node, pod_name)
        if self._stopping and node.phase != SUCCEEDED:
            node.ended(FAILED, f"workflow shutdown with strategy:  {self._shutdown}")

    # Leaves ----------------------------------------------------------------------------------------------------------

    def _container(self, template: Mapping[str, Any], node: Node, pod_name: str) -> None:
        volumes = [*self.spec.get("volumes", ()), *template.get("volumes", ())]
        wanted = {mount["name"] for mount in template["container"].get("volumeMounts", ())}
        metadata = {"name": pod_name, **template.get("metadata", {})}
        patch = known(json.loads(template.get("podSpecPatch", "{}")), "podSpecPatch", "terminationGracePeriodSeconds")
        deadline = float(template["activeDeadlineSeconds"]) if "activeDeadlineSeconds" in template else None
        if "timeout" in template:
            if "retryStrategy" in template or deadline is not None:
                raise NotModelled("a timeout beside a retryStrategy or a deadline")
            deadline = seconds(template["timeout"])
            began = time.monotonic()
            if not self._hold(template, node, metadata, deadline):
                node.ended(FAILED, "template timeout has elapsed")
                return
            deadline -= time.monotonic() - began
        else:
            self._hold(template, node, metadata, None)
        with self._room:
            if self._stopping:
                return
            node.pod_begun = True
            pod = Pod(
                self.cluster.place,
                metadata,
                template["container"],
                [volume for volume in volumes if volume["name"] in wanted],
                grace=float(patch.get("terminationGracePeriodSeconds", self.cluster.grace)),
            )
            with self._lock:
                self._pods.add(pod)
            if self._stopping:
                pod.terminate()
            late = False
            try:
                code = pod.wait(deadline)
            except subprocess.TimeoutExpired:
                late = True
                pod.terminate()
                code = pod.wait()
        with self._lock:
            self._pods.discard(pod)
        node.log, node.exit_code = pod.log(), code
        if late:
            node.ended(FAILED, "Pod was active on the node longer than the specified deadline")
        elif code != 0:
            node.ended(FAILED, f"Error (exit code {code})")
        else:
            self._outputs(template, node, pod)

    def _hold(self, template: Mapping[str, Any], node: Node, metadata: Mapping[str, Any], limit: float | None) -> bool:
        """Wait while the cluster does not start pods of this image; False where that took longer than the limit."""
        place, image = self.cluster.place, template["container"].get("image", "")
        if image not in place.held_images:
            return True
        until = None if limit is None else time.monotonic() + limit
        held = HeldPod(metadata, template["container"], *place.held_images[image])
        node.message = f"{held.reason}: {held.message}"
        place.held_pods.append(held)
        in_time = True
        while in_time and image in place.held_images and not self._stopping:
            time.sleep(0.05)
            in_time = until is None or time.monotonic() < until
        place.held_pods.remove(held)
        node.message = ""
        return in_time

    def _outputs(self, template: Mapping[str, Any], node: Node, pod: Pod) -> None:
        outputs = known(template.get("outputs", {}), "outputs", "parameters").get("parameters", ())
        for output in outputs:
            known(output, "output", "name", "valueFrom")
            path = known(output["valueFrom"], "valueFrom", "path")["path"]
            text = pod.read(path)
            if text is None:
                node.ended(ERROR, f"Error (exit code 64): open {path}: no such file or directory")
                return
            # Argo cuts one newline off at the end.
            node.outputs[output["name"]] = text.removesuffix("\n")
        node.ended(SUCCEEDED)

    def _resource(self, template: Mapping[str, Any], node: Node, pod_name: str) -> None:
        resource = known(
            template["resource"], "resource", "action", "setOwnerReference", "successCondition", "failureCondition",
            "manifest", "flags",
        )  # fmt: skip
        if resource["action"] == "delete":
            self.cluster.delete(list(resource["flags"]))
            node.ended(SUCCEEDED)
            return
        wanted = ("create", "status.terminalState == Completed", "status.terminalState == Failed")
        if tuple(resource.get(key) for key in ("action", "successCondition", "failureCondition")) != wanted:
            raise NotModelled(f"resource {resource}")
        manifest = yaml.safe_load(resource["manifest"])
        node.pod_begun = True
        jobset = JobSet(manifest, self.cluster.place, self.cluster.hosts)
        self.cluster.jobsets.append(jobset)
        deadline = float(template["activeDeadlineSeconds"]) if "activeDeadlineSeconds" in template else None
        began = time.monotonic()
        while not jobset.ended.wait(0.02):
            # Neither the one nor the other touches the JobSet: only the pod by which Argo watches it is ended.
            if self._stopping:
                node.ended(FAILED, f"workflow shutdown with strategy:  {self._shutdown}")
                return
            if deadline is not None and time.monotonic() - began > deadline:
                node.ended(FAILED, "Pod was active on the node longer than the specified deadline")
                return
        if jobset.problem is not None:
            raise jobset.problem
        node.log = "".join(jobset.logs)
        if jobset.terminal == "Completed":
            node.ended(SUCCEEDED)
        else:
            node.exit_code = 1
            node.ended(FAILED, "failed condition: status.terminalState == Failed")

    # DAGs ------------------------------------------------------------------------------------------------------------

    def _dag(self, dag: Mapping[str, Any], node: Node, variables: Mapping[str, str], more: Mapping[str, str]) -> None:
        tasks = {known(task, "task", *_TASK)["name"]: task for task in known(dag, "dag", "tasks")["tasks"]}
        above = {name: names_in_depends(task.get("depends", "")) for name, task in tasks.items()}
        ended: dict[str, Node] = {}
        running: dict[Future[Node], str] = {}
        while True:
            for name, task in tasks.items():
                if name in ended or name in running.values() or any(other not in ended for other in above[name]):
                    continue
                text = task.get("depends", "")
                if text and not evaluate_depends(text, lambda other, result: ended[other].ended_as(result)):
                    ended[name] = Node(f"{node.name}.{name}", task["template"]).ended(OMITTED)
                    node.children.append(ended[name])
                    break
                running[_in_thread(self._task, name, task, node, variables, more, ended)] = name
            else:
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    ended[running.pop(future)] = future.result()
        leaves = set(tasks) - {other for names in above.values() for other in names}
        phases = [phase for leaf in leaves for phase in _branch_phases(leaf, above, ended)]
        node.ended(next((phase for phase in _BAD if phase in phases), SUCCEEDED))

    def _task(
        self,
        name: str,
        task: Mapping[str, Any],
        parent: Node,
        variables: Mapping[str, str],
        more: Mapping[str, str],
        ended: Mapping[str, Node],
    ) -> Node:
        node = Node(f"{parent.name}.{name}", task["template"])
        parent.children.append(node)
        known_here = {**variables, **_facts(ended)}
        try:
            if "when" in task and not evaluate_when(substitute(task["when"], known_here)):
                return node.ended(SKIPPED, f"when {task['when']!r} evaluated false")
            if "withSequence" not in task:
                self._template(task["template"], self._arguments(task, known_here), node, more)
                return node
            count = int(substitute(known(task["withSequence"], "withSequence", "count")["count"], known_here))
            if "when" in task:
                raise NotModelled("when and withSequence on one task")
            return self._sequence(task, count, node, known_here, more)
        except Unresolved as error:
            return node.ended(ERROR, str(error))
        except BaseException as error:
            self.problem = self.problem or error
            return node.ended(ERROR, f"the lab: {error!r}")

    def _sequence(
        self, task: Mapping[str, Any], count: int, node: Node, variables: Mapping[str, str], more: Mapping[str, str]
    ) -> Node:
        if count == 0:
            return node.ended(SKIPPED, "Skipped, empty params")
        node.is_group = True
        futures = []
        for item in range(count):
            child = Node(f"{node.name}({item}:{item})", task["template"])
            node.children.append(child)
            arguments = self._arguments(task, {**variables, "item": str(item)})
            futures.append(_in_thread(self._template, task["template"], arguments, child, more))
        for future in futures:
            future.result()
        phases = [child.phase for child in node.children]
        return node.ended(next((phase for phase in _BAD if phase in phases), SUCCEEDED))

    @staticmethod
    def _arguments(task: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
        out = {}
        for item in known(task.get("arguments", {}), "arguments", "parameters").get("parameters", ()):
            known(item, "argument", "name", "value")
            out[item["name"]] = substitute(item["value"], variables)
        return out


def _inputs(variables: Mapping[str, str]) -> dict[str, str]:
    head = "inputs.parameters."
    return {name[len(head) :]: text for name, text in variables.items() if name.startswith(head)}


def _branch_phases(leaf: str, above: Mapping[str, list[str]], ended: Mapping[str, Node]) -> list[str]:
    """The phases that count for a DAG at one of its leaves: its own, or those before it if it was passed over."""
    if ended[leaf].phase not in (SKIPPED, OMITTED):
        return [ended[leaf].phase]
    return [phase for other in above[leaf] for phase in _branch_phases(other, above, ended)]


def _facts(ended: Mapping[str, Node]) -> dict[str, str]:
    out = {}
    for name, node in ended.items():
        out[f"tasks.{name}.status"] = node.phase
        out.update({f"tasks.{name}.outputs.parameters.{key}": text for key, text in node.outputs.items()})
    return out


def _told(node: Node) -> dict[str, str]:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(node.finished))
    return {
        "displayName": node.name.rpartition(".")[2],
        "message": node.message,
        "templateName": node.template,
        "phase": node.phase,
        "podName": node.name,
        "finishedAt": when,
    }


def _in_thread(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """The result of a call in a thread of its own: templates may nest and wait for each other without bound."""
    future: Future[Any] = Future()

    def call() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future
