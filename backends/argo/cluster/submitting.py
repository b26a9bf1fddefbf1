"""The Workflow that starts a run: a reference to the WorkflowTemplate that is deployed, and the parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ....runtime.parameters import IncludedFile
from ...clients import Order
from ..files import BUNDLE
from ..parameters import ENVIRONMENT, variable_size
from .connection import Cluster, Object
from .deploying import code_of, store_of, template_of, way_of
from .errors import ClusterError
from .nodes import FLOW_LABEL

_TEMPLATE_LABEL = "workflows.argoproj.io/workflow-template"
"""As ``argo submit --from`` sets it."""


class Submitted:
    """What came of an order: the Workflow, and what the user should know."""

    def __init__(self, workflow: Object, notes: tuple[str, ...] = ()) -> None:
        self.workflow, self.notes = workflow, notes


def submit(cluster: Cluster, order: Order) -> Submitted:
    """Create the Workflow.

    Raises
    ------
    ClusterError
        If the flow is not deployed, its deployed version lacks a parameter or has another datastore than is asked
        for, a value cannot be given to Argo, or the cluster refuses.
    """
    local = template_of(order.files)
    name = str(local["metadata"]["name"])
    deployed = cluster.get("WorkflowTemplate", name)
    if deployed is None:
        raise ClusterError(
            f"the flow is not deployed: namespace {cluster.namespace} of {cluster.name} has no WorkflowTemplate "
            f"{name}; deploy it first: flowc deploy FILE --target argo"
        )
    _check_store(order, name, local["spec"], deployed["spec"])
    declared = {item["name"]: item for item in (deployed["spec"].get("arguments") or {}).get("parameters") or ()}
    texts = {key: _text(name, key, text, order.values.get(key)) for key, text in order.given.items()}
    lacking = [key for key in texts if key not in declared]
    needed = [key for key, item in declared.items() if "value" not in item and key not in texts]
    if lacking or needed:
        what = f"knows no parameter {lacking[0]}" if lacking else f"needs the parameter {needed[0]}"
        raise ClusterError(
            f"the version of {name} that is deployed in namespace {cluster.namespace} {what}; deploy the flow as it is "
            "now: flowc deploy FILE --target argo"
        )
    _check_size(declared, texts)
    notes: tuple[str, ...] = ()
    if way_of(local["spec"]) != way_of(deployed["spec"]):
        notes = (
            "the flow was deployed with another --code, so it is not seen whether it has changed since; the deployed "
            "version runs; give submit the same --code to see it",
        )
    elif code_of(local["spec"]) != code_of(deployed["spec"]):
        notes = (
            "the flow's code or options differ from what is deployed, and the deployed version runs; "
            "to bring it up to date: flowc deploy FILE --target argo",
        )
    workflow = workflow_of(name, local["metadata"]["labels"], texts)
    return Submitted(cluster.create("Workflow", workflow), notes)


def workflow_of(template: str, labels: Mapping[str, str], parameters: Mapping[str, str]) -> Object:
    """The Workflow, made of the typed models of the package argo-workflows."""
    try:
        from argo_workflows.api_client import ApiClient
        from argo_workflows.model.io_argoproj_workflow_v1alpha1_arguments import IoArgoprojWorkflowV1alpha1Arguments
        from argo_workflows.model.io_argoproj_workflow_v1alpha1_parameter import IoArgoprojWorkflowV1alpha1Parameter
        from argo_workflows.model.io_argoproj_workflow_v1alpha1_workflow import IoArgoprojWorkflowV1alpha1Workflow
        from argo_workflows.model.io_argoproj_workflow_v1alpha1_workflow_spec import (
            IoArgoprojWorkflowV1alpha1WorkflowSpec,
        )
        from argo_workflows.model.io_argoproj_workflow_v1alpha1_workflow_template_ref import (
            IoArgoprojWorkflowV1alpha1WorkflowTemplateRef,
        )
        from argo_workflows.model.object_meta import ObjectMeta
    except ImportError:
        raise ClusterError(
            "the Python package argo-workflows is missing; install it with: pip install 'flowc[argo]'"
        ) from None
    spec: dict[str, Any] = {"workflow_template_ref": IoArgoprojWorkflowV1alpha1WorkflowTemplateRef(name=template)}
    if parameters:
        given = [IoArgoprojWorkflowV1alpha1Parameter(name=key, value=text) for key, text in parameters.items()]
        spec["arguments"] = IoArgoprojWorkflowV1alpha1Arguments(parameters=given)
    kept = {key: text for key, text in labels.items() if key.startswith("flowc/")}
    workflow = IoArgoprojWorkflowV1alpha1Workflow(
        api_version="argoproj.io/v1alpha1",
        kind="Workflow",
        metadata=ObjectMeta(
            generate_name=f"{template}-", labels={FLOW_LABEL: template, **kept, _TEMPLATE_LABEL: template}
        ),
        spec=IoArgoprojWorkflowV1alpha1WorkflowSpec(**spec),
    )
    out: Object = ApiClient.sanitize_for_serialization(workflow)
    return out


def _check_store(order: Order, name: str, local: Mapping[str, Any], deployed: Mapping[str, Any]) -> None:
    """Raise a `ClusterError` where a datastore is asked for that is not the one of the deployed flow."""
    asked = json.loads(order.files[BUNDLE]).get("datastore")
    if asked is None or store_of(local) == store_of(deployed):
        return
    raise ClusterError(
        f"runs of {name} keep their data in {store_of(deployed)}, for which it was deployed, not in {asked}: leave "
        f"--datastore out, or deploy the flow for that one: flowc deploy FILE --target argo --datastore {asked}"
    )


def _check_size(declared: Mapping[str, Mapping[str, Any]], texts: Mapping[str, str]) -> None:
    """Raise a `ClusterError` where the first task could not be started for the length of its parameters."""
    merged = {key: {**item, **({"value": texts[key]} if key in texts else {})} for key, item in declared.items()}
    size = variable_size(merged.values())
    if not texts or size <= ENVIRONMENT:
        return
    largest = max(texts, key=lambda key: len(texts[key].encode("utf-8", "surrogatepass")))
    own = len(texts[largest].encode("utf-8", "surrogatepass"))
    raise ClusterError(
        f"the parameters come to {size} bytes as Argo hands them on (base64 of JSON), and Linux starts no program with "
        f"a variable of more than {ENVIRONMENT}; the longest value that was given is that of {largest}, with {own} "
        "bytes: put it where the tasks can read it, and give its address"
    )


def _text(flow: str, name: str, text: str, value: Any) -> str:
    """A value as Argo takes it; truth values have the two words of the template's enum."""
    if isinstance(value, IncludedFile):
        raise ClusterError(
            f"parameter {name} is a file, and no file of this machine is sent to Argo with a run: make {text} its "
            "default, so that it travels with the flow (flowc deploy FILE --target argo), or name a path that the pods "
            f"find, in their image or on a claim: argo submit --from workflowtemplate/{flow} -p {name}=PATH"
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    if "{{" in text:
        raise ClusterError(f"the value of {name} holds '{{{{', which Argo would replace; it cannot be given there")
    return text
