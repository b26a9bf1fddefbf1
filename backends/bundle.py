"""The code that every emitted target needs: flowc's runtime, and the flow's own files.

The runtime travels as one zip that Python imports as it is (``PYTHONPATH=code/flowc.zip``). A target that cannot carry
a zip, such as one whose manifests are text, takes the same files from `runtime_files` and lays them out as it must.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from functools import cache
from typing import Any

from .base import EmitSettings

RUNTIME = "code/flowc.zip"
FLOW = "code/flow/"
DESCRIPTION = "bundle.json"
VERSION = 1
"""Version of `DESCRIPTION`."""

_ROOMS = ("client", "dsl", "runtime")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644


@cache
def runtime_files() -> Mapping[str, bytes]:
    """What a task needs of flowc: every file of the package that the runtime may import, by name below ``flowc/``."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = [os.path.join(package, "__init__.py"), os.path.join(package, "py.typed")]
    for room in _ROOMS:
        for folder, folders, names in os.walk(os.path.join(package, room)):
            folders[:] = [name for name in folders if name != "__pycache__"]
            found += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    out = {}
    for path in found:
        with open(path, "rb") as file:
            out[f"flowc/{os.path.relpath(path, package)}".replace(os.sep, "/")] = file.read()
    return dict(sorted(out.items()))


def pack(files: Mapping[str, bytes]) -> bytes:
    """Files as one zip whose bytes follow from their names and contents alone; nothing is compressed, since the result
    of a compression depends on the library that made it.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            item = zipfile.ZipInfo(name, _EPOCH)
            item.create_system = 3  # Unix, whatever this is
            item.external_attr = _MODE << 16
            archive.writestr(item, data)
    return out.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of a zip by name.

    Raises
    ------
    ValueError
        If it is none, or damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from None


def content_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents, as hexadecimal digits."""
    out = hashlib.sha256()
    for name, data in sorted(files.items()):
        out.update(f"{name}\0{len(data)}\0".encode())
        out.update(data)
    return out.hexdigest()


def code_files(target: str, flow: str, settings: EmitSettings) -> dict[str, bytes]:
    """The files that carry code, and the description that says what they are."""
    out = {f"{FLOW}{name}": data for name, data in settings.files.items()}
    description: dict[str, Any] = {
        "version": VERSION,
        "target": target,
        "flow": flow,
        "file": settings.main,
        "code": settings.code,
    }
    if settings.code == "bundled":
        files = runtime_files()
        out[RUNTIME] = pack(files)
        description["runtime"] = content_digest(files)
    out[DESCRIPTION] = (json.dumps(description, indent=2) + "\n").encode()
    return out


def code_problems(target: str, flow: str, files: Mapping[str, bytes]) -> list[str]:
    """What is wrong with emitted code: a description that does not fit it, or a runtime that is not whole."""
    try:
        description = json.loads(files[DESCRIPTION])
    except KeyError:
        return [f"{DESCRIPTION} is missing"]
    except ValueError:
        return [f"{DESCRIPTION} is not JSON"]
    if not isinstance(description, dict) or description.get("version") != VERSION:
        return [f"{DESCRIPTION} was written by another version of flowc"]
    problems = [
        f"{DESCRIPTION} says {name} {description.get(name)!r}, not {value!r}"
        for name, value in (("target", target), ("flow", flow))
        if description.get(name) != value
    ]
    main = f"{FLOW}{description.get('file')}"
    if main not in files:
        problems.append(f"the flow's file {main} is missing")
    if description.get("code") == "bundled":
        problems += _runtime_problems(files.get(RUNTIME), description.get("runtime"))
    elif RUNTIME in files:
        problems.append(f"{RUNTIME} is there, although {DESCRIPTION} says that flowc is installed")
    return problems


def _runtime_problems(data: bytes | None, digest: object) -> list[str]:
    if data is None:
        return [f"{RUNTIME} is missing"]
    try:
        files = unpack(data)
    except ValueError as error:
        return [f"{RUNTIME} cannot be read: {error}"]
    if "flowc/runtime/__main__.py" not in files:
        return [f"{RUNTIME} does not hold flowc's runtime"]
    return [] if content_digest(files) == digest else [f"{RUNTIME} does not hold what {DESCRIPTION} says"]
