"""The semantics on Argo: the same flows and the same assertions as on this machine, by the manifests in the lab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import test_parameters_of_runs as parameters
import test_retries as retries
import test_shapes as shapes
from flow_argo import Argo
from flow_shapes import CROSSED
from hosts_lab import HostsLab, require_lab

WriteFlow = Callable[..., Path]
ALL = dict.fromkeys([*CROSSED, "switch_past", "foreach_none", "gang_in_branch", "loop_of_one_step", "loop_of_gang"])
FEW = CROSSED if len(CROSSED) > 20 else ("gang_in_foreach", "loop_of_foreach")


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


@pytest.mark.parametrize("crash", ["exit", "signal"])
def test_a_caught_crash_goes_on_from_the_parents(crash: str, target: Argo, write_flow: WriteFlow) -> None:
    retries.test_a_caught_crash_goes_on_from_the_parents("foreach", "work", crash, target, write_flow)


@pytest.mark.parametrize(
    ("shape", "victim", "crash"),
    [
        ("linear", "a", "exit"),
        ("foreach", "work", "signal"),
        ("gang", "train", "signal"),
        ("branch", "join", "sys.exit"),
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
