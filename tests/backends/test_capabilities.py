"""What targets can do, and what flowc says where a flow asks for more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from flowc.backends.base import (
    TARGETS,
    Backend,
    CannotEmit,
    EmitSettings,
    UnknownTarget,
    check_capabilities,
    get_backend,
    get_capabilities,
)
from flowc.compiler import Severity, compile_flow
from flowc.compiler.codes.code import whole_flow
from flowc.compiler.plan import Plan
from flowc.dsl.decorators import BY_LABEL, FRAMEWORKS, SPECIFICATIONS

Writer = Callable[..., Path]

FLOW = """
@schedule(daily=True)
class MyFlow(FlowSpec):
    @pypi(packages={})
    @secrets(sources=["a"])
    @secrets(sources=["b"])
    @resources(cpu=4, disk=100)
    @step
    def start(self):
        self.next(self.work)

    @pypi(packages={})
    @checkpoint
    @kubernetes(compute_pool="x", cpu=1)
    @step
    def work(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""


@pytest.fixture
def plan(write_flow: Writer) -> Plan:
    return compile_flow(str(write_flow(whole_flow(FLOW)))).require()


@pytest.mark.parametrize("name", TARGETS)
def test_tables_speak_of_what_there_is(name: str) -> None:
    table = get_capabilities(name)
    assert table.target == name and table.title
    frameworks = {"ray" if spec.label == "metaflow_ray" else spec.label for spec in FRAMEWORKS}
    assert table.frameworks <= frameworks
    assert table.features <= {spec.label for spec in SPECIFICATIONS}
    assert table.resources <= {"cpu", "memory", "gpu", "disk", "shared_memory"}
    if table.option_group:
        assert table.options <= {field.name for field in fields(BY_LABEL[table.option_group])}
    assert all(table.reserved_env)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_has_its_table_and_emits_or_says_that_it_cannot(name: str, plan: Plan) -> None:
    backend = get_backend(name)
    assert isinstance(backend, Backend)
    assert (backend.name, backend.capabilities) == (name, get_capabilities(name))
    try:
        files = backend.emit(plan, EmitSettings())
    except CannotEmit as error:
        assert "flowc run" in str(error) if name == "local" else f"--target {name}" in str(error)
    else:
        assert files and all(isinstance(data, bytes) for data in files.values())


def test_an_unknown_target() -> None:
    with pytest.raises(UnknownTarget, match="did you mean slurm"):
        get_backend("slrum")
    with pytest.raises(UnknownTarget, match="local, argo, batch or slurm"):
        get_backend("zzz")


def test_what_has_no_effect_is_said_once_by_name(plan: Plan) -> None:
    found = check_capabilities(plan, get_capabilities("local"))
    assert [(item.code, item.severity, item.message) for item in found] == [
        ("FC406", Severity.NOTE, "@schedule has no effect on this machine"),
        ("FC406", Severity.WARNING, "@pypi has no effect on this machine (step start and work)"),
        ("FC406", Severity.WARNING, "@secrets has no effect on this machine (step start)"),
        ("FC406", Severity.NOTE, "@resources(cpu, disk) has no effect on this machine (step start)"),
        ("FC406", Severity.NOTE, "@kubernetes has no effect on this machine (step work)"),
    ]
    assert all(item.span is not None for item in found)


def test_a_step_that_was_meant_for_a_cluster_is_named_where_it_runs_here(write_flow: Writer) -> None:
    text = whole_flow("@step\ndef start(self):\n    self.next(self.end)\n")
    plan = compile_flow(str(write_flow(text)), with_specs=["kubernetes", "slurm:time=5"]).require()
    found = check_capabilities(plan, get_capabilities("local"))
    assert [item.message for item in found] == [
        f"@{name} has no effect on this machine (step start and end)" for name in ("kubernetes", "slurm")
    ]


def test_options_of_another_target_are_left_alone(plan: Plan) -> None:
    batch = check_capabilities(plan, get_capabilities("batch"))
    assert [item.message for item in batch if item.code == "FC407"] == []
    argo = check_capabilities(plan, get_capabilities("argo"))
    assert [item.message for item in argo if item.code == "FC407"] == [
        "@kubernetes(compute_pool=...) has no effect on Argo Workflows (step work)"
    ]


def test_limits_are_inclusive(write_flow: Writer) -> None:
    text = whole_flow("@retry(times=9)\n@timeout(seconds=60)\n@step\ndef start(self):\n    self.next(self.end)\n")
    plan = compile_flow(str(write_flow(text))).require()
    assert check_capabilities(plan, get_capabilities("batch")) == []
    tighter = replace(get_capabilities("batch"), min_timeout=61, max_retries=8)
    assert sorted(item.code for item in check_capabilities(plan, tighter)) == ["FC402", "FC404"]
    assert all(item.is_error and item.help for item in check_capabilities(plan, tighter))


@pytest.mark.parametrize("name", ["batch", "argo", "slurm"])
def test_a_gang_of_unknown_size_is_left_to_the_run(name: str, write_flow: Writer) -> None:
    text = whole_flow(
        "@step\ndef start(self):\n    n = 3\n    self.next(self.train, num_parallel=n)\n\n"
        "@mpi\n@step\ndef train(self):\n    self.next(self.join)\n\n"
        "@step\ndef join(self, inputs):\n    self.next(self.end)\n"
    )
    plan = compile_flow(str(write_flow(text))).require()
    assert check_capabilities(plan, get_capabilities(name)) == []
