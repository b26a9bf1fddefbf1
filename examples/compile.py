"""Compile every example for every target that has files: ``make manifests``."""

from __future__ import annotations

import sys
from pathlib import Path

from flowc.backends.manifests import produce, write
from flowc.compiler import compile_flow

EXAMPLES = sorted(path.parent for path in Path(__file__).resolve().parent.glob("*/flow.py"))
TARGETS = ("slurm", "argo")
REFUSED: dict[tuple[str, str], str] = {}
"""Examples that a target refuses, with the code of the diagnostic."""


def main() -> int:
    """Write all manifests anew; 1 if one cannot be written."""
    failed = False
    for example in EXAMPLES:
        compilation = compile_flow(str(example / "flow.py"))
        for target in TARGETS:
            if (example.name, target) in REFUSED:
                continue
            produced = produce(compilation, target)
            if produced.files is None:
                failed = True
                print(f"{example.name}, {target}: {produced.diagnostics}", file=sys.stderr)
            else:
                write(str(example / "manifests" / target), produced.files)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
