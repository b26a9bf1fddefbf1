"""A wide foreach: Argo keeps all nodes of a Workflow in one object of 1 MiB, so it must keep little of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from argo_cluster import report
from argo_workflow import Workflow
from flow_argo import Argo
from flow_shapes import FULL
from flow_target import Finished
from test_scale import WIDE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if FULL else 120)]


def kept(workflow: Workflow) -> dict[str, int]:
    """The most that Argo keeps of what was handed to or by a node of each template, or said of it."""
    assert workflow.exit is not None
    sizes: dict[str, int] = {}
    for node in [*workflow.root.all(), *workflow.exit.all()]:
        size = len(json.dumps([node.inputs, node.outputs, node.message]))
        sizes[node.template] = max(sizes.get(node.template, 0), size)
    return sizes


@pytest.mark.parametrize("width", [6, *([2000] if FULL else [])])
def test_what_argo_keeps_of_a_task_does_not_grow_with_the_items(
    width: int, target: Argo, write_flow: Callable[..., Path]
) -> None:
    file = write_flow(WIDE)
    with target.workflow(file, {"width": 2}) as (cluster, narrow):
        cluster.ended(narrow)
        # By the same manifests: nothing in them knows how many items there will be.
        (template,) = cluster.templates
        wide = cluster.ended(cluster.workflow(template, {"width": str(width)}), timeout=1700)
    run = target.view(wide, file, {"width": width}, Finished(0, "", report(wide)))
    assert run.artifact("end", "total") == sum(n * n for n in range(width)) and run.artifact("end", "count") == width
    assert sum(node.is_pod for node in wide.root.all()) == width + 3
    few, many = kept(narrow), kept(wide)
    assert few.keys() == many.keys() and {"start", "work", "join"} <= few.keys()
    # A number is longer by its digits.
    assert max(many[name] - few[name] for name in few) <= len(str(width)) - 1
