"""Every edit of the objects as such, of the Workflow's own fields and of its parameters is noticed and named."""

from __future__ import annotations

import pytest
from edited_manifests import Edit, Manifests, assert_noticed, edited_problems, files_of
from flowc.backends.argo.backend import BACKEND
from flowc.backends.base import Unfaithful

FLOW = """
from flowc import *

@project(name="demo")
class MyFlow(FlowSpec):
    on = Parameter("on", default=True, help="yes or no")
    asked = Parameter("asked", type=bool, required=True)
    rate = Parameter("rate", default=0.5)
    table = Parameter("table", type=JSONType, default={"a": [1, True]})
    braces = Parameter("braces", type=JSONType, default={"a": "{{b}}"})
    text = Parameter("text", default="t")
    names = Parameter("names", default=["a", "b"], separator=",")
    source = IncludeFile("source", default="flow.py")
    late = Parameter("late", default=lambda context: "x")
    nothing = Parameter("nothing", type=int)

    @kubernetes(image_pull_secrets=["hub"])
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""

OF_WORKFLOWS = [
    "activeDeadlineSeconds", "affinity", "archiveLogs", "artifactGC", "artifactRepositoryRef",
    "automountServiceAccountToken", "dnsConfig", "dnsPolicy", "executor", "hooks", "hostAliases", "hostNetwork",
    "metrics", "nodeSelector", "parallelism", "podDisruptionBudget", "podGC", "podMetadata", "podPriorityClassName",
    "podSpecPatch", "priority", "retryStrategy", "schedulerName", "securityContext", "shutdown", "suspend",
    "synchronization", "templateDefaults", "tolerations", "ttlStrategy", "volumeClaimGC", "volumeClaimTemplates",
    "workflowTemplateRef",
]  # fmt: skip


def parameter(name: str, **fields: object) -> Edit:
    """Other fields of a parameter."""
    return lambda it: next(each for each in it.spec["arguments"]["parameters"] if each["name"] == name).update(fields)


EDITS: dict[str, tuple[Edit, str]] = {
    # The Workflow
    "no label of the Workflow": (lambda it: it.spec.pop("workflowMetadata"), "labels.flowc/flow is none"),
    "an annotation of the Workflow": (
        lambda it: it.spec["workflowMetadata"].update(annotations={}), "also says spec.workflowMetadata.annotations"
    ),
    "no secret for images": (lambda it: it.spec.pop("imagePullSecrets"), r"spec.imagePullSecrets\[0\].name is none"),
    "a secret more for images": (
        lambda it: it.spec["imagePullSecrets"].append({"name": "x"}), r"also says spec.imagePullSecrets\[1\]"
    ),
    "a volume of the Workflow": (
        lambda it: it.spec["volumes"].append({"name": "x", "emptyDir": {}}), r"also says spec.volumes\[2\]"
    ),
    "code in another mode": (
        lambda it: it.spec["volumes"][0]["projected"].update(defaultMode=0), "also says .*projected.defaultMode"
    ),
    "a secret among the code": (
        lambda it: it.spec["volumes"][0]["projected"]["sources"].append({"secret": {"name": "x"}}),
        "volume code: it also says sources.secret",
    ),
    "code that may be missing": (
        lambda it: it.spec["volumes"][0]["projected"]["sources"][0]["configMap"].update(optional=True),
        "volume code: it also says sources.configMap.optional",
    ),
    "files for all Workflows": (lambda it: it.spec["arguments"].update(artifacts=[]), "spec.arguments.artifacts"),
    "a WorkflowTemplate of another name": (
        lambda it: it.of_kind("WorkflowTemplate")["metadata"].update(name="x"), "metadata.name is 'x', not 'myflow'"
    ),
    "a WorkflowTemplate that nobody finds": (
        lambda it: it.of_kind("WorkflowTemplate")["metadata"].pop("labels"), "labels.flowc/flow is none, not 'myflow'"
    ),
    "an object of another version": (
        lambda it: it.of_kind("WorkflowTemplate").update(apiVersion="argoproj.io/v1"), "apiVersion is 'argoproj.io/v1'"
    ),
    "an object more": (
        lambda it: it.files["rbac.yaml"].append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}),
        "there is also Pod x",
    ),
    "an account with secrets": (
        lambda it: it.of_kind("ServiceAccount").update(imagePullSecrets=[]), "myflow: it also says imagePullSecrets"
    ),
    "an annotation of an account": (
        lambda it: it.of_kind("ServiceAccount")["metadata"].update(annotations={"eks.amazonaws.com/role-arn": "x"}),
        "ServiceAccount myflow: it also says metadata.annotations",
    ),
    "a patch of everything": (
        lambda it: it.of_kind("Kustomization").update(patches=[]), "Kustomization: it also says patches"
    ),
    # Parameters
    "another switch": (parameter("on", value="false"), "default of parameter on is 'false', not True"),
    "a number for a switch": (parameter("on", value="1"), "default of parameter on is '1', not True"),
    "no choice": (parameter("on", enum=None), r"parameter on: its enum\[0\] is none, not 'true'"),
    "another choice": (parameter("asked", enum=["false"]), r"parameter asked: its enum\[0\] is 'false', not 'true'"),
    "a choice where there is none": (parameter("text", enum=["t"]), r"parameter text: its enum is \['t'\], not none"),
    "another help": (parameter("on", description="x"), r"parameter on: its description is 'x', not 'yes or no'"),
    "another number": (parameter("rate", value="0.25"), "default of parameter rate is '0.25', not 0.5"),
    "no number": (parameter("rate", value="x"), "default of parameter rate is 'x', not 0.5"),
    "another table": (parameter("table", value='{"a": [1, 1]}'), "default of parameter table is"),
    "no table": (parameter("table", value=""), "default of parameter table is ''"),
    "a table in braces": (parameter("braces", value='{"a": "{{b}}"}'), "default of parameter braces is"),
    "another text": (parameter("text", value="T"), "default of parameter text is 'T', not 't'"),
    "another list": (parameter("names", value="a"), "default of parameter names is 'a'"),
    "another path": (parameter("source", value="/etc/passwd"), "default of parameter source is '/etc/passwd'"),
    "something for what is worked out": (parameter("late", value="y"), "default of parameter late is 'y'"),
    "something for nothing": (parameter("nothing", value="0"), "default of parameter nothing is '0', not None"),
    "a value from elsewhere": (parameter("text", valueFrom={}), "parameter text: it also says valueFrom"),
    "a name for all": (parameter("text", globalName="x"), "parameter text: it also says globalName"),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(tmp_path_factory.mktemp("flow"), FLOW)


@pytest.fixture(scope="module")
def loaded(files: dict[str, bytes]) -> Manifests:
    return Manifests.of(files, "workflow-template.yaml", "rbac.yaml", "kustomization.yaml")


def test_what_nobody_has_edited_is_good(files: dict[str, bytes], loaded: Manifests) -> None:
    assert BACKEND.read({**files, **loaded.written()}) == BACKEND.read(files)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_noticed(name: str, files: dict[str, bytes], loaded: Manifests) -> None:
    assert_noticed(files, loaded, *EDITS[name])


def test_a_kustomization_that_is_missing(files: dict[str, bytes]) -> None:
    with pytest.raises(Unfaithful, match="there are 0 Kustomizations, not one"):
        BACKEND.read({name: data for name, data in files.items() if name != "kustomization.yaml"})


def test_fields_of_the_workflow_that_flowc_never_writes(files: dict[str, bytes], loaded: Manifests) -> None:
    found = edited_problems(files, loaded, lambda it: it.spec.update({field: {} for field in OF_WORKFLOWS}))
    assert {f"WorkflowTemplate myflow: it also says spec.{field}" for field in OF_WORKFLOWS} <= set(found)
