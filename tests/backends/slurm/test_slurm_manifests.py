"""Files as a whole: the same everywhere, importable, and good scripts."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from flowc.backends.bundle import pack, runtime_files, unpack
from flowc.compiler.codes.code import whole_flow
from same_bytes import PYTHONS, digests_in_other_surroundings, digests_of_other_pythons
from slurm_flows import EVERYTHING, emitted, scripts, shellcheck

HOUSE = Path(__file__).resolve().parents[3]
EXAMPLES = sorted(path.parent for path in (HOUSE / "examples").glob("*/flow.py"))


@pytest.mark.slow
def test_the_scripts_of_the_examples_are_shellcheck_clean(tmp_path: Path) -> None:
    texts = [
        file.read_text("utf-8")
        for example in EXAMPLES
        for file in sorted((example / "manifests" / "slurm").rglob("*"))
        if file.suffix in (".sbatch", ".sh")
    ]
    assert len(texts) > 2 * len(EXAMPLES)
    assert shellcheck(tmp_path, texts) == ""


@pytest.mark.slow
def test_the_same_bytes_in_any_folder_with_any_hash_seed_and_user(tmp_path: Path) -> None:
    assert len(set(digests_in_other_surroundings("slurm", whole_flow(EVERYTHING), tmp_path))) == 1


@pytest.mark.slow
def test_the_same_bytes_with_another_python(tmp_path: Path) -> None:
    said = digests_of_other_pythons("slurm", whole_flow(EVERYTHING), tmp_path)
    assert len(set(said.values())) == 1, said


@pytest.mark.slow
def test_the_runtime_imports_from_the_zip(tmp_path: Path) -> None:
    archive = tmp_path / "flowc.zip"
    archive.write_bytes(pack(runtime_files()))
    program = "import flowc, flowc.runtime.task, flowc.runtime.ranks, flowc.client; print(flowc.__file__)"
    for python in [sys.executable, *(str(path) for name, path in PYTHONS.items() if name in ("3.9", "3.13"))]:
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(archive)}
        done = subprocess.run([python, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.stdout == f"{archive}/flowc/__init__.py\n", done.stderr
        words = [python, "-m", "flowc.runtime", "step", "--help"]
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0 and "Run one task" not in done.stderr, done.stderr


def test_the_zip_holds_the_runtime_and_nothing_of_the_compiler() -> None:
    names = set(runtime_files())
    assert {"flowc/__init__.py", "flowc/dsl/flow.py", "flowc/runtime/__main__.py", "flowc/client/objects.py"} <= names
    assert {name.split("/")[1] for name in names if name.count("/") > 1} == {"client", "dsl", "runtime"}
    assert not [name for name in names if "__pycache__" in name]
    assert unpack(pack(runtime_files())) == runtime_files()


def test_a_zip_s_bytes_follow_from_names_and_contents() -> None:
    files = {"b": b"2", "a/ü": b"1"}
    assert pack(files) == pack(dict(reversed(files.items())))
    assert hashlib.sha256(pack(files)).hexdigest() == "23178679d0fc8b54ff33e11cd70928178ade2a54a42e515b4f26e8648bd5e098"


def test_what_is_written_about_the_bundle(tmp_path: Path) -> None:
    files = emitted(tmp_path, EVERYTHING)
    description = json.loads(files["bundle.json"])
    runtime = description.pop("runtime")
    assert len(runtime) == 64
    assert description == {
        "version": 1,
        "target": "slurm",
        "flow": "EverythingFlow",
        "file": "flow.py",
        "code": "bundled",
    }
    assert files["code/flow/flow.py"] == (tmp_path / "flow.py").read_bytes()
    sums = dict(reversed(line.split("  ")) for line in files["SHA256SUMS"].decode().splitlines())
    assert sums == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "SHA256SUMS"
    }  # fmt: skip
    assert str(tmp_path).encode() not in b"".join(files.values())
    assert len(scripts(files)) == 9
