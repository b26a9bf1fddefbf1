"""Every edit of what templates give their pods, and every field that flowc never writes there, is noticed and named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from argo_flows import compiled
from edited_manifests import Edit, Manifests, Pod, assert_noticed, edited_problems, files_of
from flowc.backends.argo.backend import BACKEND

ASKED = """@kubernetes(
        node_selector={'pool': 'fast'}, spot=True, priority_class='high', queue='gpu', port=80,
        tolerations=[{'key': 'a', 'operator': 'Exists', 'effect': 'NoExecute', 'toleration_seconds': 5}],
        image_pull_policy='Always', image_pull_secrets=['hub'], labels={'team': 'yes'}, annotations={'a.b/c': 'note'},
        security_context={'run_as_user': 7, 'read_only_root_filesystem': True, 'fs_group': 9},
        shared_memory=64, tmpfs_size=7, persistent_volume_claims={'models': '/models'}, secrets=['keys']%s
    )"""

FLOW = f"""
from flowc import *

@project(name="demo")
class MyFlow(FlowSpec):
    {ASKED % ""}
    @environment(vars={{"A": "b", "COST": "$(HOME) $1", "EMPTY": ""}})
    @checkpoint(grace=50)
    @step
    def start(self):
        self.next(self.train, num_parallel=2)

    {ASKED % ", topology='rack'"}
    @environment(vars={{"A": "b", "COST": "$(HOME) $1", "EMPTY": ""}})
    @checkpoint(grace=50)
    @parallel
    @step
    def train(self):
        self.next(self.join)

    @catch
    @kubernetes(queue="gpu", port=80, shared_memory=64)
    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass
