"""The code of a flow as ConfigMaps of readable text, and the volume that lays it out again.

They are immutable and their names end in a digest of their content, so a later version of a flow never changes a run
under way. Keys cannot hold ``/``: each file has a key and an item that maps it back to its path.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ...compiler.plan import Plan
from ..base import EmitSettings
from ..bundle import content_digest, runtime_files
from .names import LONGEST, dns_label
from .yaml_text import Literal

CODE = "/flowc/code"
"""Where pods see it."""

PLAN = "plan.json"
VOLUME = "code"

LARGEST = 1024 * 1024
"""Bytes of an object that Kubernetes takes."""

APPLIED = 256 * 1024
"""Bytes that ``kubectl apply`` keeps a second time in an annotation, which cannot be longer
(https://kubernetes.io/docs/reference/using-api/server-side-apply/)."""

RUNTIME = "flowc-runtime"
"""What the names of the ConfigMaps with flowc's runtime begin with."""

_SHARE = 192 * 1024
_DIGEST = 10
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


def config_maps(plan: Plan, settings: EmitSettings) -> tuple[ConfigMap, ...]:
    """The ConfigMaps of a flow: its files and its Plan, and flowc's runtime unless that is installed in the image."""
    own = {f"flow/{name}": data for name, data in settings.files.items()}
    own[PLAN] = plan.dumps().encode()
    flow = dns_label(plan.name, LONGEST - len("-code-000-") - _DIGEST)
    out = list(_split(f"{flow}-code", dict(sorted(own.items()))))
    return tuple(out if settings.code == "installed" else [*out, *_runtime()])


@cache
def _runtime() -> tuple[ConfigMap, ...]:
    files = {name: data for name, data in runtime_files().items() if not name.startswith(_ELSEWHERE)}
    return tuple(_split(RUNTIME, files))


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
        return len(json.dumps(data.decode(), ensure_ascii=False).encode())
    except UnicodeDecodeError:
        return len(data) * 4 // 3 + 4


def volume(code: tuple[ConfigMap, ...]) -> dict[str, Any]:
    """All files at their paths, as one volume."""
    sources = [{"configMap": {"name": item.name, "items": item.items()}} for item in code]
    return {"name": VOLUME, "projected": {"sources": sources}}
