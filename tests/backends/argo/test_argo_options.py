"""Every option of the decorators for Kubernetes: it is in the manifests, or a diagnostic says why not."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from argo_flows import GANG, ONE, compiled, documents, job_errors, jobset, schema_errors, template, workflow
from flowc.backends.argo.capabilities import CAPABILITIES
from flowc.backends.argo.options import OPTIONS
from flowc.dsl.decorators import Kubernetes

ENV = {"name": "FLOWC_GANG_TIMEOUT", "value": "90"}
MEMORY = {"medium": "Memory"}

PLACED: dict[str, tuple[str, str, Any]] = {
    "cpu": ("cpu=1.5", "container.resources.requests.cpu", "1500m"),
    "cpu as text": ("cpu='250m'", "container.resources.requests.cpu", "250m"),
    "memory": ("memory='1Gi'", "container.resources.requests.memory", "1024Mi"),
    "disk": ("disk=500", "container.resources.requests.ephemeral-storage", "500Mi"),
    "gpu": ("gpu=2", "container.resources.limits", {"nvidia.com/gpu": "2"}),
    "gpu_vendor": ("gpu=1, gpu_vendor='amd'", "container.resources.limits", {"amd.com/gpu": "1"}),
    "gpu_vendor in full": ("gpu=1, gpu_vendor='my.org/npu'", "container.resources.limits", {"my.org/npu": "1"}),
    "image": ("image='ghcr.io/a/b:1'", "container.image", "ghcr.io/a/b:1"),
    "image_pull_policy": ("image_pull_policy='Always'", "container.imagePullPolicy", "Always"),
    "image_pull_secrets": ("image_pull_secrets=['hub']", "pod.imagePullSecrets", [{"name": "hub"}]),
    "service_account": ("service_account='trainer'", "pod.serviceAccountName", "trainer"),
    "secrets": ("secrets=['keys']", "container.envFrom", [{"secretRef": {"name": "keys"}}]),
    "node_selector": ("node_selector={'pool': 'n'}", "pod.nodeSelector", {"pool": "n"}),
    "node_selector as text": ("node_selector='pool=n,zone=b'", "pod.nodeSelector", {"pool": "n", "zone": "b"}),
    "tolerations": (
        "tolerations=[{'key': 'a', 'operator': 'Exists', 'effect': 'NoExecute', 'toleration_seconds': 5}]",
        "pod.tolerations",
        [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
    ),
    "labels": ("labels={'team': 'yes'}", "metadata.labels.team", "yes"),
    "annotations": ("annotations={'a.b/c': 'n'}", "metadata.annotations", {"a.b/c": "n"}),
    "shared_memory": ("shared_memory=64", "volume.shared-memory.emptyDir", {**MEMORY, "sizeLimit": "64Mi"}),
    "shared_memory's path": (
        "shared_memory=64", "container.volumeMounts.-1", {"name": "shared-memory", "mountPath": "/dev/shm"}
    ),
    "use_tmpfs": ("use_tmpfs=True, memory=100", "volume.tmpfs.emptyDir", {**MEMORY, "sizeLimit": "50Mi"}),
    "use_tmpfs's path": (
        "use_tmpfs=True, memory=100", "container.volumeMounts.-1", {"name": "tmpfs", "mountPath": "/tmpfs"}
    ),
    "tmpfs_size": ("tmpfs_size=7", "volume.tmpfs.emptyDir", {**MEMORY, "sizeLimit": "7Mi"}),
    "tmpfs_path": (
        "use_tmpfs=True, tmpfs_path='/fast'", "container.volumeMounts.-1", {"name": "tmpfs", "mountPath": "/fast"}
    ),
    "persistent_volume_claims": (
        "persistent_volume_claims={'data': '/data'}", "volume.claim-1.persistentVolumeClaim", {"claimName": "data"}
    ),
    "persistent_volume_claims's paths": (
        "persistent_volume_claims={'b': '/data/b', 'a': '/a'}", "container.volumeMounts.-2",
        {"name": "claim-1", "mountPath": "/a"},
    ),
    "persistent_volume_claims's last path": (
        "persistent_volume_claims={'b': '/data/b', 'a': '/a'}", "container.volumeMounts.-1",
        {"name": "claim-2", "mountPath": "/data/b"},
    ),
    "port": ("port=8000", "container.ports", [{"containerPort": 8000}]),
    "qos": (
        "qos='Guaranteed', cpu=2, memory=10, disk=20",
        "container.resources.limits",
        {"cpu": "2", "memory": "10Mi", "ephemeral-storage": "20Mi"},
    ),
    "executable": ("executable='/opt/py/bin/python3'", "container.command.0", "/opt/py/bin/python3"),
    "hostname_resolution_timeout": ("hostname_resolution_timeout=90", "container.env", ENV),
    "security_context": (
        "security_context={'run_as_user': 1000, 'capabilities': {'add': ['IPC_LOCK']}}",
        "container.securityContext",
        {"runAsUser": 1000, "capabilities": {"add": ["IPC_LOCK"]}},
    ),
    "priority_class": ("priority_class='high'", "pod.priorityClassName", "high"),
    "queue": ("queue='gpu'", "object.metadata.labels.kueue.x-k8s.io/queue-name", "gpu"),
    "topology": (
        "topology='rack'", "object.metadata.annotations", {"alpha.jobset.sigs.k8s.io/exclusive-topology": "rack"}
    ),
    "efa": ("efa=4", "container.resources.limits", {"vpc.amazonaws.com/efa": "4"}),
    "extended_resources": ("extended_resources={'rdma/hca': 1}", "container.resources.limits", {"rdma/hca": "1"}),
    "extended_resources as text": (
        "extended_resources={'rdma/hca': '1'}", "container.resources.limits", {"rdma/hca": "1"}
    ),
    "extended_resources of memory": (
        "extended_resources={'hugepages-2Mi': '128Mi'}", "container.resources.limits", {"hugepages-2Mi": "128Mi"}
    ),
    "spot": (
        "spot=True, tolerations=[{'key': 'a', 'operator': 'Exists'}]",
        "pod.tolerations",
        [
            {"key": "a", "operator": "Exists"},
            {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"},
            {"key": "kubernetes.azure.com/scalesetpriority", "operator": "Equal", "value": "spot",
             "effect": "NoSchedule"},
        ],
    ),
    # Any one of the terms has to match: each is the label of another cloud.
    "spot's nodes": (
        "spot=True",
        "pod.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
        [
            {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}
            for key, value in (
                ("cloud.google.com/gke-spot", "true"),
                ("eks.amazonaws.com/capacityType", "SPOT"),
                ("karpenter.sh/capacity-type", "spot"),
                ("kubernetes.azure.com/scalesetpriority", "spot"),
            )
        ],
    ),
}  # fmt: skip
GANGS_ONLY = {"hostname_resolution_timeout", "topology"}
ELSEWHERE = {"namespace", "compute_pool"}


def test_the_tables_speak_of_every_option_of_the_decorator() -> None:
    names = {field.name for field in fields(Kubernetes)}
    assert set(OPTIONS) | {"compute_pool"} == names
    assert set(OPTIONS) == set(CAPABILITIES.options)
    assert {name.split()[0].removesuffix("'s") for name in PLACED} | ELSEWHERE == names


def look(path: str, container: Any, pod: Any, metadata: Any, thing: Any) -> Any:
    at = {"container": container, "pod": pod, "metadata": metadata, "object": thing}
    first, _, rest = path.partition(".")
    if first == "volume":
        name, key = rest.split(".")
        return next(item for item in pod["volumes"] if item["name"] == name)[key]
    value = at[first]
    while rest:
        if isinstance(value, dict) and rest in value:
            return value[rest]
        key, _, rest = rest.partition(".")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


@pytest.mark.parametrize("name", [name for name in PLACED if name not in GANGS_ONLY])
def test_an_option_of_a_plain_step(name: str, tmp_path: Path) -> None:
    written, path, value = PLACED[name]
    produced = compiled(tmp_path, ONE.format(decorators=f"@kubernetes({written})"), code="installed")
    start = template(produced, "start")
    pod = {**start, "imagePullSecrets": workflow(produced).get("imagePullSecrets")}
    assert look(path, start["container"], pod, start["metadata"], start) == value
    assert schema_errors(produced.files or {}) == []


@pytest.mark.parametrize("name", PLACED)
def test_an_option_of_a_gang(name: str, tmp_path: Path) -> None:
    written, path, value = PLACED[name]
    produced = compiled(tmp_path, GANG.format(decorators=f"@kubernetes({written})"), code="installed")
    made = jobset(produced)
    pod = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    found = look(path, pod["spec"]["containers"][0], pod["spec"], pod["metadata"], made)
    assert value in found if path == "container.env" else found == value
    assert schema_errors(produced.files or {}) == []
    assert job_errors(made) == []


@pytest.mark.parametrize("name", sorted(GANGS_ONLY))
def test_an_option_for_gangs_says_so_on_a_plain_step(name: str, tmp_path: Path) -> None:
    produced = compiled(tmp_path, ONE.format(decorators=f"@kubernetes({PLACED[name][0]})"))
    assert [(item.code, item.is_error) for item in produced.diagnostics] == [("FC407", False)]
    assert produced.files is not None


@pytest.mark.parametrize(
    "written",
    [
        "image='a b'", "image='{{x}}'", "image_pull_secrets=['A']", "service_account='a/b'", "namespace='a.b'",
        "secrets=['']", "node_selector='pool'", "node_selector={'a b': 'c'}", "labels={'a': 'b c'}",
        "labels={'flowc/run': 'x'}", "annotations={'/': 'x'}", "annotations={'a': '{{x}}'}", "tmpfs_path='tmp'",
        "tolerations=[{'key': 'a'}, {'keys': 'a'}]", "tolerations=[{'key': 'a', 'operator': 'In'}]",
        "tolerations=[{'key': 'a', 'effect': 'Never'}]", "tolerations=[{'value': 'a'}]",
        "persistent_volume_claims={'a': 'data'}", "persistent_volume_claims={'a': '/x', 'b': '/x'}",
        "persistent_volume_claims={'a': '/tmp/'}", "persistent_volume_claims={'a': '/tmp/flowc/outputs'}",
        "persistent_volume_claims={'a': '/flowc/code'}", "persistent_volume_claims={'a': '/dev/shm'}, shared_memory=1",
        "executable='python -u'", "security_context={'fs_groups': 1}", "security_context={'fs_group': '1'}",
        "security_context={'supplemental_groups': ['a']}", "security_context={'fs_group_change_policy': 'Never'}",
        "security_context={'run_as_user': '1'}",
        "security_context={'capabilities': {'add': 'ALL'}}", "priority_class='High'", "queue='a b'", "efa=0",
        "gpu_vendor='a b'", "extended_resources={'hca': 1}", "extended_resources={'rdma/hca': 0}", "topology='a b'",
        "extended_resources={'rdma/hca': 'x'}", "extended_resources={'rdma/hca': True}",
        "extended_resources={'hugepages-2Mi': 1}", "extended_resources={'hugepages-2Mi': '0Mi'}",
        "extended_resources={'hugepages-2': '128Mi'}",
    ],
)  # fmt: skip
def test_a_value_that_kubernetes_would_refuse(written: str, tmp_path: Path) -> None:
    produced = compiled(tmp_path, GANG.format(decorators=f"@kubernetes({written})"))
    assert produced.files is None
    errors = [item for item in produced.diagnostics if item.is_error]
    assert [item.code for item in errors] == ["FC409"]
    assert errors[0].span is not None and errors[0].help and "'train'" in errors[0].message


def test_the_larger_of_both_decorators_counts(tmp_path: Path) -> None:
    both = (
        "@resources(cpu=4, memory=100, gpu=1, disk=7, shared_memory=9)\n@kubernetes(cpu=2, memory=300, gpu=2, disk=5)"
    )
    produced = compiled(tmp_path, ONE.format(decorators=both))
    resources = template(produced, "start")["container"]["resources"]
    assert resources["requests"] == {"cpu": "4", "memory": "300Mi", "ephemeral-storage": "7Mi"}
    assert resources["limits"] == {"nvidia.com/gpu": "2"}
    assert template(produced, "start")["volumes"][0]["emptyDir"]["sizeLimit"] == "9Mi"


def test_namespace_and_accounts(tmp_path: Path) -> None:
    produced = compiled(
        tmp_path, GANG.format(decorators="@kubernetes(namespace='lab', service_account='trainer')"), namespace="lab"
    )
    assert {item["metadata"]["namespace"] for item in documents(produced) if "metadata" in item} == {"lab"}
    bindings = documents(produced, "RoleBinding")
    assert [[(item["name"], item["namespace"]) for item in binding["subjects"]] for binding in bindings] == [
        [("myflow", "lab")],
        [("myflow.jobsets", "lab")],
        [("myflow.gang", "lab"), ("trainer", "lab")],
    ]
    other = compiled(tmp_path, GANG.format(decorators="@kubernetes(namespace='lab')"), namespace="other")
    assert [item.code for item in other.diagnostics if item.is_error] == ["FC416"]


def test_the_end_is_recorded_with_what_the_first_step_has(tmp_path: Path) -> None:
    text = (
        "@environment(vars={'AWS_REGION': 'x', 'PRICE': '$(X)'})\n@secrets(sources=['keys'])\n"
        "@kubernetes(image='own:1', executable='/py', service_account='trainer', node_selector={'pool': 'n'}, gpu=1,"
        " port=80, annotations={'a.b/c': 'n'}, labels={'team': 't'}, use_tmpfs=True, tmpfs_path='/fast',"
        " security_context={'run_as_user': 7, 'read_only_root_filesystem': True, 'fs_group': 9,"
        " 'supplemental_groups': [10]})"
    )
    produced = compiled(tmp_path, ONE.format(decorators=text), code="installed", datastore="s3://bucket/x")
    start, end = template(produced, "start"), template(produced, "record-end")
    assert start["securityContext"] == {"fsGroup": 9, "supplementalGroups": [10]}
    for name in ("serviceAccountName", "nodeSelector", "volumes", "securityContext"):
        assert end[name] == start[name]
    for name in ("image", "command", "envFrom", "securityContext", "volumeMounts"):
        assert end["container"][name] == start["container"][name]
    assert {"name": "tmp", "mountPath": "/tmp"} in end["container"]["volumeMounts"]
    env = {item["name"]: item["value"] for item in end["container"]["env"]}
    assert (env["AWS_REGION"], env["PRICE"]) == ("x", "$$(X)")
    assert end["container"]["resources"] == {"requests": {"cpu": "100m", "memory": "256Mi"}}
    assert "ports" not in end["container"]
    # With a retryStrategy Argo would not count the time for which no node can be found: other tasks try again.
    assert end["timeout"] == "900s" and "retryStrategy" not in end
    assert template(produced, "on-exit")["dag"]["tasks"] == [
        {"name": "record-end", "template": "record-end"},
        {"name": "record-end-2", "template": "record-end", "depends": "record-end.Failed || record-end.Errored"},
        {"name": "record-end-3", "template": "record-end", "depends": "record-end-2.Failed || record-end-2.Errored"},
    ]
    assert end["metadata"] == {
        "labels": {"team": "t", "flowc/flow": "myflow", "flowc/run": "{{workflow.name}}"}, "annotations": {"a.b/c": "n"}
    }  # fmt: skip
    assert schema_errors(produced.files or {}) == []


def test_the_end_is_not_recorded_on_nodes_that_are_taken_back(tmp_path: Path) -> None:
    own = "tolerations=[{'key': 'a', 'operator': 'Exists'}], node_selector={'pool': 'n'}"
    produced = compiled(tmp_path, ONE.format(decorators=f"@kubernetes({own}, spot=True)"), code="installed")
    start, end = template(produced, "start"), template(produced, "record-end")
    assert "affinity" in start and len(start["tolerations"]) == 3
    assert "affinity" not in end and end["tolerations"] == [{"key": "a", "operator": "Exists"}]
    assert end["nodeSelector"] == {"pool": "n"}
    assert schema_errors(produced.files or {}) == []


@pytest.mark.parametrize("path", ["/tmp", "/tmp/"])
def test_only_one_volume_is_at_tmp(path: str, tmp_path: Path) -> None:
    text = f"@kubernetes(security_context={{'read_only_root_filesystem': True}}, use_tmpfs=True, tmpfs_path='{path}')"
    start = template(compiled(tmp_path, ONE.format(decorators=text), code="installed"), "start")
    assert [item["name"] for item in start["volumes"]] == ["tmpfs"]


def test_ranks_may_look_at_their_workflow_and_no_more(tmp_path: Path) -> None:
    for decorators, account in (("", "myflow.gang"), ("@kubernetes(service_account='trainer')", "trainer")):
        produced = compiled(tmp_path, GANG.format(decorators=decorators), code="installed")
        pod = jobset(produced)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == account
        env = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
        assert env["FLOWC_WORKFLOW"] == env["FLOWC_RUN_ID"]
        rights = {each["metadata"]["name"]: each["rules"] for each in documents(produced, "Role")}
        assert rights["myflow.gang"] == [{"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["get"]}]
        report = {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
        manage = ["create", "delete", "get", "list", "watch"]
        assert rights["myflow"] == [report]
        assert rights["myflow.jobsets"] == [
            {"apiGroups": ["jobset.x-k8s.io"], "resources": ["jobsets"], "verbs": manage}, report
        ]  # fmt: skip
        held = {
            each["roleRef"]["name"]: [subject["name"] for subject in each["subjects"]]
            for each in documents(produced, "RoleBinding")
        }
        own = [] if account == "myflow.gang" else [account]
        assert held == {
            "myflow": ["myflow"], "myflow.jobsets": ["myflow.jobsets"], "myflow.gang": ["myflow.gang", *own]
        }  # fmt: skip
        assert sorted(each["metadata"]["name"] for each in documents(produced, "ServiceAccount")) == sorted(held)
        # No process of the author's has the account that may delete JobSets.
        accounts = {each["name"]: each.get("serviceAccountName") for each in workflow(produced)["templates"]}
        assert {name for name, given in accounts.items() if given == "myflow.jobsets"} == {"train", "delete-jobsets"}
        assert workflow(produced)["serviceAccountName"] == "myflow"


def test_steps_that_name_an_account_have_it_report_to_argo(tmp_path: Path) -> None:
    produced = compiled(tmp_path, ONE.format(decorators="@kubernetes(service_account='trainer')"), code="installed")
    (binding,) = documents(produced, "RoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == ["myflow", "trainer"]


def test_autoscalers_leave_the_pod_alone_that_watches_a_gang(tmp_path: Path) -> None:
    train = template(compiled(tmp_path, GANG.format(decorators=""), code="installed"), "train")
    assert train["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"
    }  # fmt: skip


def test_environment_secrets_and_packages(tmp_path: Path) -> None:
    text = (
        "@environment(vars={'n': 'y', 'PRICE': '$(X) $$ $1', 'PYTHONPATH': '/mine'})\n"
        "@secrets(sources=['one', {'type': 'kubernetes', 'id': 'two'}])\n"
        "@pypi(packages={'numpy': '2.0', 'rich': '>=13'})"
    )
    produced = compiled(tmp_path, ONE.format(decorators=text))
    container = template(produced, "start")["container"]
    env = {item["name"]: item["value"] for item in container["env"]}
    assert (env["n"], env["PRICE"], env["PYTHONPATH"]) == ("y", "$$(X) $$$ $1", "/flowc/code")
    assert env["FLOWC_PACKAGES"] == '["numpy==2.0", "rich>=13"]'
    assert [item["secretRef"]["name"] for item in container["envFrom"]] == ["one", "two"]
    assert schema_errors(produced.files or {}) == []


def test_braces_never_come_where_argo_would_replace_them(tmp_path: Path) -> None:
    text = ONE.format(decorators="@environment(vars={'A': '{{workflow.name}}', 'B': 'b'})")
    text = f'p = Parameter("p", default="a {{{{x}}}}", help="as in {{{{x}}}}")\n{text}'
    produced = compiled(tmp_path, text)
    env = {item["name"]: item["value"] for item in template(produced, "start")["container"]["env"]}
    assert env["B"] == "b" and "A" not in env  # the step's process has it from the Plan
    (parameter,) = workflow(produced)["arguments"]["parameters"]
    assert parameter == {"name": "p", "value": "", "description": "as in { {x}}"}
    assert schema_errors(produced.files or {}) == []


@pytest.mark.parametrize(
    ("backoff", "of_argo", "rest"),
    [
        ("2", {"duration": "30s", "factor": "2"}, None),
        ("1.5", {"duration": "30s", "factor": "1"}, "30 1.5 1"),
        ("1, minutes_between_retries=1e-6", {"duration": "0.00006s", "factor": "1"}, None),
        ("1, minutes_between_retries=1e5", {"duration": "6000000s", "factor": "1"}, None),
    ],
)
def test_argo_waits_in_whole_numbers_and_the_attempt_the_rest(
    backoff: str, of_argo: dict[str, str], rest: str | None, tmp_path: Path
) -> None:
    wait = "" if "minutes" in backoff else ", minutes_between_retries=0.5"
    retry = f"@retry(times=3, backoff={backoff}{wait})"
    start = template(compiled(tmp_path, ONE.format(decorators=retry)), "start")
    env = {item["name"]: item["value"] for item in start["container"]["env"]}
    assert (start["retryStrategy"].get("backoff"), env.get("FLOWC_WAIT")) == (of_argo, rest)


@pytest.mark.parametrize(
    "decorator",
    [
        "@secrets(sources=[{'type': 'aws-secrets-manager', 'id': 'x'}])",
        "@secrets(sources=['A_B'])", "@pypi(packages={'num py': '1'})", "@pypi(packages={'numpy': '1; x'})",
    ],
)  # fmt: skip
def test_other_values_that_would_be_misread(decorator: str, tmp_path: Path) -> None:
    produced = compiled(tmp_path, ONE.format(decorators=decorator))
    assert [item.code for item in produced.diagnostics if item.is_error] == ["FC409"]


@pytest.mark.parametrize(
    "name",
    ["JOBSET_NAME", "REPLICATED_JOB_NAME", "JOBSET_RESTART_ATTEMPT", "JOB_COMPLETION_INDEX", "ARGO_NODE_ID",
     "KUBERNETES_SERVICE_HOST"],
)  # fmt: skip
def test_variables_that_the_cluster_sets(name: str, tmp_path: Path) -> None:
    produced = compiled(tmp_path, GANG.format(decorators=f"@environment(vars={{'{name}': 'x'}})"))
    (error,) = [item for item in produced.diagnostics if item.is_error]
    assert (error.code, produced.files) == ("FC408", None)
    assert f"'train' sets {name}" in error.message and error.span is not None and error.help
