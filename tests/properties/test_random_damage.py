"""Random damage to legal flows: flowc says what is wrong, or runs what is left; it never crashes and never hangs."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flow_checks import assert_no_flowc_frames
from flow_in_process import compiled
from flow_shapes import SHAPES
from flow_target import Local
from flow_text import FlowText
from hypothesis import given, settings
from hypothesis import strategies as st

NUMBERS = itertools.count()
EXAMPLES = int(os.environ.get("FLOWC_EXAMPLES", "60"))
GARBAGE = [
    "self.next(self)",
    "self.next()",
    "return",
    "@step",
    "@retry(times='many')",
    "@parallel",
    "@catch(vra='x')",
    "@retry",
    "self.next(self.start)",
    "self.next(*[self.end])",
    "self.next(getattr(self, 'end'))",
    "x = = 1",
    ")",
    '"""',
    "\t\tpass",
    "def start(self):",
    "class ShapeFlow(FlowSpec):",
    "self.next(self.end, foreach=1)",
    "@step(start=True)",
    "\\",
    "é = 1",
    "self.next(self.end, num_parallel=0)",
    "self.next({}, condition='case')",
    "async def odd(self): await self",
    "yield 1",
    "self.next(self.end, foreach='todo', num_parallel=2)",
    "@timeout",
    "@timeout(seconds=-1)",
    "@environment(vars=3)",
    "start = 3",
    "lab = 4",
    "next = 5",
    "self.next(lambda: 1)",
    "@staticmethod",
    "@property",
    "del start",
    "import no_such",
    "@resources(memory='16 parsecs')",
    "self.input = 3",
    "raise ValueError('at import')",
    "@batch @kubernetes",
    "match x:",
]

CHARACTERS = [*"()[]{}'\"\\@:,.=\n\t #x0", "\0", "\ufeff"]
DAMAGES = ["delete", "double", "swap", "retarget", "no next", "undecorate", "garbage", "cut", "char", "indent"]


@st.composite
def damaged(draw: st.DrawFn, shapes: list[str]) -> str:
    """The source of a legal flow with one to three things done to its class."""
    flow = FlowText(SHAPES[draw(st.sampled_from(shapes))])
    for step in list(flow.steps):
        if draw(st.booleans()):
            flow.put(step, ["@retry(times=1, minutes_between_retries=0)", "@timeout(minutes=1)"])
    text = flow.text()
    at = text.index("class ShapeFlow")
    head, body = text[:at], text[at:]
    names = list(flow.steps)
    for _ in range(draw(st.integers(1, 3))):
        body = draw(one_damage(body, names))
    return head + body


@st.composite
def one_damage(draw: st.DrawFn, text: str, names: list[str]) -> str:
    """One thing done to a text."""
    lines = text.splitlines()
    if len(lines) < 2:
        return text
    kind = draw(st.sampled_from(DAMAGES))
    at = draw(st.integers(0, len(lines) - 1))
    if kind == "delete":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
    elif kind == "swap":
        other = draw(st.integers(0, len(lines) - 1))
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "retarget":
        places = [n for n, line in enumerate(lines) if "self.next" in line or "def " in line]
        if places:
            n = draw(st.sampled_from(places))
            old, new = draw(st.sampled_from(names)), draw(st.sampled_from([*names, "nowhere", "__init__"]))
            lines[n] = lines[n].replace(old, new)
    elif kind in ("no next", "undecorate"):
        places = [n for n, line in enumerate(lines) if ("self.next" if kind == "no next" else "@") in line]
        if places:
            del lines[draw(st.sampled_from(places))]
    elif kind == "garbage":
        indent = draw(st.sampled_from(["", "    ", "        "]))
        lines.insert(at, indent + draw(st.sampled_from(GARBAGE)))
    elif kind == "cut":
        joined = "\n".join(lines)
        return joined[: draw(st.integers(0, len(joined)))]
    elif kind == "char":
        joined = "\n".join(lines)
        place = draw(st.integers(0, max(0, len(joined) - 1)))
        return joined[:place] + draw(st.sampled_from(CHARACTERS)) + joined[place + 1 :]
    else:
        lines[at] = draw(st.sampled_from(["", " ", "    ", "        "])) + lines[at].lstrip()
    return "\n".join(lines) + "\n"


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """Fail what hangs."""

    def late(*_: Any) -> None:
        raise AssertionError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@settings(max_examples=5 * EXAMPLES)
@given(damaged(list(SHAPES)))
def test_a_damaged_flow_is_diagnosed_or_planned(text: str) -> None:
    from flowc.compiler.rendering import FORMATS

    with tempfile.TemporaryDirectory() as folder, no_longer_than(10):
        file = Path(folder) / f"damaged_{next(NUMBERS)}.py"
        file.write_text(text)
        compilation = compiled(file)
        assert (compilation.plan is None) == any(diagnostic.is_error for diagnostic in compilation.diagnostics)
        for diagnostic in compilation.diagnostics:
            assert diagnostic.message
            assert diagnostic.span is None or diagnostic.span.line >= 1
        for render in FORMATS.values():
            render(compilation.diagnostics, compilation.sources)


@pytest.mark.slow
@settings(max_examples=max(10, EXAMPLES // 2))
@given(damaged([name for name in SHAPES if "loop" not in name]))
def test_a_damaged_flow_runs_or_says_why_not(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flow.py"
        file.write_text(text)
        lab = Path(folder) / "lab"
        lab.mkdir()
        arguments = ["--lab", str(lab)] if "lab = Parameter" in text else []
        finished = Local(Path(folder)).command("run", str(file), *arguments, timeout=30)
        assert finished.returncode in (0, 1, 2), finished.said
        assert finished.returncode == 0 or finished.said.strip()
        assert_no_flowc_frames(finished.said)
