"""What an installation contains is what the tree contains."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import flowc
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("pip._vendor.tomli")

HOUSE = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text("utf-8"))
ROOMS = ("dsl", "compiler", "backends", "runtime", "client", "cli")


def test_every_package_of_the_tree_is_installed() -> None:
    tree = {"flowc"}
    for room in ROOMS:
        folders = [HOUSE / room, *(p for p in (HOUSE / room).rglob("*") if p.is_dir() and p.name != "__pycache__")]
        tree |= {
            ".".join(("flowc", *folder.relative_to(HOUSE).parts))
            for folder in folders
            if any(item.suffix in (".py", ".lark") for item in folder.iterdir())
        }
    assert tree == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_file_that_the_code_reads_is_installed() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    for room in ROOMS:
        for file in (HOUSE / room).rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc"):
                package = ".".join(("flowc", *file.relative_to(HOUSE).parent.parts))
                assert any(file.match(pattern) for pattern in patterns.get(package, ())), file


def test_the_version_is_told_once() -> None:
    assert PROJECT["project"]["version"] == flowc.__version__


def test_the_files_are_of_a_size_that_one_can_read() -> None:
    long = {
        str(file.relative_to(HOUSE)): lines
        for room in ROOMS
        for file in (HOUSE / room).rglob("*.py")
        if (lines := len(file.read_text("utf-8").splitlines())) > 500
    }
    assert not long, long


def test_no_file_names_a_folder_of_somebody_s_machine() -> None:
    home = re.compile(r"(?<![\w.<])/(home|Users|root)/[a-z]")
    kinds = {".py", ".md", ".toml", ".ini", ".lark", ".j2", ".yaml", ".json"}
    places = [HOUSE / name for name in (*ROOMS, "examples", "benchmarks", "docs")]
    files = [f for p in places for f in p.rglob("*") if f.suffix in kinds and f != Path(__file__)]
    wrong = [str(f.relative_to(HOUSE)) for f in [HOUSE / "README.md", *files] if home.search(f.read_text("utf-8"))]
    assert not wrong, wrong
