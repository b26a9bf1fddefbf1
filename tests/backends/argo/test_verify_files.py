"""Whole folders of manifests: YAML that others read otherwise, objects that do not fit each other, random damage."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from argo_manifests import changed, template
from flowc.backends.argo.verify import verify_documents, verify_files
from flowc.backends.argo.verify_yaml import reads_otherwise
from hypothesis import given
from hypothesis import strategies as st

CODE = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "some-flow-code-1"},
    "data": {"flow.py": "x = 1\n"},
}
CRON = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "CronWorkflow",
    "metadata": {"name": "some-flow"},
    "spec": {"schedules": ["0 2 * * 1-5"], "workflowSpec": {"workflowTemplateRef": {"name": "some-flow"}}},
}
KUSTOMIZATION = {
    "apiVersion": "kustomize.config.k8s.io/v1beta1",
    "kind": "Kustomization",
    "resources": ["workflow-template.yaml", "code.yaml", "cron-workflow.yaml"],
}


def mounted(key: str = "flow.py", name: str = "some-flow-code-1", path: str = "flow/flow.py") -> dict[str, Any]:
    source = {"configMap": {"name": name, "items": [{"key": key, "path": path}]}}
    return changed("spec.volumes[1]", {"name": "code", "projected": {"sources": [source]}})


def folder(**replaced: Any) -> dict[str, bytes]:
    documents = {"workflow-template": mounted(), "code": CODE, "cron-workflow": CRON, "kustomization": KUSTOMIZATION}
    documents.update({name.replace("_", "-"): value for name, value in replaced.items()})
    return {
        f"{name}.yaml": value if isinstance(value, bytes) else json.dumps(value).encode()
        for name, value in documents.items()
        if value is not None
    }


def with_(document: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**document, **fields}


def cron(schedules: list[str], name: str = "some-flow") -> dict[str, Any]:
    return with_(CRON, spec={"schedules": schedules, "workflowSpec": {"workflowTemplateRef": {"name": name}}})


def test_a_good_folder() -> None:
    assert [str(finding) for finding in verify_files({**folder(), "README.md": b"\xff"})] == []


@pytest.mark.parametrize(
    ("replaced", "file", "words"),
    [
        ({"workflow_template": mounted(key="flw.py")}, "workflow-template.yaml", "has no key 'flw.py'"),
        ({"workflow_template": mounted(name="other")}, "workflow-template.yaml", "there is no ConfigMap 'other'"),
        ({"workflow_template": mounted(path="../x")}, "workflow-template.yaml", "no path below the mount"),
        ({"code": with_(CODE, data={"a/b.py": ""})}, "code.yaml", "'a/b.py' cannot be a key"),
        ({"code": with_(CODE, data={"flow.py": "x" * 1024 * 1024})}, "code.yaml", "an object takes less"),
        ({"code": with_(CODE, data={"flow.py": 3})}, "code.yaml", "text belongs here"),
        ({"code": with_(CODE, metadata={"name": "Code"})}, "code.yaml", "cannot be the name of a ConfigMap"),
        ({"code": None}, "kustomization.yaml", "there is no file 'code.yaml'"),
        ({"cron_workflow": cron(["0 2 * *"])}, "cron-workflow.yaml", "no schedule"),
        ({"cron_workflow": cron(["0 2 * * 7"])}, "cron-workflow.yaml", "no schedule"),
        ({"cron_workflow": cron(["61 2 * * *"])}, "cron-workflow.yaml", "no schedule"),
        ({"cron_workflow": cron(["0 2 * * fri-mon"])}, "cron-workflow.yaml", "no schedule"),
        ({"cron_workflow": cron(["0 2 * jen *"])}, "cron-workflow.yaml", "no schedule"),
        ({"cron_workflow": cron(["*/0 2 * * *"])}, "cron-workflow.yaml", "no schedule"),
        ({"cron_workflow": cron(["@daily"], "x")}, "cron-workflow.yaml", "there is no workflow template 'x'"),
        ({"code": b"a: [1"}, "code.yaml", "this is no YAML"),
        ({"code": b"\xff\xfe\xfa"}, "code.yaml", "it is not UTF-8"),
        ({"code": b"- 1\n"}, "code.yaml", "a mapping belongs here"),
        ({"code": b"kind: ConfigMap\n"}, "code.yaml", "no object of Kubernetes"),
        ({"code": b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {n: text}\n"}, "code.yaml", "key n"),
        ({"code": b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 08}\n"}, "code.yaml", "08 as text"),
        ({"code": b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {on: text}\n"}, "code.yaml", "key"),
        ({"workflow_template": with_(mounted(), metadata={"name": "f" * 64})}, "workflow-template.yaml", "at most 63"),
    ],
)  # fmt: skip
def test_folders_with_a_mistake(replaced: dict[str, Any], file: str, words: str) -> None:
    findings = verify_files(folder(**replaced))
    assert [f for f in findings if f.file == file and words in f"{f.message}; {f.remedy}"], list(map(str, findings))


@pytest.mark.parametrize(
    "text",
    [
        "n",
        "N",
        "y",
        "Y",
        "yes",
        "No",
        "on",
        "OFF",
        "True",
        "null",
        "~",
        "08",
        "0o7",
        "0x1f",
        "1_000",
        "1e-3",
        "12e5",
        "1e3",
        ".5",
        "5.",
        "+3",
        "-0",
        ".inf",
        ".NaN",
        "2024-01-02",
        "1:30",
        "0b1",
        "<<",
    ],
)
def test_texts_that_others_read_otherwise(text: str) -> None:
    assert reads_otherwise(text)
    document = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  a: {text}\n"
    assert verify_files({"code.yaml": document.encode()})
    assert verify_files({"code.yaml": document.replace(f" {text}\n", f' "{text}"\n').encode()}) == []


@pytest.mark.parametrize("text", ["train", "python:3.12", "10s", "1.2.3", "0.5Gi", "e3", "nn", "0-9", "v1", "a: b"[:1]])
def test_texts_that_everybody_reads_alike(text: str) -> None:
    assert not reads_otherwise(text)


def test_a_whole_workflow_in_a_cron_workflow() -> None:
    spec = template()["spec"]
    document = {**CRON, "spec": {"schedule": "@daily", "workflowSpec": spec}}
    assert verify_documents([document]) == []
    spec["entrypoint"] = "nothing"
    assert [finding.path for finding in verify_documents([document])] == ["spec.workflowSpec.entrypoint"]


@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_damaged_documents_are_findings_and_never_crashes(draw: random.Random, times: int) -> None:
    document: Any = template()
    for _ in range(times):
        document = damaged(document, draw)
    verify_documents([document])


def damaged(value: Any, draw: random.Random) -> Any:
    """The value with something else at a random place."""
    if isinstance(value, (dict, list)) and value and draw.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw.choice(list(keys))
        if draw.random() < 0.1:
            del value[key]
        else:
            value[key] = damaged(value[key], draw)
        return value
    return draw.choice(
        [None, True, 3, -1.5, "", "{{", "{{item}}", "{{=1 +}}", [], {}, [None], {"a": 1}, {3: "x"}, [[]], "a &&"]
    )
