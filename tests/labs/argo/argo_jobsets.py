"""JobSet's controller, as far as gangs need it: one replicated job with one Indexed Job, all pods at once.

A pod that fails makes its Job fail (backoffLimit 0), that the JobSet; it is started anew as a whole while maxRestarts
or a rule of its failure policy allows, and has a terminalState at its end (https://jobset.sigs.k8s.io/docs/concepts/).
"""

from __future__ import annotations

import random
import string
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from argo_language import NotModelled, known
from argo_pods import Place, Pod
from hosts_lab import Host

_SPEC = ("network", "startupPolicy", "successPolicy", "failurePolicy", "replicatedJobs")
_JOB = (
    "completionMode", "parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "template",
    "podFailurePolicy", "podReplacementPolicy",
)  # fmt: skip
_ACTIONS = ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts")
_POD = ("restartPolicy", "terminationGracePeriodSeconds", "serviceAccountName", "containers", "volumes")
_NOT_LOOKED_AT = (
    "tolerations", "nodeSelector", "affinity", "priorityClassName", "imagePullSecrets", "securityContext",
    "automountServiceAccountToken",
)  # fmt: skip


class Hosts:
    """The hosts that ranks run on; a gang gets as many at once as it has ranks, or waits for them."""

    def __init__(self, hosts: list[Host]) -> None:
        self._free = list(hosts)
        self._count = len(hosts)
        self._changed = threading.Condition()

    @contextmanager
    def take(self, count: int) -> Iterator[list[Host]]:
        """So many of them, until the end of the block."""
        if count > self._count:
            raise NotModelled(f"a gang of {count} on {self._count} hosts")
        with self._changed:
            while len(self._free) < count:
                self._changed.wait()
            mine = [self._free.pop(0) for _ in range(count)]
        try:
            yield mine
        finally:
            with self._changed:
                self._free += mine
                self._changed.notify_all()


