"""The arrows of the house: who may import whom, and where the standard library has to be enough."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[2]
ROOMS = ("dsl", "compiler", "backends", "runtime", "client", "cli")

# What a room may import from outside, beside the standard library.
EXTERNAL = {
    "dsl": set(),
    "compiler": {"networkx", "lark"},
    "runtime": set(),
    "backends": {"jinja2", "yaml", "lark"},
    "client": set(),
    "cli": {"click", "rich"},
}
# What a room may also import inside a function, where only the users who need it pay for it.
EXTERNAL_IN_FUNCTIONS = {
    "runtime": {
        "boto3",
        "botocore",
        "cryptography",
        "fsspec",
        "torch",
        "deepspeed",
        "ray",
        "tensorflow",
        "jax",
        "dask",
        "distributed",
    },
    "backends": {"boto3", "botocore", "kubernetes", "argo_workflows", "rich", "urllib3"},
}
# What the parts that only read a Plan and write files may see of the other rooms: facts and forms, nothing that acts.
EMITTERS = ("backends/base.py", "backends/argo", "backends/batch", "backends/slurm")
# What asks a scheduler about runs, and emits nothing.
CLIENTS = ("backends/argo/client.py", "backends/argo/cluster", "backends/slurm/client.py")
EMITTERS_SEE = {
    "compiler": {"plan", "quantities", "diagnostics"},
    "runtime": {"contract", "address", "hostlist", "preemptions", "slurm_limits"},
    "dsl": set(),
    "client": set(),
    "cli": set(),
}


def sources(*places: str) -> list[Path]:
    found = []
    for place in places:
        path = HOUSE / place
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return found


class _Imports(ast.NodeVisitor):
    """Every import of a file, as (absolute dotted name, inside a function, line)."""

    def __init__(self, package: list[str]) -> None:
        self.package = package
        self.depth = 0
        self.found: list[tuple[str, bool, int]] = []

    def visit_FunctionDef(self, node: ast.AST) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        # What only a type checker imports binds nothing at run time.
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for item in node.orelse:
                self.visit(item)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [(alias.name, self.depth > 0, node.lineno) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self.package[: len(self.package) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        self.found += [(f"{module}.{alias.name}", self.depth > 0, node.lineno) for alias in node.names]


def imports(file: Path) -> Iterator[tuple[str, bool, int]]:
    visitor = _Imports(["flowc", *file.relative_to(HOUSE).parent.parts])
    visitor.visit(ast.parse(file.read_text("utf-8")))
    yield from visitor.found


def test_import_linter_keeps_the_contracts() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=HOUSE, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_outside_only_what_it_is_there_for(room: str) -> None:
    files = sources(room)
    assert files, f"the room {room} is empty"
    wrong = []
    for file in files:
        for name, in_function, line in imports(file):
            root = name.partition(".")[0]
            allowed = EXTERNAL[room] | (EXTERNAL_IN_FUNCTIONS.get(room, set()) if in_function else set())
            if root != "flowc" and root not in sys.stdlib_module_names and root not in allowed:
                wrong.append(f"{file.relative_to(HOUSE)}:{line} imports {root}")
    assert not wrong, "\n".join(wrong)


def test_what_emits_sees_only_the_plan_the_diagnostics_and_the_contract() -> None:
    wrong = []
    for file in sorted({*sources(*EMITTERS)} - {*sources(*CLIENTS)}):
        for name, _, line in imports(file):
            _, room, module = (*name.split("."), "", "")[:3]
            if name.startswith("flowc.") and room in EMITTERS_SEE and module not in EMITTERS_SEE[room]:
                wrong.append(f"{file.relative_to(HOUSE)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_inside_the_package_imports_are_relative() -> None:
    wrong = [
        f"{file.relative_to(HOUSE)}:{node.lineno}"
        for file in sources(*ROOMS)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "flowc")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "flowc" for alias in node.names))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_scan_sees_imports_in_functions_and_resolves_relative_ones(tmp_path: Path) -> None:
    visitor = _Imports(["flowc", "runtime", "datastore"])
    visitor.visit(
        ast.parse(
            "import os\nfrom . import base\nfrom ..address import Address\n"
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy\n"
            "def load():\n    import boto3\n"
        )
    )
    assert visitor.found == [
        ("os", False, 1),
        ("flowc.runtime.datastore.base", False, 2),
        ("flowc.runtime.address.Address", False, 3),
        ("typing.TYPE_CHECKING", False, 4),
        ("boto3", True, 8),
    ]
