"""Objects of a Kubernetes API as a server keeps them: versions, server-side apply with owners of fields, merge patches.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import copy
import random
import string
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]

_META = ("labels", "annotations")


class Refused(Exception):
    """A request that is not done, as a Status object says it (https://kubernetes.io/docs/reference/kubernetes-api/)."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details,
            "code": code,
        }


@dataclass
class Stored:
    """An object with the owners of its fields: manager by path of a leaf. Lists are leaves."""

    body: Object
    owners: dict[Path, set[str]] = field(default_factory=dict)


class Objects:
    """All objects of one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.lock = threading.RLock()
        self._version = 1000
        self._kept: dict[tuple[str, str], Stored] = {}

    def get(self, plural: str, name: str) -> Object:
        """One; Refused 404 where there is none."""
        with self.lock:
            return self._stored(plural, name).body

    def has(self, plural: str, name: str) -> bool:
        """Whether there is one."""
        return (plural, name) in self._kept

    def listed(self, plural: str, labels: str = "") -> list[Object]:
        """Those with these labels, by name."""
        with self.lock:
            found = [item.body for (kind, _), item in sorted(self._kept.items()) if kind == plural]
        return [item for item in found if selected(item["metadata"].get("labels") or {}, labels)]

    def create(self, plural: str, body: Object, manager: str, dry_run: bool) -> Object:
        """A new one, with a name of its own where it asks for that."""
        metadata = body.setdefault("metadata", {})
        name = metadata.get("name")
        if not name:
            tail = "".join(random.choice(string.ascii_lowercase + string.digits) for _ in range(5))
            name = metadata["name"] = f"{metadata['generateName']}{tail}"
        with self.lock:
            if (plural, name) in self._kept:
                raise Refused(409, "AlreadyExists", f'{plural} "{name}" already exists', name=name, kind=plural)
            made = Stored(self._finished(copy.deepcopy(body), None))
            made.owners = {path: {manager} for path, _ in leaves(body)}
            if not dry_run:
                self._kept[plural, name] = made
            return made.body

    def apply(self, plural: str, name: str, body: Object, manager: str, force: bool, dry_run: bool) -> Object:
        """Server-side apply; Refused 409 where other managers have set fields to something else."""
        with self.lock:
            before = self._kept.get((plural, name))
            if before is None:
                body.setdefault("metadata", {})["name"] = name
                return self.create(plural, body, manager, dry_run)
            after = copy.deepcopy(before)
            wanted = dict(leaves(body))
            conflicts = []
            for path, value in wanted.items():
                others = before.owners.get(path, set()) - {manager}
                if others and _at(before.body, path) != value:
                    conflicts.append((sorted(others)[0], path))
                    after.owners[path] = set()
            if conflicts and not force:
                raise _conflict(body["apiVersion"], conflicts)
            for path in [path for path, owners in after.owners.items() if manager in owners and path not in wanted]:
                after.owners[path].discard(manager)
                if not after.owners[path]:
                    _remove(after.body, path)
                    del after.owners[path]
            for path, value in wanted.items():
                _put(after.body, path, value)
                after.owners.setdefault(path, set()).add(manager)
            return self._kept_as(plural, name, before, after, dry_run)

    def merge(self, plural: str, name: str, body: Object, manager: str, dry_run: bool) -> Object:
        """A JSON merge patch (RFC 7386); whoever sends it owns what it sets."""
        with self.lock:
            before = self._stored(plural, name)
            if before.body.get("immutable"):
                message = f'ConfigMap "{name}" is invalid: data: Forbidden: field is immutable when `immutable` is set'
                raise Refused(422, "Invalid", message, name=name, kind=plural)
            after = copy.deepcopy(before)
            for path, value in leaves(body):
                if value is None:
                    _remove(after.body, path)
                    after.owners.pop(path, None)
                else:
                    _put(after.body, path, value)
                    after.owners[path] = {manager}
            return self._kept_as(plural, name, before, after, dry_run)

    def delete(self, plural: str, name: str, dry_run: bool) -> Object:
        """Take it away."""
        with self.lock:
            stored = self._stored(plural, name)
            if not dry_run:
                del self._kept[plural, name]
            return stored.body

    def set_status(self, plural: str, name: str, status: Object, labels: Mapping[str, str]) -> None:
        """What a controller says of an object; a new version where that is news."""
        with self.lock:
            stored = self._kept.get((plural, name))
            if stored is None or (stored.body.get("status") == status and labels.items() <= _labels(stored).items()):
                return
            after = copy.deepcopy(stored)
            after.body["status"] = status
            after.body["metadata"].setdefault("labels", {}).update(labels)
            self._kept_as(plural, name, stored, after, False)

    def _stored(self, plural: str, name: str) -> Stored:
        if (plural, name) not in self._kept:
            raise Refused(404, "NotFound", f'{plural} "{name}" not found', name=name, kind=plural)
        return self._kept[plural, name]

    def _kept_as(self, plural: str, name: str, before: Stored, after: Stored, dry_run: bool) -> Object:
        if after.body == before.body and after.owners == before.owners:
            return before.body
        after.body = self._finished(after.body, before.body)
        if not dry_run:
            self._kept[plural, name] = after
        return after.body

    def _finished(self, body: Object, before: Object | None) -> Object:
        self._version += 1
        metadata = body["metadata"]
        metadata.update({"namespace": self.namespace, "resourceVersion": str(self._version)})
        if before is None:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            metadata.update({"uid": str(uuid.uuid4()), "creationTimestamp": stamp})
        return body


def _labels(stored: Stored) -> Mapping[str, str]:
    return stored.body["metadata"].get("labels") or {}


def leaves(body: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """What a manager says of an object: every value below its mappings, without what only the server sets."""
    for key, value in body.items():
        here = (*path, key)
        if here in (("apiVersion",), ("kind",), ("status",)) or (path == ("metadata",) and key not in _META):
            continue
        if isinstance(value, Mapping) and value:
            yield from leaves(value, here)
        else:
            yield here, value


def selected(labels: Mapping[str, str], selector: str) -> bool:
    """Whether labels fit ``a=b,c``."""
    for term in filter(None, selector.split(",")):
        name, equals, value = term.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True


def _conflict(api: str, conflicts: list[tuple[str, Path]]) -> Refused:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{who}" using {api}', "field": _dotted(path)}
        for who, path in conflicts
    ]
    many = "" if len(causes) == 1 else "s"
    what = "; ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    return Refused(409, "Conflict", f"Apply failed with {len(causes)} conflict{many}: {what}", causes=causes)


def _dotted(path: Path) -> str:
    return "".join(f".{key}" for key in path)


def _at(body: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(body, Mapping) or key not in body:
            return None
        body = body[key]
    return body


def _put(body: Object, path: Path, value: Any) -> None:
    for key in path[:-1]:
        body = body.setdefault(key, {})
    body[path[-1]] = copy.deepcopy(value)


def _remove(body: Object, path: Path) -> None:
    for key in path[:-1]:
        body = body.get(key) or {}
    body.pop(path[-1], None)
