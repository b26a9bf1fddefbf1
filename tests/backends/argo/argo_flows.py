"""Flows compiled for Argo, and the strict check of what comes of them by the real schemas."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from flowc.backends.manifests import Produced, produce
from flowc.compiler import compile_flow
from flowc.compiler.codes.code import whole_flow

VERSIONS = ("v4.1.2", "v3.7.18")
# Asked at import: before a test runs, a fixture removes the variables of flowc.
_CRDCHECK = Path(
    os.environ.get("FLOWC_CRDCHECK", Path(__file__).resolve().parents[4] / "shared" / "k8s" / "crdcheck.py")
)

GANG = """
ranks = Parameter("ranks", default=2)

@step
def start(self):
    self.next(self.train, num_parallel=self.ranks)

{decorators}
@torchrun
@step
def train(self):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
"""

ONE = """
{decorators}
@step
def start(self):
    self.next(self.end)
"""


def compiled(folder: Path, text: str, **settings: Any) -> Produced:
    """A flow from its steps (or whole class), compiled for Argo."""
    source = whole_flow(text) if "import" not in text.split("class ")[0] else text
    file = folder / "flow.py"
    if file.exists() and file.read_text() != source:
        # Python keeps the lines of a file that it has loaded.
        file = folder / f"flow_{len(list(folder.iterdir()))}.py"
    file.write_text(source)
    result = compile_flow(str(file))
    assert result.ok, [item.message for item in result.diagnostics]
    return produce(result, "argo", **settings)


def documents(produced: Produced, kind: str = "") -> list[dict[str, Any]]:
    """The objects of all files, perhaps of one kind only."""
    assert produced.files is not None, [item.message for item in produced.diagnostics]
    found = [
        item
        for name, data in produced.files.items()
        if name.endswith(".yaml")
        for item in yaml.load_all(data.decode(), Loader=yaml.CSafeLoader)
    ]
    return [item for item in found if not kind or item["kind"] == kind]


def workflow(produced: Produced) -> dict[str, Any]:
    """``spec`` of the WorkflowTemplate."""
    (found,) = documents(produced, "WorkflowTemplate")
    return dict(found["spec"])


def template(produced: Produced, name: str) -> dict[str, Any]:
    """One template by name."""
    return next(item for item in workflow(produced)["templates"] if item["name"] == name)


def jobset(produced: Produced, name: str = "train", **filled: str) -> dict[str, Any]:
    """The JobSet of a gang as Argo would create it."""
    return jobset_of(template(produced, name), **filled)


def jobset_of(gang: Mapping[str, Any], **filled: str) -> dict[str, Any]:
    """The same of a gang's template."""
    values = {"inputs.parameters.size": "3", "workflow.name": "myflow-abcde", "retries": "1", **filled}
    text = gang["resource"]["manifest"]
    return dict(yaml.load(re.sub(r"\{\{([^{}]+)\}\}", lambda hole: values[hole[1]], text), Loader=yaml.CSafeLoader))


@functools.cache
def _crdcheck() -> ModuleType | None:
    if not _CRDCHECK.is_file():
        return None
    spec = importlib.util.spec_from_file_location("crdcheck", _CRDCHECK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["crdcheck"] = module
    spec.loader.exec_module(module)
    _make_fast(module)
    return module


def _make_fast(module: ModuleType) -> None:
    """The same checks for hundreds of flows: YAML read by libyaml, each schema loaded and each rule asked once."""
    strict = module.StrictLoader

    class FastLoader(getattr(yaml, "CSafeLoader", strict)):  # type: ignore[misc]
        yaml_constructors = strict.yaml_constructors
        yaml_implicit_resolvers = strict.yaml_implicit_resolvers

        def get_single_node(self) -> Any:
            return _plain_scalars(super().get_single_node())

    module.StrictLoader = FastLoader  # type: ignore[attr-defined]
    asked: list[Rule] = []
    compiled, plain = module._cel, module._plain

    class Rule:
        """A rule in CEL. It sees no fields but those that it names; without the others many objects are equal."""

        def __init__(self, text: str) -> None:
            self.program = compiled(text)
            self.names = frozenset(re.findall(r"\.([A-Za-z_]\w*)", text))
            self.answers: dict[str, Any] = {}

        def evaluate(self, values: Mapping[str, Any]) -> Any:
            asked.clear()
            key = repr(values)
            if key not in self.answers:
                self.answers[key] = self.program.evaluate(values)
            return self.answers[key]

    rule_of = functools.cache(Rule)

    def rule(text: str) -> Rule:
        asked[:] = [rule_of(text)]
        return asked[0]

    def seen(value: Any) -> Any:
        return _only(plain(value), asked[0].names) if asked else plain(value)

    module._cel, module._plain = rule, seen  # type: ignore[attr-defined]
    import kubernetes_validate.utils as validating

    validating.schema_contents = functools.cache(validating.schema_contents)


def _only(value: Any, names: frozenset[str]) -> Any:
    """A value with no other fields than these, however deep. Of a list, each item once: rules ask for all or any."""
    if isinstance(value, dict):
        return {key: _only(value[key], names) for key in sorted(value) if key in names}
    if isinstance(value, list):
        items = {repr(item): item for item in (_only(item, names) for item in value)}
        return [items[key] for key in sorted(items)]
    return value


def _plain_scalars(root: Any) -> Any:
    """Nodes whose plain scalars have no style, as PyYAML has it; libyaml's have an empty one."""
    todo = [root]
    while todo:
        node = todo.pop()
        if node.id == "scalar":
            node.style = node.style or None
        else:
            todo += node.value if node.id == "sequence" else [part for pair in node.value for part in pair]
    return root


@functools.cache
def _schemas(version: str) -> Any:
    module = _crdcheck()
    assert module is not None
    return module.CRDs(module.SCHEMAS / f"argo-workflows-{version}.json", module.SCHEMAS / "jobset-v0.12.0.json")


def schema_errors(files: Mapping[str, bytes], version: str = VERSIONS[0], *, code: bool = False) -> list[str]:
    """What the real schemas say of manifests; ``code``: also of the ConfigMaps, which are large and all alike."""
    module = _crdcheck()
    if module is None:
        pytest.skip("not here: the schemas of Argo and JobSet (FLOWC_CRDCHECK=.../crdcheck.py)")
    names = [name for name in files if name.endswith(".yaml") and name != "kustomization.yaml"]
    return [
        f"{name}: {error}"
        for name in names
        if code or name not in ("code.yaml", "runtime.yaml")
        for item in yaml.load_all(files[name].decode(), Loader=module.StrictLoader)
        for error in module.check_document(item, _schemas(version))
    ]


def job_errors(jobset: Mapping[str, Any]) -> list[str]:
    """What is wrong with the Jobs that a JobSet's controller would make of it."""
    import kubernetes_validate

    found = []
    for replicated in jobset["spec"]["replicatedJobs"]:
        name = f"{jobset['metadata']['generateName']}abcde-{replicated['name']}-0"
        spec = replicated["template"]["spec"]
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
        try:
            kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(error.message)
    return found
