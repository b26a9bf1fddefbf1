"""The manifests beside the examples, by the real schemas of every version of Argo that flowc writes for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from argo_flows import VERSIONS, job_errors, jobset_of, schema_errors

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
FOLDERS = sorted(EXAMPLES.glob("*/manifests/argo"))
FILLED = {"inputs.parameters.index": "1"}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def gangs(folder: Path) -> list[dict[str, Any]]:
    """The templates that create a JobSet."""
    (found,) = yaml.load_all((folder / "workflow-template.yaml").read_text(), Loader=yaml.CSafeLoader)
    return [item for item in found["spec"]["templates"] if item.get("resource", {}).get("action") == "create"]


def test_there_are_examples_with_and_without_gangs() -> None:
    assert len({bool(gangs(folder)) for folder in FOLDERS}) == 2


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.parts[-3] for folder in FOLDERS])
def test_an_example_by_the_real_schemas(folder: Path, version: str) -> None:
    assert schema_errors(files(folder), version, code=True) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.parts[-3] for folder in FOLDERS])
def test_the_jobs_of_an_example(folder: Path) -> None:
    for gang in gangs(folder):
        assert job_errors(jobset_of(gang, **FILLED)) == [], gang["name"]
