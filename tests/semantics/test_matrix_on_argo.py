"""The semantics on Argo: the same flows and the same assertions as on this machine, by the manifests in the lab."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest
import test_current as currents
import test_merges as merges
import test_parameters_of_runs as parameters
import test_resume as resumes
import test_retries as retries
import test_shapes as shapes
from argo_cluster import report
from flow_argo import Argo
from flow_checks import assert_as_reference
from flow_reference import Reference
from flow_shapes import CORE, FULL, SHAPES
from flow_target import Finished, until
from flow_text import FlowText
from hosts_lab import HostsLab, require_lab

pytestmark = pytest.mark.slow

WriteFlow = Callable[..., Path]
ALL = (
    tuple(SHAPES)
    if FULL
    else (*CORE, "switch_past", "foreach_none", "gang_in_branch", "loop_of_one_step", "loop_of_gang")
)
FEW = tuple(SHAPES) if FULL else ("gang_in_foreach", "loop_of_foreach")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pods of all tests keep compiled modules."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def target(tmp_path: Path, compiled: Path) -> Argo:
    """The target of every test here."""
    require_lab()
    return Argo(tmp_path, compiled)


@pytest.mark.parametrize("shape", ALL)
def test_shapes(shape: str, target: Argo, write_flow: WriteFlow) -> None:
    shapes.test_a_shape_runs_as_its_reference_says(shape, "flowc", target, write_flow)


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


@pytest.mark.parametrize("shape", FEW)
def test_decorators_that_have_nothing_to_do(shape: str, target: Argo, write_flow: WriteFlow) -> None:
    shapes.test_decorators_that_have_nothing_to_do_change_nothing(shape, target, write_flow)


@pytest.mark.parametrize("shape", FEW)
def test_every_other_task_fails_once(shape: str, target: Argo, write_flow: WriteFlow) -> None:
    retries.test_every_other_task_fails_once(shape, target, write_flow)


@pytest.mark.parametrize(("shape", "failing"), [("gang", "raise ValueError('rank')"), ("loop_of_gang", "os._exit(9)")])
def test_a_gang_is_retried_as_a_whole(shape: str, failing: str, target: Argo, write_flow: WriteFlow) -> None:
    retries.test_a_gang_is_retried_as_a_whole(shape, failing, target, write_flow)


@pytest.mark.parametrize("shape", FEW)
def test_retries_run_out(shape: str, target: Argo, write_flow: WriteFlow) -> None:
    retries.test_retries_run_out(shape, target, write_flow)


@pytest.mark.parametrize("shape", FEW)
def test_caught_exceptions(shape: str, target: Argo, write_flow: WriteFlow) -> None:
    retries.test_caught_exceptions_everywhere(shape, target, write_flow)


@pytest.mark.parametrize("crash", ["exit", "signal", "timeout"])
def test_a_caught_crash_goes_on_from_the_parents(crash: str, target: Argo, write_flow: WriteFlow) -> None:
    retries.test_a_caught_crash_goes_on_from_the_parents("foreach", "work", crash, target, write_flow)


@pytest.mark.parametrize(
    ("shape", "victim", "crash"),
    [
        ("linear", "a", "exit"),
        ("foreach", "work", "signal"),
        ("gang", "train", "signal"),
        ("branch", "join", "sys.exit"),
        ("linear", "a", "timeout"),
        ("gang", "train", "timeout"),
    ],
)
def test_a_crash_is_reported(shape: str, victim: str, crash: str, target: Argo, write_flow: WriteFlow) -> None:
    retries.test_a_crash_is_reported(shape, victim, crash, target, write_flow)


def test_decorators_from_the_command_line(target: Argo, write_flow: WriteFlow) -> None:
    retries.test_with_specs_put_decorators_on_every_step(target, write_flow)


def test_defaults_of_parameters(target: Argo, write_flow: WriteFlow) -> None:
    parameters.test_defaults("flowc", target, write_flow)


def test_given_parameters(target: Argo, write_flow: WriteFlow) -> None:
    parameters.test_given_values(target, write_flow)


def test_the_wait_between_retries(target: Argo, write_flow: WriteFlow) -> None:
    flow = FlowText(SHAPES["linear"]).put(
        "a",
        ["@retry(times=2, minutes_between_retries=0.01, backoff=2.5)"],
        ["trace(self, 'time', at=time.time())", "if current.retry_count < 2:\n    raise ValueError('not yet')"],
    )
    run = target.run(write_flow(flow.text()))
    times = [line["at"] for line in run.trace() if line["event"] == "time"]
    # 0.6 s and 1.5 s, and the start of a pod each time.
    assert times[1] - times[0] >= 0.6 and times[2] - times[1] >= 1.5
    # The flow's file as it is mounted, not where the kubelet keeps it.
    said = run.log("a", "stderr", 0)
    assert 'File "/flowc/code/flow/flow.py"' in said and "/.." not in said


# Merges ---------------------------------------------------------------------------------------------------------------


def test_merges(target: Argo, write_flow: WriteFlow) -> None:
    changed = "self.clash = 3; self.changed = inputs.a.changed + inputs.b.changed; self.merge_artifacts(inputs)"
    left = ["both", "changed", "clash", "only_a", "only_b", "same"]
    merges.test_merge(changed, left, target, write_flow)


def test_inputs_by_order_index_and_name(target: Argo, write_flow: WriteFlow) -> None:
    merges.test_inputs_by_order_index_and_name("flowc", target, write_flow)


def test_the_ranks_of_a_gang_in_order(target: Argo, write_flow: WriteFlow) -> None:
    merges.test_the_ranks_of_a_gang_in_order(3, target, write_flow)


def test_checkpoints(target: Argo, write_flow: WriteFlow) -> None:
    currents.test_an_attempt_goes_on_from_the_checkpoint_of_the_one_before(target, write_flow)  # type: ignore[arg-type]


# Gangs that cannot start ----------------------------------------------------------------------------------------------


class Hurried(Argo):
    """Manifests as they are, but for a deadline that nobody has to wait an hour for."""

    hurry: tuple[str, str] = ("", "")

    def compile(self, flow_file: Path, with_: Iterable[str], env: Mapping[str, str] | None) -> dict[str, bytes]:
        made = super().compile(flow_file, with_, env)
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


# Resuming and interrupting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "victim"), [("loop_of_foreach", "work"), ("gang_in_foreach", "gang_join")])
def test_a_run_that_failed_is_resumed_elsewhere(shape: str, victim: str, target: Argo, write_flow: WriteFlow) -> None:
    resumes.test_resume_goes_on_where_the_run_failed(shape, victim, target, write_flow)


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
