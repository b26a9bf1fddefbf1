"""Whether a flow compiles to the same bytes wherever and by whomever it is compiled, for any target."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[2]
PYTHONS = {
    name: path
    for name in ("3.9", "3.10", "3.12", "3.13")
    for path in sorted((Path.home() / ".pyenv" / "versions").glob(f"{name}.*/bin/python"))[:1]
}
_DIGEST = """
import hashlib, sys
from flowc.backends.manifests import produce
from flowc.compiler import compile_flow
files = produce(compile_flow(sys.argv[1]), sys.argv[2], code=sys.argv[3]).files
print(hashlib.sha256(files["SHA256SUMS"]).hexdigest())
"""


def digests_in_other_surroundings(target: str, flow: str, folder: Path) -> list[str]:
    """Digests of the files of a flow's text, compiled in several folders, by several users, with other hash seeds."""
    found = []
    for number, (name, seed, user) in enumerate([("a", "0", "x"), ("b/deep er", "1", "y"), ("ü", "random", "z")]):
        place = folder / name
        place.mkdir(parents=True)
        (place / "flow.py").write_text(flow, "utf-8")
        env = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "HOME": str(place),
            "USER": user,
            "TZ": ["UTC", "Asia/Tokyo", ""][number],
            "LC_ALL": "C",
        }
        file = "flow.py" if number else str(place / "flow.py")
        found.append(_said([sys.executable, "-c", _DIGEST, file, target, "bundled"], place, env))
    return found


def digests_of_other_pythons(target: str, flow: str, folder: Path) -> dict[str, str]:
    """Digests by interpreter: this one, and others with the packages of this one, of which only Python is used."""
    import site

    (folder / "flow.py").write_text(flow, "utf-8")
    packages = [path for path in sys.path if path.endswith("site-packages")] or site.getsitepackages()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HOUSE / ".venv" / "src"), *packages])}
    found = {}
    for python in [sys.executable, *(path for name, path in PYTHONS.items() if name != "3.9")]:
        # flowc's runtime is the same bytes in any case, and without libyaml takes long to read back.
        words = [str(python), "-c", _DIGEST, "flow.py", target, "installed"]
        said = _said(words, folder, env, optional=True)
        if said:
            found[str(python)] = said
    if len(found) < 2:
        pytest.skip("not here: no other Python that can compile")
    return found


def _said(words: list[str], folder: Path, env: dict[str, str], *, optional: bool = False) -> str:
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    if optional and ("No module named" in done.stderr or "cannot import name" in done.stderr):
        return ""  # a compiled package (MarkupSafe and PyYAML have a fallback; others may not)
    assert done.returncode == 0, done.stderr
    return done.stdout
