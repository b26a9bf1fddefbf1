"""The documentation says what the code does, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import flowc
import pytest
from flowc.dsl.decorators import SPECIFICATIONS

HOUSE = Path(__file__).resolve().parents[2]
DOCS = HOUSE / "docs"
PAGES = sorted(
    [HOUSE / "README.md", *DOCS.glob("*.md"), *(HOUSE / "examples").rglob("*.md"), *(HOUSE / "benchmarks").glob("*.md")]
)
_CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(generate: ModuleType) -> None:
    pages = generate.pages()
    assert {page.name for page in pages} == {"dsl.md", "cli.md", "diagnostics.md", "slurm.md"}
    for page, text in pages.items():
        assert page.read_text("utf-8") == text, f"{page.name} is old; run make docs"


def test_every_decorator_and_option_is_documented() -> None:
    text = (DOCS / "dsl.md").read_text("utf-8")
    sections = dict(re.findall(r"^### @(\w+)\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE))
    assert set(sections) == {spec.label for spec in SPECIFICATIONS}
    for spec in SPECIFICATIONS:
        for option in spec.defaults():
            assert f"`{option}=" in sections[spec.label], f"@{spec.label} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_links_lead_somewhere(page: Path) -> None:
    text = _CODE.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_index_lists_every_page() -> None:
    text = (DOCS / "index.md").read_text("utf-8")
    for page in DOCS.glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in text, page.name


# The examples in the page of diagnostics are wrong on purpose; tests of the compiler see to them.
@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.name != "diagnostics.md"], ids=lambda page: str(page.relative_to(HOUSE))
)
def test_python_in_the_pages_is_python_and_imports_what_is_there(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        compile(block, str(page), "exec")
        for names in re.findall(r"^from flowc import (.+)$", block, re.MULTILINE):
            for name in names.split(", "):
                assert hasattr(flowc, name), f"{page.name} imports {name}"
