"""Write ``docs/diagnostics.md`` from the registry: ``python -m flowc.compiler.diagnostics_page``."""

from __future__ import annotations

import os
import sys

from .codes import SECTIONS
from .codes.code import MARK, Code

_PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "diagnostics.md")

_TOP = """# Diagnostics

<!-- Made by `python -m flowc.compiler.diagnostics_page` from compiler/codes/; change it there. -->

`flowc check flow.py` reports everything it finds at once, each finding with a code, its place and what to do:

    flow.py:9:31: error[FC113]: nothing in the flow sets self.itmes
     9 |         self.next(self.work, foreach="itmes")
       |                              ^^^^^^^^^^^^^^^
       = help: did you mean 'items'?

Errors keep a flow from being compiled or run; warnings and notes do not. The examples below leave out imports and,
where they do not matter, the class around the steps and its start and end; an arrow marks the line that flowc points
at. Every example that is a flow is compiled by the tests.
"""


def page() -> str:
    """The whole page."""
    parts = [_TOP, "| code | |\n|---|---|"]
    rows = [f"| [{item.code}](#{item.code.lower()}) | {item.title} |" for group in SECTIONS.values() for item in group]
    parts[-1] = "\n".join([parts[-1], *rows]) + "\n"
    for title, group in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts.extend(_section(item) for item in group)
    return "\n".join(parts)


def _section(item: Code) -> str:
    target = f" (checked with `--target {item.target}`)" if item.target else ""
    return (
        f"### {item.code}\n\n**{item.title}.** {item.explanation}\n\nWrong{target}:\n\n{_block(item.wrong)}\n"
        f"Right:\n\n{_block(item.mended)}"
    )


def _block(example: str) -> str:
    if example.startswith("$ "):
        return f"```console\n{example}\n```\n"
    return f"```python\n{example.replace(MARK, '  # <-- here')}\n```\n"


def main(path: str = _PATH) -> None:
    """Write the page."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(page())


if __name__ == "__main__":
    main(*sys.argv[1:2])