"""

POD = "manifest.spec.replicatedJobs[0].template.spec.template.spec."
OF_PODS = [
    "automountServiceAccountToken", "dnsConfig", "dnsPolicy", "enableServiceLinks",
    "ephemeralContainers", "hostAliases", "hostIPC", "hostNetwork", "hostPID", "hostUsers", "hostname",
    "initContainers", "nodeName", "overhead", "preemptionPolicy", "priority", "readinessGates", "resourceClaims",
    "runtimeClassName", "schedulerName", "schedulingGates", "setHostnameAsFQDN", "shareProcessNamespace", "sidecars",
    "subdomain", "topologySpreadConstraints",
]  # fmt: skip
OF_TEMPLATES = [
    "annotations", "archiveLocation", "daemon", "executor", "failFast", "hooks", "memoize", "metrics", "parallelism",
    "synchronization",
]  # fmt: skip
OF_CONTAINERS = [
    "lifecycle", "livenessProbe", "readinessProbe", "resizePolicy", "startupProbe", "stdin", "stdinOnce",
    "terminationMessagePath", "terminationMessagePolicy", "tty", "volumeDevices",
]  # fmt: skip
OfPod = Callable[[Pod], object]

OF_POD: dict[str, tuple[OfPod, str]] = {
    # Where it runs
    "any node": (lambda it: it.spec.pop("nodeSelector"), "nodeSelector.pool is none, not 'fast'"),
    "another node": (lambda it: it.spec["nodeSelector"].update(pool="slow"), "nodeSelector.pool is 'slow', not 'fast'"),
    "fewer nodes": (lambda it: it.spec["nodeSelector"].update(zone="b"), "also says .*nodeSelector.zone"),
    "no toleration": (lambda it: it.spec.pop("tolerations"), r"tolerations\[0\].key is none, not 'a'"),
    "a shorter toleration": (
        lambda it: it.spec["tolerations"][0].update(tolerationSeconds=1), "tolerationSeconds is 1, not 5"
    ),
    "a toleration more": (
        lambda it: it.spec["tolerations"].append({"operator": "Exists"}), r"it also says .*tolerations\[3\]"
    ),
    "no affinity": (lambda it: it.spec.pop("affinity"), "affinity.nodeAffinity.* is none, not"),
    "affinity to pods": (lambda it: it.spec["affinity"].update(podAffinity={}), "also says .*affinity.podAffinity"),
    "nodes that are not spare": (
        lambda it: it.spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
            "nodeSelectorTerms"
        ][1]["matchExpressions"][0].update(values=["ON_DEMAND"]),
        "values.* is 'ON_DEMAND', not 'SPOT'",
    ),
    "another priority": (lambda it: it.spec.update(priorityClassName="low"), "priorityClassName is 'low', not 'high'"),
    "no priority": (lambda it: it.spec.pop("priorityClassName"), "priorityClassName is none, not 'high'"),
    # What it may do
    "privileged": (
        lambda it: it.container["securityContext"].update(privileged=True), "also says .*securityContext.privileged"
    ),
    "root": (lambda it: it.container["securityContext"].update(runAsUser=0), "securityContext.runAsUser is 0, not 7"),
    "no security context": (
        lambda it: it.container.pop("securityContext"), "securityContext.readOnlyRootFilesystem is none, not True"
    ),
    "root for all": (
        lambda it: it.spec["securityContext"].update(runAsUser=0), "also says .*securityContext.runAsUser"
    ),
    "files of another group": (lambda it: it.spec["securityContext"].update(fsGroup=0), "fsGroup is 0, not 9"),
    "files of no group": (lambda it: it.spec.pop("securityContext"), "securityContext.fsGroup is none, not 9"),
    # What it finds
    "an image from before": (
        lambda it: it.container.update(imagePullPolicy="Never"), "imagePullPolicy is 'Never', not 'Always'"
    ),
    "another port": (lambda it: it.container.update(ports=[{"containerPort": 8}]), "containerPort is 8, not 80"),
    "a port of the host": (lambda it: it.container["ports"][0].update(hostPort=80), r"also says .*ports\[0\].hostPort"),
    "a port more": (lambda it: it.container["ports"].append({"containerPort": 8}), r"also says .*ports\[1\]"),
    "no port": (lambda it: it.container.pop("ports"), r"ports\[0\].containerPort is none, not 80"),
    "another claim": (
        lambda it: it.volume("claim-1").update(persistentVolumeClaim={"claimName": "other"}),
        "volumeMounts./models.persistentVolumeClaim.claimName is 'other', not 'models'",
    ),
    "a claim elsewhere": (lambda it: it.mount("/models").update(mountPath="/x"), "also says volumeMounts./x"),
    "a part of a claim": (lambda it: it.mount("/models").update(subPath="x"), "also says volumeMounts./models.subPath"),
    "a claim to read only": (
        lambda it: it.mount("/models").update(readOnly=True), "also says volumeMounts./models.readOnly"
    ),
    "no claim": (
        lambda it: it.container["volumeMounts"].remove(it.mount("/models")),
        "volumeMounts./models.persistentVolumeClaim.claimName is none",
    ),
    "less shared memory": (
        lambda it: it.volume("shared-memory")["emptyDir"].update(sizeLimit="1Mi"),
        "volumeMounts./dev/shm.emptyDir.sizeLimit is '1Mi', not '64Mi'",
    ),
    "a folder of a disk": (
        lambda it: it.volume("tmpfs")["emptyDir"].pop("medium"), "/tmpfs.emptyDir.medium is none, not 'Memory'"
    ),
    "a folder of the host": (
        lambda it: it.volume("tmp").update(hostPath=it.volume("tmp").pop("emptyDir")),
        "also says volumeMounts./tmp.hostPath",
    ),
    "no folder to write to": (
        lambda it: it.container["volumeMounts"].remove(it.mount("/tmp")), "volumeMounts./tmp.emptyDir is none, not {}"
    ),
    "code that can be written": (
        lambda it: it.mount("/flowc/code").pop("readOnly"), "/flowc/code.readOnly is none, not True"
    ),
    "the host's disk": (
        lambda it: (
            it.spec["volumes"].append({"name": "more", "hostPath": {"path": "/"}}),
            it.container["volumeMounts"].append({"name": "more", "mountPath": "/host"}),
        ),
        "also says volumeMounts./host",
    ),
    "a volume for nothing": (
        lambda it: it.spec["volumes"].append({"name": "more", "emptyDir": {}}), "also has the volume more"
    ),
    "two volumes of a name": (
        lambda it: it.spec["volumes"].append({"name": "tmp", "hostPath": {"path": "/"}}), "has two volumes tmp"
    ),
    # What it is told
    "a value in which the kubelet reads another one": (
        lambda it: next(item for item in it.container["env"] if item["name"] == "COST").update(value="$(HOME) $1"),
        r"the variable COST is '\$\(HOME\) \$1'",
    ),
    "a variable more": (
        lambda it: it.container["env"].append({"name": "LD_PRELOAD", "value": "x.so"}), "LD_PRELOAD is 'x.so', not None"
    ),
    "a variable from a secret": (
        lambda it: it.container["env"].append({"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
        "the variable K is .*secretKeyRef",
    ),
    "an empty variable from a secret": (
        lambda it: next(item for item in it.container["env"] if item["name"] == "EMPTY").update(
            {"value": None, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
        ),
        "the variable EMPTY is .*secretKeyRef",
    ),
    "a secret that may be missing": (
        lambda it: it.container["envFrom"][0]["secretRef"].update(optional=True), "its secrets are .*optional"
    ),
    "variables of a ConfigMap": (
        lambda it: it.container["envFrom"].append({"configMapRef": {"name": "x"}}), "its secrets are .*configMapRef"
    ),
    "a claim of devices": (
        lambda it: it.container["resources"].update(claims=[{"name": "x"}]), "also says .*resources.claims"
    ),
    # How it is found
    "another label": (lambda it: it.metadata["labels"].update(team="no"), "labels.team is 'no', not 'yes'"),
    "a label more": (lambda it: it.metadata["labels"].update(more="x"), "also says .*metadata.labels.more"),
    "another step": (lambda it: it.metadata["labels"].update({"flowc/step": "x"}), "labels.flowc/step is 'x', not"),
    "another flow": (lambda it: it.metadata["labels"].pop("flowc/flow"), "labels.flowc/flow is none, not 'myflow'"),
    "another project": (
        lambda it: it.metadata["labels"].update({"flowc/project": "x"}), "flowc/project is 'x', not 'demo'"
    ),
    "another annotation": (
        lambda it: it.metadata["annotations"].update({"a.b/c": "x"}), "annotations.a.b/c is 'x', not 'note'"
    ),
    "an annotation more": (
        lambda it: it.metadata["annotations"].update({"sidecar.istio.io/inject": "true"}),
        "also says .*metadata.annotations.sidecar.istio.io/inject",
    ),
    "a finalizer": (lambda it: it.metadata.update(finalizers=["x"]), "also says .*metadata.finalizers"),
}  # fmt: skip


def in_pod(template: str, edit: OfPod) -> Edit:
    """The same edit of a template's pods."""

    def whole(manifests: Manifests) -> None:
        with manifests.pod(template) as pod:
            edit(pod)

    return whole


