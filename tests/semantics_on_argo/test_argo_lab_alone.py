"""What only the lab is asked: gangs with networks of their own, Jobs that cannot start, workflows that are stopped.

On a real cluster every pod has a network anyway, no Job is refused on demand, and nobody looks into the controllers;
what can be asked there about interrupted runs is in tests/e2e_argo/on_a_cluster.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import test_resume as resumes
import test_shapes as shapes
import yaml
from argo_cluster import report
from flow_argo import Argo
from flow_checks import assert_as_reference
from flow_reference import Reference
from flow_shapes import SHAPES
from flow_target import Finished, until
from flow_text import FlowText
from hosts_lab import HostsLab, require_lab

pytestmark = pytest.mark.slow

WriteFlow = Callable[..., Path]


@pytest.fixture
def on_hosts(compiled: Path) -> Iterator[Argo]:
    """Gangs with a network for every rank."""
    require_lab()
    with HostsLab(4) as hosts:
        folder = hosts.folder / "argo"
        folder.mkdir()
        yield Argo(folder, hosts.folder / "compiled", hosts.hosts)


@pytest.mark.parametrize("shape", ["gang", "gang_in_foreach"])
def test_gangs_on_hosts_of_their_own(shape: str, on_hosts: Argo, write_flow: WriteFlow) -> None:
    shapes.test_a_shape_runs_as_its_reference_says(shape, "metaflow", on_hosts, write_flow)


# Gangs that cannot start ----------------------------------------------------------------------------------------------


class Hurried(Argo):
    """Manifests as they are, but for a deadline that nobody has to wait an hour for."""

    hurry: tuple[str, str] = ("", "")

    def compile(
        self, flow_file: Path, with_: Iterable[str], env: Mapping[str, str] | None, options: Sequence[str] = ()
    ) -> dict[str, bytes]:
        made = super().compile(flow_file, with_, env, options)
        text = made["workflow-template.yaml"].decode()
        made["workflow-template.yaml"] = re.sub(*self.hurry, text).encode()
        assert made["workflow-template.yaml"].decode() != text
        return made


@pytest.mark.parametrize(
    ("trouble", "deadline"),
    # That of a Job is a number within the text of the JobSet, that of a template a text.
    [
        ("held", (r"activeDeadlineSeconds: \d+", "activeDeadlineSeconds: 2")),
        ("refused", (r"activeDeadlineSeconds: ['\"]\d+['\"]", "activeDeadlineSeconds: '2'")),
    ],
)
def test_a_gang_whose_job_cannot_start_ends_the_run(
    trouble: str, deadline: tuple[str, str], tmp_path: Path, compiled: Path, write_flow: WriteFlow
) -> None:
    require_lab()
    target = Hurried(tmp_path, compiled)
    target.hurry = deadline
    file = write_flow(FlowText(SHAPES["gang"]).text())
    with target.workflow(file) as (cluster, workflow):
        cluster.place.trouble_of_jobs = trouble
        cluster.ended(workflow)
        assert workflow.root.phase == "Failed" and workflow.exit is not None, report(workflow)
        assert workflow.exit.phase == "Succeeded", report(workflow)
        # A JobSet without a Job would be there for ever.
        assert cluster.running() == []
        assert [jobset.deleted or jobset.terminal == "Failed" for jobset in cluster.jobsets] == [True]
        view = target.view(workflow, file, None, Finished(1, "", report(workflow)))
    assert view.status["state"] == "failed", view.status
    assert "train" in str(view.status["failure"]), view.status


# The end of a run whose first record is lost --------------------------------------------------------------------------


class Evicted(Argo):
    """Manifests whose first pod that records the end is lost, as one is whose node is taken back."""

    def compile(
        self, flow_file: Path, with_: Iterable[str], env: Mapping[str, str] | None, options: Sequence[str] = ()
    ) -> dict[str, bytes]:
        made = super().compile(flow_file, with_, env, options)
        document = yaml.safe_load(made["workflow-template.yaml"])
        (record,) = [item for item in document["spec"]["templates"] if item["name"] == "record-end"]
        container = record["container"]
        once = 'mkdir /flowc/data/lost 2>/dev/null && exit 137; exec "$@"'
        container["command"] = ["sh", "-c", once, "sh", *container["command"]]
        made["workflow-template.yaml"] = yaml.safe_dump(document, sort_keys=False).encode()
        return made


@pytest.mark.parametrize("state", ["done", "failed"])
def test_an_end_whose_record_is_lost_is_recorded_again(
    state: str, tmp_path: Path, compiled: Path, write_flow: WriteFlow
) -> None:
    target = Evicted(tmp_path, compiled)
    text = FlowText(SHAPES["linear"])
    file = write_flow((text if state == "done" else text.put("b", body=["raise ValueError('bad')"])).text())
    with target.workflow(file) as (cluster, workflow):
        cluster.ended(workflow)
        assert workflow.exit is not None
        found = [(node.name.rpartition(".")[2], node.phase) for node in workflow.exit.children]
        tries = [("record-end", "Failed"), ("record-end-2", "Succeeded"), ("record-end-3", "Omitted")]
        assert found == tries and workflow.exit.phase == "Succeeded", report(workflow)
    view = target.view(workflow, file, None, Finished(0, "", ""))
    assert view.status["state"] == state and ("bad" in str(view.status["failure"])) == (state == "failed")


# Interrupting ---------------------------------------------------------------------------------------------------------


WAIT = "if not mended(self):\n    time.sleep(600)"


@pytest.mark.parametrize("way", ["stop", "terminate"])
@pytest.mark.parametrize(("shape", "step", "tasks"), [("foreach", "work", 3), ("gang", "train", 4)])
def test_an_interrupted_run_can_be_resumed(
    shape: str, step: str, tasks: int, way: str, target: Argo, write_flow: WriteFlow
) -> None:
    file = write_flow(FlowText(SHAPES[shape]).put(step, body=[WAIT]).text())
    trace = target.folder / "lab" / "trace"
    with target.workflow(file) as (cluster, workflow):
        running = cluster.begin(workflow)
        until(lambda: trace.exists() and trace.read_text().count(f'"begin", "here": "{step}/') >= tasks, 60)
        getattr(workflow, way)()
        running.join(30)
        said = report(workflow)
        assert not running.is_alive() and running.problem is None and workflow.root.phase == "Failed", said
        if way == "terminate" and shape == "gang":
            # Argo runs no exit handler then, and in this cluster ranks have no API to ask for their Workflow.
            assert len(cluster.running()) == 1
            cluster.jobsets[0].delete()
        assert cluster.running() == []
    view = target.view(workflow, file, None, Finished(1, "", said))
    # Nobody is left to say so after `argo terminate`.
    assert view.status["state"] == ("interrupted" if way == "stop" else "running")
    if way == "stop":
        resumes.mend(target)
        run = target.resume(view)
        reference = Reference(SHAPES[shape])
        copies = frozenset(address for address in reference.visits if run.record(address).origin is not None)
        assert "start" in copies
        assert_as_reference(run, reference, skip=copies)
