"""Every code of the registry: its wrong example gives it, where marked, and nothing else; the mended one is clean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flowc.backends.base import check_capabilities, get_backend, get_capabilities
from flowc.compiler import Compilation, Diagnostic, Severity, compile_flow
from flowc.compiler.codes import CODES, SECTIONS
from flowc.compiler.codes.code import MARK, Code, whole_flow
from flowc.compiler.diagnostics_page import page

Writer = Callable[..., Path]
EXAMPLES = [item for item in CODES.values() if item.form == "flow"]
MILD = dict.fromkeys(("FC218", "FC307", "FC309", "FC406", "FC407"), Severity.WARNING)
# Limits that no target has at present.
NARROWER: dict[str, dict[str, Any]] = {
    "FC401": {"frameworks": frozenset({"parallel"})},
    "FC405": {"loops": False},
}


def compiled(write_flow: Writer, text: str) -> Compilation:
    return compile_flow(str(write_flow(text)))


def findings(result: Compilation, item: Code) -> list[Diagnostic]:
    found = list(result.diagnostics)
    if item.target and result.plan is not None:
        able = replace(get_capabilities(item.target), **NARROWER.get(item.code, {}))
        found.extend(check_capabilities(result.plan, able))
        found.extend(get_backend(item.target).check(result.plan))
    return found


@pytest.mark.parametrize("item", EXAMPLES, ids=lambda item: item.code)
def test_wrong_example(item: Code, write_flow: Writer) -> None:
    text = whole_flow(item.wrong)
    marked = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith(MARK)]
    assert len(marked) == 1, "a wrong example marks one line"
    result = compiled(write_flow, text)
    found = findings(result, item)
    assert [(d.code, d.span.line if d.span else None) for d in found] == [(item.code, marked[0])]
    assert found[0].severity is MILD.get(item.code, Severity.ERROR)
    assert result.ok is (found[0].severity is not Severity.ERROR or bool(item.target))
    assert found[0].message and (found[0].help or not found[0].is_error)


@pytest.mark.parametrize("item", EXAMPLES, ids=lambda item: item.code)
def test_mended_example(item: Code, write_flow: Writer) -> None:
    result = compiled(write_flow, whole_flow(item.mended))
    assert findings(result, item) == []
    assert result.ok


def test_codes_are_in_order_and_of_their_section() -> None:
    for position, group in enumerate(SECTIONS.values()):
        codes = [item.code for item in group]
        assert codes == sorted(codes)
        assert all(code.startswith(f"FC{position}") for code in codes)
    assert len(CODES) == sum(map(len, SECTIONS.values()))


def test_every_code_that_the_compiler_gives_is_registered() -> None:
    import re

    import flowc

    root = Path(str(flowc.__file__)).parent
    used = set()
    for file in [*(root / "compiler").rglob("*.py"), *(root / "backends").rglob("*.py")]:
        if "codes" not in file.parts:
            used |= set(re.findall(r'"(FC\d{3})"', file.read_text()))
    assert used == set(CODES)


def test_the_page_is_up_to_date() -> None:
    import flowc

    written = Path(str(flowc.__file__)).parent / "docs" / "diagnostics.md"
    assert written.read_text() == page(), "run python -m flowc.compiler.diagnostics_page"


def test_the_page_has_every_code_once() -> None:
    text = page()
    for code, item in CODES.items():
        assert text.count(f"\n### {code}\n") == 1
        assert f"**{item.title}.**" in text
