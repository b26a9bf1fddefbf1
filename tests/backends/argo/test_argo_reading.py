"""Manifests that say something else than their Plan are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from argo_flows import compiled
from flow_shapes import SHAPES
from flow_tangles import tangled, tangles
from flow_text import FlowText
from flow_trees import flows
from flowc.backends.argo.backend import BACKEND
from flowc.backends.base import EmitSettings, Unfaithful
from flowc.compiler import compile_flow
from hypothesis import given, settings

FLOW = """
from flowc import *

@schedule(daily=True)
class MyFlow(FlowSpec):
    n = Parameter("n", default=2)

    @step
    def start(self):
        self.way = "left"
        self.next({"left": self.left, "right": self.right, "past": self.meet}, condition="way")

    @environment(vars={"A": "b"})
    @kubernetes(memory=2048)
    @secrets(sources=["token"])
    @retry(times=2)
    @timeout(minutes=2)
    @step
    def left(self):
        self.next(self.meet)

    @catch
    @step
    def right(self):
        self.next(self.meet)

    @step
    def meet(self):
        self.items = [1]
        self.next(self.work, foreach="items")

    @step
    def work(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.train, num_parallel=2)

    @parallel
    @step
    def train(self):
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.again = "no"
        self.next({"yes": self.meet, "no": self.end}, condition="again")

    @step
    def end(self):
        pass