def in_jobset(edit: Callable[[dict[str, Any]], object]) -> Edit:
    """The same of the gang's JobSet."""

    def whole(manifests: Manifests) -> None:
        with manifests.jobset("train") as made:
            edit(made)

    return whole


EDITS: dict[str, tuple[Edit, str]] = {
    **{f"{name}, of a {kind}": (in_pod(template, edit), f"template {template}: .*{words}")
       for name, (edit, words) in OF_POD.items() for kind, template in (("step", "start"), ("gang", "train"))},
    # Gangs
    "no secret for the image of ranks": (
        in_pod("train", lambda it: it.spec.pop("imagePullSecrets")), r"imagePullSecrets\[0\].name is none, not 'hub'"
    ),
    "no time to save": (
        in_pod("train", lambda it: it.spec.update(terminationGracePeriodSeconds=0)), "PeriodSeconds is 0, not 65"
    ),
    "a container beside a rank": (
        in_pod("train", lambda it: it.spec["containers"].append({**it.container, "name": "more"})),
        r"also says .*containers\[1\]",
    ),
    "another queue": (
        in_jobset(lambda it: it["metadata"]["labels"].update({"kueue.x-k8s.io/queue-name": "x"})), "is 'x', not 'gpu'"
    ),
    "no queue": (
        in_jobset(lambda it: it["metadata"]["labels"].pop("kueue.x-k8s.io/queue-name")), "is none, not 'gpu'"
    ),
    "a queue for each rank": (
        in_pod("train", lambda it: it.metadata["labels"].update({"kueue.x-k8s.io/queue-name": "gpu"})),
        "also says .*labels.kueue.x-k8s.io/queue-name",
    ),
    "another domain": (
        in_jobset(lambda it: it["metadata"]["annotations"].update(
            {"alpha.jobset.sigs.k8s.io/exclusive-topology": "zone"}
        )),
        "exclusive-topology is 'zone', not 'rack'",
    ),
    "no domain": (
        in_jobset(lambda it: it["metadata"]["annotations"].pop("alpha.jobset.sigs.k8s.io/exclusive-topology")),
        "exclusive-topology is none, not 'rack'",
    ),
    "a JobSet of another name": (
        in_jobset(lambda it: it["metadata"].update(generateName="x-")), "generateName is 'x-', not 'train-'"
    ),
    "a JobSet that waits": (in_jobset(lambda it: it["spec"].update(suspend=True)), "also says manifest.spec.suspend"),
    "a JobSet that goes away": (
        in_jobset(lambda it: it["spec"].update(ttlSecondsAfterFinished=1)), "also says .*ttlSecondsAfterFinished"
    ),
    "a coordinator": (in_jobset(lambda it: it["spec"].update(coordinator={})), "also says manifest.spec.coordinator"),
    "a JobSet of somebody else": (in_jobset(lambda it: it["spec"].update(managedBy="x")), "spec.managedBy"),
    "rules of failure": (in_jobset(lambda it: it["spec"]["failurePolicy"].update(rules=[])), "failurePolicy.rules"),
    "any Job is enough": (
        in_jobset(lambda it: it["spec"]["successPolicy"].update(operator="Any")), "operator is 'Any', not 'All'"
    ),
    "a Job beside": (
        in_jobset(lambda it: it["spec"]["replicatedJobs"].append({**it["spec"]["replicatedJobs"][0], "replicas": 0})),
        r"also says manifest.spec.replicatedJobs\[1\]",
    ),
    "a Job that waits": (
        in_jobset(lambda it: it["spec"]["replicatedJobs"][0]["template"]["spec"].update(suspend=True)),
        "also says .*template.spec.suspend",
    ),
    "a Job that forgives": (
        in_jobset(lambda it: it["spec"]["replicatedJobs"][0]["template"]["spec"].update(podFailurePolicy={})),
        "also says .*template.spec.podFailurePolicy",
    ),
    "a gang of no order": (
        in_jobset(lambda it: it["spec"]["replicatedJobs"][0]["template"]["spec"].update(completionMode="NonIndexed")),
        "completionMode is 'NonIndexed', not 'Indexed'",
    ),
    "a watch that is moved": (
        lambda it: it.template("train")["metadata"].pop("annotations"), "safe-to-evict is none, not 'false'"
    ),
    "a watch elsewhere": (lambda it: it.template("train").update(nodeSelector={}), "train: it also says nodeSelector"),
    "a watch with an output": (lambda it: it.template("train").update(outputs={}), "train: it also says outputs"),
    "a JobSet that outlives its Workflow": (
        lambda it: it.template("train")["resource"].update(setOwnerReference=False), "OwnerReference is False, not True"
    ),
    "a JobSet that is made otherwise": (
        lambda it: it.template("train")["resource"].update(flags=["--validate=false"]), "also says resource.flags"
    ),
    # Plain steps
    "less time to save": (
        lambda it: it.template("start").pop("podSpecPatch"), "start: its podSpecPatch is none, not .*Seconds\": 65"
    ),
    "a patch of the pod": (
        lambda it: it.template("end").update(podSpecPatch='{"hostNetwork": true}'), "podSpecPatch is .*, not none"
    ),
    "a patch of what goes on": (
        lambda it: it.template("join-caught").update(podSpecPatch="{}"), "podSpecPatch is '{}', not none"
    ),
    "a step out of its queue": (
        in_pod("start", lambda it: it.metadata["labels"].pop("kueue.x-k8s.io/queue-name")), "name is none, not 'gpu'"
    ),
    "a file as an output": (
        lambda it: it.template("end").update(outputs={"artifacts": []}), "end: it also says outputs.artifacts"
    ),
    "tries without end": (
        lambda it: it.template("end").update(retryStrategy={"retryPolicy": "Always"}), "end: .*any number of times"
    ),
    "another volume for the data": (
        lambda it: it.template("end").update(volumes=[{"name": "data", "hostPath": {"path": "/"}}]),
        "end: it has two volumes data",
    ),
    "what goes on without its queue": (
        in_pod("join-caught", lambda it: it.metadata["labels"].pop("kueue.x-k8s.io/queue-name")),
        "join-caught: its .* is none, not 'gpu'",
    ),
    "what goes on as another step": (
        in_pod("join-caught", lambda it: it.metadata["labels"].update({"flowc/step": "join-caught"})),
        "flowc/step is 'join-caught', not 'join'",
    ),
    "what goes on with less": (
        in_pod("join-caught", lambda it: it.container["volumeMounts"].remove(it.mount("/dev/shm"))),
        "join-caught: its volumeMounts./dev/shm.* is none",
    ),
    "a node selector of nobody's": (
        lambda it: it.template("end").update(nodeSelector={"pool": "x"}), "nodeSelector is {'pool': 'x'}, not none"
    ),
    "ways beside the tasks": (
        lambda it: it.template("main")["dag"].update(failFast=False), "main: it also says dag.failFast"
    ),
    "a DAG with a time": (lambda it: it.template("main").update(timeout="5s"), "main: it also says timeout"),
    # The end
    "a record that is given up": (
        lambda it: it.template("record-end").update(timeout="1s"), "record-end: its timeout is '1s', not '900s'"
    ),
    "a record that waits for ever": (lambda it: it.template("record-end").pop("timeout"), "timeout is none"),
    "a record that is tried again": (
        lambda it: it.template("record-end").update(retryStrategy={}), "record-end: it also says retryStrategy"
    ),
    "a record with more": (
        in_pod("record-end", lambda it: it.container["resources"]["requests"].update(memory="1Ti")),
        "record-end: its container.resources.requests.memory is '1Ti', not '256Mi'",
    ),
    "a record on nodes that are taken back": (
        lambda it: it.template("record-end").update(
            affinity=it.template("start")["affinity"], tolerations=it.template("start")["tolerations"]
        ),
        "record-end: its affinity is .*, not none",
    ),
    "a record elsewhere": (in_pod("record-end", lambda it: it.spec.pop("nodeSelector")), "nodeSelector.pool is none"),
    "a record in a queue": (
        in_pod("record-end", lambda it: it.metadata["labels"].update({"kueue.x-k8s.io/queue-name": "gpu"})),
        "record-end: it also says metadata.labels.kueue",
    ),
    "a record with failures of nobody's": (
        in_pod("start", lambda it: it.container["env"].append({"name": "FLOWC_FAILURES", "value": "[]"})),
        r"start: the variable FLOWC_FAILURES is '\[\]', not None",
    ),
    "code from elsewhere": (
        in_pod("start", lambda it: it.container["env"].append({"name": "FLOWC_CODE_URL", "value": "s3://x"})),
        "start: the variable FLOWC_CODE_URL is 's3://x', not None",
    ),
    "a deletion that gives up": (
        lambda it: it.template("delete-jobsets").pop("retryStrategy"), "retryStrategy.limit is none, not '3'"
    ),
    "a deletion that merges": (
        lambda it: it.template("delete-jobsets")["resource"].update(mergeStrategy="x"), "also says resource.merge"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(tmp_path_factory.mktemp("flow"), FLOW)


@pytest.fixture(scope="module")
def loaded(files: dict[str, bytes]) -> Manifests:
    return Manifests.of(files, "workflow-template.yaml", "rbac.yaml", "kustomization.yaml")


def test_what_nobody_has_edited_is_good(files: dict[str, bytes], loaded: Manifests) -> None:
    manifests = copy.deepcopy(loaded)
    in_pod("train", lambda pod: None)(manifests)
    assert BACKEND.read({**files, **manifests.written()}) == BACKEND.read(files)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_noticed(name: str, files: dict[str, bytes], loaded: Manifests) -> None:
    assert_noticed(files, loaded, *EDITS[name])


@pytest.mark.parametrize("template", ["start", "join-caught", "train", "record-end"])
def test_fields_of_pods_that_flowc_never_writes(template: str, files: dict[str, bytes], loaded: Manifests) -> None:
    gang = template == "train"
    fields = OF_PODS if gang else [*OF_PODS, *OF_TEMPLATES]

    def edit(pod: Pod) -> None:
        pod.spec.update({field: [] for field in fields})
        pod.container.update({field: {} for field in OF_CONTAINERS})

    found = edited_problems(files, loaded, in_pod(template, edit))
    prefix = POD if gang else ""
    container = "containers[0]" if gang else "container"
    named = [*fields, *(f"{container}.{field}" for field in OF_CONTAINERS)]
    assert {f"template {template}: it also says {prefix}{field}" for field in named} <= set(found)


@pytest.mark.parametrize("datastore", [None, "PVC://runs/a", "s3://bucket/x"])
@pytest.mark.parametrize("code", ["bundled", "installed", "image", "s3://bucket/code"])
def test_every_way_of_the_code_is_read_back(code: str, datastore: str | None, tmp_path: Path) -> None:
    image = "own:1" if code == "image" else None
    produced = compiled(tmp_path, FLOW, code=code, datastore=datastore, image=image, namespace="lab")
    assert produced.files is not None
    assert json.loads(produced.files["bundle.json"])["code"] == code
