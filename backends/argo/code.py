"""The code of a flow and how its pods come by it: mostly as ConfigMaps of readable text, which a volume lays out again.

These are immutable and their names end in a digest of their content, so a later version of a flow never changes a run
under way. Keys cannot hold ``/``: each file has a key and an item that maps it back to its path.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ...compiler.plan import Plan
from ...runtime import contract
from ..base import EmitSettings
from ..bundle import content_digest, pack, runtime_files
from .names import LONGEST, dns_label
from .yaml_text import Literal

CODE = "/flowc/code"
"""Where pods see it."""

FETCHED = "/tmp/flowc/code"  # noqa: S108 (in a pod of its own)
"""Where they see what they have fetched: `flowc.runtime.fetch.CODE`."""

ARCHIVE = "code.zip"
"""Beside the manifests: what is to be uploaded, and is then fetched."""

PLAN = "plan.json"
VOLUME = "code"

LARGEST = 1024 * 1024
"""Bytes of an object that Kubernetes takes."""

APPLIED = 256 * 1024
"""Bytes that ``kubectl apply`` keeps a second time in an annotation, which cannot be longer
(https://kubernetes.io/docs/reference/using-api/server-side-apply/)."""

_DOCKERFILE = """\
# The code of {flow} as part of an image: docker build -t IMAGE FOLDER
ARG BASE=python:3.12
FROM ${{BASE}}
COPY code {code}
"""
_SHARE = 192 * 1024
_DIGEST = 10
_RUNTIME_NAME = re.compile(rf"-runtime(-[0-9]+)?-[0-9a-f]{{{_DIGEST}}}$")
_AS_TWO = b'"\\\b\f\n\r\t'
_AS_ONE = bytes(byte for byte in range(256) if byte >= 0x20 and byte not in _AS_TWO)
_ELSEWHERE = ("flowc/runtime/slurm/", "flowc/py.typed")
"""What of the runtime no pod ever needs."""


@dataclass(frozen=True)
class ConfigMap:
    """Some files: their keys by path, and their contents."""

    name: str
    files: Mapping[str, bytes]

    @property
    def keys(self) -> dict[str, str]:
        """A key for each path."""
        out: dict[str, str] = {}
        for path in self.files:
            key = re.sub(r"[^-._a-zA-Z0-9]", "_", path.replace("/", "."))[-200:]
            while key in out.values():
                key = f"_{key}"
            out[path] = key
        return out

    def content(self) -> dict[str, Any]:
        """``data`` and ``binaryData``."""
        text: dict[str, str] = {}
        binary: dict[str, str] = {}
        for path, key in self.keys.items():
            try:
                text[key] = Literal(self.files[path].decode())
            except UnicodeDecodeError:
                binary[key] = base64.b64encode(self.files[path]).decode()
        return {**({"data": text} if text else {}), **({"binaryData": binary} if binary else {})}

    def items(self) -> list[dict[str, str]]:
        """What maps the keys back to paths."""
        return [{"key": key, "path": path} for path, key in self.keys.items()]


@dataclass(frozen=True)
class Code:
    """How the pods of a flow come by its code.

    Parameters
    ----------
    maps : tuple of ConfigMap
        What they mount at `CODE`.
    folder : str
        Where they find it: ``flow``, ``plan.json``, and ``flowc`` unless that is installed.
    env : mapping
        The variables that say so.
    files : mapping
        What lies beside the manifests for it.
    command : tuple of str
        What follows ``python``.
    """

    maps: tuple[ConfigMap, ...]
    folder: str = CODE
    env: Mapping[str, str] = field(default_factory=lambda: {"PYTHONPATH": CODE})
    files: Mapping[str, bytes] = field(default_factory=dict)
    command: tuple[str, ...] = ("-m", "flowc.runtime")


def code_of(plan: Plan, settings: EmitSettings) -> Code:
    """The code of a flow: its files, its Plan, and flowc's runtime unless that is installed in the image."""
    own = {f"flow/{name}": data for name, data in settings.files.items()}
    own[PLAN] = plan.dumps().encode()
    flow = dns_label(plan.name, LONGEST - len("-runtime-000-") - _DIGEST)
    if settings.way == "image":
        whole = {**own, **_travelling()}
        env = {contract.CODE: CODE, contract.CODE_DIGEST: content_digest(whole), "PYTHONPATH": CODE}
        files = {"Dockerfile": _DOCKERFILE.format(flow=plan.name, code=CODE).encode()}
        return Code((), env=env, files={**files, **{f"code/{name}": data for name, data in whole.items()}})
    if settings.way == "s3":
        archive = pack({**own, **_travelling()})
        digest = hashlib.sha256(archive).hexdigest()
        env = {
            contract.CODE_URL: f"{settings.code.rstrip('/')}/{dns_label(plan.name)}-{digest}.zip",
            contract.CODE_DIGEST: digest,
            "PYTHONPATH": FETCHED,
        }
        fetch = {"fetch.py": runtime_files()["flowc/runtime/fetch.py"]}
        return Code(tuple(_split(f"{flow}-runtime", fetch)), FETCHED, env, {ARCHIVE: archive}, (f"{CODE}/fetch.py",))
    maps = tuple(_split(f"{flow}-code", dict(sorted(own.items()))))
    if settings.way == "installed":
        return Code(maps, env={})
    # Objects of the flow's own, though other flows have the same: whoever removes one flow removes all that it lists.
    return Code((*maps, *_split(f"{flow}-runtime", _travelling())))


def holds_runtime(name: str) -> bool:
    """Whether a ConfigMap of this name holds flowc's runtime, and not the flow's own code."""
    return _RUNTIME_NAME.search(name) is not None


@cache
def _travelling() -> dict[str, bytes]:
    return {name: data for name, data in runtime_files().items() if not name.startswith(_ELSEWHERE)}


def _split(name: str, files: Mapping[str, bytes]) -> Iterator[ConfigMap]:
    """As few objects as ``kubectl apply`` can handle."""
    groups: list[dict[str, bytes]] = [{}]
    size = 0
    for path, data in files.items():
        weight = written_size(data) + 2 * len(path)
        if groups[-1] and size + weight > _SHARE:
            groups.append({})
            size = 0
        groups[-1][path] = data
        size += weight
    for number, group in enumerate(groups, 1):
        part = f"-{number}" if len(groups) > 1 else ""
        yield ConfigMap(f"{name}{part}-{content_digest(group)[:_DIGEST]}", group)


def written_size(data: bytes) -> int:
    """Bytes of a file in the JSON of its ConfigMap."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return len(data) * 4 // 3 + 4
    # Some characters are written as two, other control characters as six: \\u0001.
    return len(data) + 2 + len(data.translate(None, _AS_ONE)) + 4 * len(data.translate(None, _AS_ONE + _AS_TWO))


def volume(code: tuple[ConfigMap, ...]) -> dict[str, Any]:
    """All files at their paths, as one volume."""
    sources = [{"configMap": {"name": item.name, "items": item.items()}} for item in code]
    return {"name": VOLUME, "projected": {"sources": sources}}