"""

Change = Callable[[dict[str, Any]], None]


def templates(spec: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item for item in spec["templates"]}


def tasks(spec: dict[str, Any], dag: str) -> dict[str, Any]:
    return {item["name"]: item for item in templates(spec)[dag]["dag"]["tasks"]}


def env(spec: dict[str, Any], name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = templates(spec)[name]["container"]["env"]
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    produced = compiled(tmp_path_factory.mktemp("flow"), FLOW)
    assert produced.files is not None
    return {name: data for name, data in produced.files.items() if name != "SHA256SUMS"}


CHANGES: dict[str, tuple[Change, str]] = {
    "a task waits for too little": (
        lambda spec: tasks(spec, "meet-loop")["join"].update(depends="meet.Succeeded"),
        "nothing leads from work to join|something leads from meet to join",
    ),
    "a case runs another step": (
        lambda spec: tasks(spec, "main")["left"].update(template="right"),
        "its condition speaks of left",
    ),
    "a case under the wrong condition": (
        lambda spec: tasks(spec, "main")["left"].update(when=tasks(spec, "main")["right"]["when"]),
        "condition speaks of right",
    ),
    "a case that goes straight on is forgotten": (
        lambda spec: tasks(spec, "main")["meet-loop"].update(depends="(left.Succeeded || right.Succeeded)"),
        "nothing leads from start to meet",
    ),
    "a loop that goes on without turning back": (
        lambda spec: templates(spec)["meet-loop"]["dag"]["tasks"].pop(), "nothing leads from gather to meet"
    ),
    "a fan-out that is none": (
        lambda spec: tasks(spec, "meet-loop")["work"].pop("withSequence"),
        r"nothing leads from meet to work \(foreach\)",
    ),
    "another step's command": (
        lambda spec: templates(spec)["left"]["container"].update(args=["step", "end"]), "no template runs step left"
    ),
    "a step that the flow has not": (
        lambda spec: templates(spec)["left"]["container"].update(args=["step", "other"]), "are no steps of the flow"
    ),
    "an end that is recorded in another image": (
        lambda spec: templates(spec)["record-end"]["container"].update(image="other:1"), "its image is not that of"
    ),
    "another variable": (lambda spec: env(spec, "left")[0].update(value="c"), "variable A"),
    "fewer retries": (lambda spec: templates(spec)["left"]["retryStrategy"].update(limit="1"), "tried 1 times more"),
    "another timeout": (
        lambda spec: templates(spec)["left"].update(activeDeadlineSeconds="60"), "it ends after 60 seconds, not 720"
    ),
    "a timeout of years": (
        lambda spec: templates(spec)["left"].update(activeDeadlineSeconds="99999999"), "ends after 99999999 .*, not 720"
    ),
    "a timeout where there is none": (
        lambda spec: templates(spec)["meet"].update(activeDeadlineSeconds=720), "it ends after 720 seconds, not None"
    ),
    "another time": (
        lambda spec: next(item for item in env(spec, "left") if item["name"] == "FLOWC_TIMEOUT").update(value="5"),
        "may take 5 seconds",
    ),
    "no attempts": (
        lambda spec: env(spec, "left").remove({"name": "FLOWC_ATTEMPT", "value": "{{retries}}"}), "have no numbers"
    ),
    "no rounds": (
        lambda spec: env(spec, "join").remove({"name": "FLOWC_ROUND", "value": "auto"}), "rounds are not counted"
    ),
    "another image": (
        lambda spec: templates(spec)["left"]["container"].update(image="other:1"), "its image is other:1, not python:"
    ),
    "less memory": (
        lambda spec: templates(spec)["left"]["container"]["resources"]["requests"].update(memory="1Mi"),
        "its requests are .*'memory': '1Mi'.*, not .*'memory': '2048Mi'",
    ),
    "a GPU that nobody asked for": (
        lambda spec: templates(spec)["left"]["container"]["resources"].update(limits={"nvidia.com/gpu": "1"}),
        "its limits are .*, not none",
    ),
    "no secrets": (lambda spec: templates(spec)["left"]["container"].pop("envFrom"), "its secrets are none"),
    "a decision that is not told": (lambda spec: templates(spec)["meet"].pop("outputs"), "does not say what"),
    "another default": (lambda spec: spec["arguments"]["parameters"][0].update(value="3"), "default of parameter n"),
    "a parameter more": (
        lambda spec: spec["arguments"]["parameters"].append({"name": "m", "value": ""}), "parameters are n, m"
    ),
    "code that is not mounted": (
        lambda spec: spec["volumes"][0]["projected"]["sources"][0]["configMap"].update(items=[
            {"key": "plan.json", "path": "plan.json"}
        ]),
        "do not hold the code",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_a_template_that_says_something_else(name: str, files: dict[str, bytes]) -> None:
    change, words = CHANGES[name]
    document = yaml.safe_load(files["workflow-template.yaml"])
    change(document["spec"])
    with pytest.raises(Unfaithful, match=words):
        BACKEND.read({**files, "workflow-template.yaml": yaml.safe_dump(document, sort_keys=False).encode()})


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("code.yaml", "self.items = [1]", "self.items = [2]", "do not hold the code"),
        ("code.yaml", "immutable: true", "immutable: false", "can be changed"),
        ("bundle.json", '"argo"', '"slurm"', "bundle.json speaks"),
        ("bundle.json", "bundled", "installed", "disagree"),
        ("cron-workflow.yaml", "0 0 * * *", "1 0 * * *", "schedule"),
        ("kustomization.yaml", "- rbac.yaml", "- other.yaml", "does not list"),
        ("workflow-template.yaml", "kind: WorkflowTemplate", "kind: Workflow", "not one"),
    ],
)
def test_other_files_that_say_something_else(
    file: str, old: str, new: str, words: str, files: dict[str, bytes]
) -> None:
    text = files[file].decode()
    if file == "kustomization.yaml":
        assert "[code.yaml, cron-workflow.yaml, rbac.yaml" in text
        text = text.replace("[code.yaml, cron-workflow.yaml, rbac.yaml", "[code.yaml, cron-workflow.yaml, other.yaml")
    else:
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(Unfaithful, match=words):
        BACKEND.read({**files, file: text.encode()})


@pytest.mark.parametrize("name", ["workflow-template.yaml", "code.yaml", "bundle.json"])
def test_files_that_are_missing_or_broken(name: str, files: dict[str, bytes]) -> None:
    for broken in (
        {key: data for key, data in files.items() if key != name},
        {**files, name: b"{"},
        {**files, name: b""},
    ):
        with pytest.raises(Unfaithful):
            BACKEND.read(broken)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read_back(shape: str, tmp_path: Path) -> None:
    assert compiled(tmp_path, FlowText(SHAPES[shape]).text(), code="installed").files is not None


@pytest.mark.slow
@given(flows())
@settings(max_examples=15)
def test_random_flows_are_read_back(tmp_path_factory: pytest.TempPathFactory, seq: Any) -> None:
    file = tmp_path_factory.mktemp("flow") / "flow.py"
    file.write_text(FlowText(seq).text())
    result = compile_flow(str(file))
    assert result.package is not None
    plan = result.require()
    settings = EmitSettings(result.package.read(), result.package.main, code="installed")
    assert BACKEND.read(BACKEND.emit(plan, settings)) == plan


@given(tangles())
@settings(max_examples=20)
def test_tangles_are_read_back(tmp_path_factory: pytest.TempPathFactory, onward: dict[str, tuple[str, ...]]) -> None:
    assert compiled(tmp_path_factory.mktemp("flow"), tangled(onward), code="installed").files is not None
