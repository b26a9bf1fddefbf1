"""The manifests beside the examples are what the tree compiles these to."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from flow_in_process import compiled
from flowc.backends.manifests import differences, produce, verify

_FILE = Path(__file__).resolve().parents[2] / "examples" / "compile.py"
_SPEC = importlib.util.spec_from_file_location("compile_examples", _FILE)
assert _SPEC is not None and _SPEC.loader is not None
examples = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(examples)

PAIRS = [(example, target) for example in examples.EXAMPLES for target in examples.TARGETS]


@pytest.mark.parametrize(("example", "target"), PAIRS, ids=[f"{example.name}-{target}" for example, target in PAIRS])
def test_manifests_are_current_and_describe_the_flow(example: Path, target: str) -> None:
    folder = example / "manifests" / target
    compilation = compiled(example / "flow.py")
    assert list(compilation.diagnostics) == []
    produced = produce(compilation, target)
    refused = examples.REFUSED.get((example.name, target))
    if refused is not None:
        assert produced.files is None and [item.code for item in produced.diagnostics if item.is_error] == [refused]
        assert not folder.exists()
        return
    assert produced.files is not None, produced.diagnostics
    found = list(differences(str(folder), produced.files))
    assert not found, "\n".join(["run `make manifests`, this is out of date:", *found[:60]])
    assert verify(str(folder)) == []