class JobSet:
    """One that was created; runs in a thread of its own until `terminal` is set or it is deleted."""

    def __init__(self, manifest: Mapping[str, Any], place: Place, hosts: Hosts | None) -> None:
        known(manifest, "JobSet", "apiVersion", "kind", "metadata", "spec")
        if (manifest["apiVersion"], manifest["kind"]) != ("jobset.x-k8s.io/v1alpha2", "JobSet"):
            raise NotModelled(f"{manifest['apiVersion']} {manifest['kind']}")
        metadata = known(manifest["metadata"], "metadata", "name", "generateName", "labels", "annotations", "namespace")
        self.name = metadata.get("name") or metadata["generateName"] + _letters(5)
        self.labels: Mapping[str, str] = metadata.get("labels", {})
        self._place, self._hosts = place, hosts
        spec = known(manifest["spec"], "spec", *_SPEC)
        network = known(spec["network"], "network", "enableDNSHostnames", "publishNotReadyAddresses", "subdomain")
        if network != {"enableDNSHostnames": True, "publishNotReadyAddresses": True}:
            raise NotModelled(f"network {network}")
        if spec.get("startupPolicy", {}) not in ({}, {"startupPolicyOrder": "AnyOrder"}):
            raise NotModelled(f"startupPolicy {spec['startupPolicy']}")
        if known(spec["successPolicy"], "successPolicy", "operator") != {"operator": "All"}:
            raise NotModelled(f"successPolicy {spec['successPolicy']}")
        policy = known(spec["failurePolicy"], "failurePolicy", "maxRestarts", "rules")
        self._restarts = int(policy["maxRestarts"])
        self._rules = [known(each, "rule", "name", "action", "onJobFailureReasons") for each in policy.get("rules", ())]
        if any(each["action"] not in _ACTIONS for each in self._rules):
            raise NotModelled(f"rules {self._rules}")
        (job,) = spec["replicatedJobs"]
        known(job, "replicatedJobs", "name", "replicas", "template")
        self._job_name = job["name"]
        self._job = known(known(job["template"], "template", "spec")["spec"], "Job", *_JOB)
        self._pod_rules = _pod_rules(self._job)
        if job["replicas"] != 1 or self._job["completionMode"] != "Indexed" or self._job["backoffLimit"] != 0:
            raise NotModelled("a JobSet that is no gang")
        self.size = self._job["parallelism"]
        if not isinstance(self.size, int) or self.size < 1 or self.size != self._job["completions"]:
            raise NotModelled(f"parallelism {self._job['parallelism']!r}, completions {self._job['completions']!r}")
        template = known(self._job["template"], "template", "metadata", "spec")
        self._pod_metadata = template.get("metadata", {})
        self._pod = known(template["spec"], "pod", *_POD, *_NOT_LOOKED_AT)
        if self._pod["restartPolicy"] != "Never":
            raise NotModelled(f"restartPolicy {self._pod['restartPolicy']}")
        self.attempt = 0
        self.counted = 0
        self.reasons: list[str] = []
        self.created = time.time()
        self.terminal: str | None = None
        self.ended = threading.Event()
        self._deleted = threading.Event()
        self.problem: BaseException | None = None
        self.pods: list[Pod] = []
        self.past: list[Pod] = []
        """Those of the Jobs before, which are deleted with them."""
        self.logs: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def delete(self) -> None:
        """Take it away, and its pods with it."""
        self._deleted.set()
        self._thread.join()

    @property
    def deleted(self) -> bool:
        """Whether it was taken away."""
        return self._deleted.is_set()

    @property
    def alive(self) -> bool:
        """Whether any of its pods may still run."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._deleted.is_set():
                reason = self._once()
                if reason is None:
                    self.terminal = "Completed"
                    break
                self.reasons.append(reason)
                if self._deleted.is_set():
                    break
                action = self._action(reason)
                if action == "FailJobSet" or (action == "RestartJobSet" and self.counted >= self._restarts):
                    self.terminal = "Failed"
                    break
                self.past += self.pods
                self.counted += action == "RestartJobSet"
                self.attempt += 1
        except BaseException as error:
            self.problem = error
        finally:
            self.ended.set()

    def _action(self, reason: str) -> str:
        """What is done about a Job that failed: the first rule that fits says it."""
        for rule in self._rules:
            if reason in rule.get("onJobFailureReasons", (reason,)):
                return str(rule["action"])
        return "RestartJobSet"

    def _once(self) -> str | None:
        """All pods once; why their Job failed, None if it did not."""
        if self._place.trouble_of_jobs:
            # A Job counts its time from its start, whatever its pods do. Where there is none, nothing ever ends.
            held = self._place.trouble_of_jobs == "held"
            self._deleted.wait(self._job["activeDeadlineSeconds"] if held else None)
            return "DeadlineExceeded"
        if self._hosts is None:
            return self._started(None)
        with self._hosts.take(self.size) as hosts:
            return self._started(hosts)

    def _started(self, hosts: list[Host] | None) -> str | None:
        names = {}
        for rank in range(self.size):
            stem = f"{self.name}-{self._job_name}-0-{rank}"
            address = hosts[rank].address if hosts else "127.0.0.1"
            # The headless service's name, short and whole, and the pod's own.
            for name in (f"{stem}.{self.name}", f"{stem}.{self.name}.default.svc.cluster.local", stem):
                names[name] = address
        self.pods = [self._start(rank, names, hosts[rank] if hosts else None) for rank in range(self.size)]
        until = time.monotonic() + self._job["activeDeadlineSeconds"]
        reason = None
        left = list(self.pods)
        while left and reason is None and not self._deleted.is_set() and time.monotonic() < until:
            ended = [pod for pod in left if pod.process.poll() is not None]
            left = [pod for pod in left if pod not in ended]
            failed = [pod for pod in ended if pod.process.returncode != 0]
            if failed:
                # Kubernetes looks at these rules before it counts (syncJob in its Job controller).
                reason = "PodFailurePolicy" if any(map(self._fails_by_rule, failed)) else "BackoffLimitExceeded"
            time.sleep(0.02)
        if left and reason is None:
            reason = "DeadlineExceeded"
        enders = [threading.Thread(target=pod.terminate) for pod in left]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
        for pod in self.pods:
            pod.wait()
            self.logs.append(f"--- {pod.name}, exit code {pod.process.returncode}\n{pod.log()}")
        return reason

    def _fails_by_rule(self, pod: Pod) -> bool:
        """Whether the first rule that a failed pod matches makes its Job fail."""
        code = pod.process.returncode
        code = 128 - code if code < 0 else code
        for rule in self._pod_rules:
            codes = rule.get("onExitCodes")
            if codes is not None and (code in codes["values"]) == (codes["operator"] == "In"):
                return True
            if codes is None and pod.disrupted:
                return True
        return False

    def _start(self, rank: int, names: Mapping[str, str], host: Host | None) -> Pod:
        stem = f"{self.name}-{self._job_name}-0"
        own = {
            "jobset.sigs.k8s.io/jobset-name": self.name,
            "jobset.sigs.k8s.io/replicatedjob-name": self._job_name,
            "jobset.sigs.k8s.io/restart-attempt": str(self.attempt),
            "jobset.sigs.k8s.io/job-index": "0",
            "batch.kubernetes.io/job-completion-index": str(rank),
        }
        metadata = {
            "name": f"{stem}-{rank}-{_letters(5)}",
            "labels": {**self._pod_metadata.get("labels", {}), **own},
            "annotations": {**self._pod_metadata.get("annotations", {}), **own},
        }
        (container,) = self._pod["containers"]
        index = {"name": "JOB_COMPLETION_INDEX", "value": str(rank)}
        with_index = {**container, "env": [*container.get("env", ()), index]}
        grace = float(self._pod["terminationGracePeriodSeconds"])
        volumes = self._pod.get("volumes", ())
        account = self._pod.get("automountServiceAccountToken", True)
        return Pod(
            self._place, metadata, with_index, volumes, names=names, host=host, first=True, grace=grace, account=account
        )


def _pod_rules(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rules by which a Job fails at once: by exit codes, or because a pod was asked to end."""
    if "podFailurePolicy" not in job:
        return []
    if job.get("podReplacementPolicy") != "Failed":
        raise NotModelled(f"podReplacementPolicy {job.get('podReplacementPolicy')} beside a podFailurePolicy")
    rules = known(job["podFailurePolicy"], "podFailurePolicy", "rules")["rules"]
    (container,) = job["template"]["spec"]["containers"]
    for rule in rules:
        known(rule, "rule", "action", "onExitCodes", "onPodConditions")
        conditions = [{"type": "DisruptionTarget", "status": "True"}]
        codes = known(rule.get("onExitCodes", {}), "onExitCodes", "containerName", "operator", "values")
        fits = codes.get("containerName", container["name"]) == container["name"] if codes else True
        if rule["action"] != "FailJob" or not fits or (not codes and rule.get("onPodConditions") != conditions):
            raise NotModelled(f"podFailurePolicy {rule}")
    return list(rules)


def _letters(count: int) -> str:
    return "".join(random.choice(string.ascii_lowercase) for _ in range(count))
