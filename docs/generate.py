"""Write the parts of these pages that come from the code; ``--check`` compares instead, and exits 1 where one is old.

A generated part of a page stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowc.dsl.declarations import Specification
from flowc.dsl.decorators import SPECIFICATIONS
from flowc.dsl.decorators import Slurm as SLURM

DOCS = Path(__file__).resolve().parent
_PART = re.compile(r"(<!-- generated: (?P<name>[a-z ]+) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def decorators() -> str:
    """Every decorator with its options and their defaults."""
    out = []
    for on, title in (("step", "Decorators of steps"), ("flow", "Decorators of flows")):
        out.append(f"## {title}")
        out += [_decorator(spec) for spec in SPECIFICATIONS if spec.on == on]
    return "\n\n".join(out)


def _decorator(spec: type[Specification]) -> str:
    text = re.sub(r"\s+", " ", (spec.__doc__ or "").replace("``", "`")).strip()
    notes = [f"Also written {', '.join(f'`@{alias}`' for alias in spec.aliases)}."] if spec.aliases else []
    notes += ["May stand more than once."] if spec.repeatable else []
    options = [f"`{name}={_default(value)}`" for name, value in spec.defaults().items()]
    lines = [f"### @{spec.label}", " ".join([text, *notes])]
    lines.append(f"Options: {', '.join(options)}." if options else "No options.")
    return "\n\n".join(lines)


def _default(value: Any) -> str:
    return "..." if value is dataclasses.MISSING else repr(value)


def slurm() -> str:
    """Every option of ``@slurm``."""
    options = importlib.import_module("flowc.backends.slurm.options").OPTIONS
    rows = ["| option | becomes | what it takes | example |", "|---|---|---|---|"]
    for name in SLURM.defaults():
        option = options[name]
        becomes = f"`--{option.flag}`" if option.flag else "lines of the script" if name != "extra" else "`--NAME`"
        rows.append(f"| `{name}` | {becomes} | {option.takes} | `{option.example}` |".replace("||", "|"))
    return "\n".join(rows)


def commands() -> str:
    """The help of every command."""
    names = importlib.import_module("flowc.cli.group").COMMANDS
    return "\n\n".join(_command(name) for name in names)


def _command(name: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flowc", name, "--help"],
        env={**os.environ, "COLUMNS": "100"},
        check=True,
        capture_output=True,
        text=True,
    )
    return f"## flowc {name}\n\n```text\n{done.stdout.rstrip()}\n```"


def kubernetes() -> str:
    """Every option of ``@kubernetes``."""
    options = importlib.import_module("flowc.backends.argo.options").OPTIONS
    rows = [
        f"| `{name}` | `{option.becomes}` | {option.takes}{'; gangs only' if option.gangs_only else ''} |"
        for name, option in options.items()
    ]
    return "\n".join(["| option | becomes | takes |", "|---|---|---|", *rows])


PARTS: dict[str, Callable[[], str]] = {
    "decorators": decorators,
    "commands": commands,
    "slurm options": slurm,
    "kubernetes options": kubernetes,
}


def pages() -> dict[Path, str]:
    """Every page that is generated, in part or as a whole, as it should be."""
    found = {}
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text("utf-8")
        if _PART.search(text):
            found[page] = _PART.sub(lambda match: match[1] + PARTS[match["name"]]() + match[3], text)
    found[DOCS / "diagnostics.md"] = importlib.import_module("flowc.compiler.diagnostics_page").page()
    return found


def main(arguments: list[str]) -> int:
    old = []
    for page, text in pages().items():
        if not page.exists() or page.read_text("utf-8") != text:
            old.append(page.name)
            if "--check" not in arguments:
                page.write_text(text, "utf-8")
    if "--check" in arguments and old:
        print(f"not as the code says: {', '.join(old)}; run make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
