"""Where the runs of a flow keep their data: an object store, or a claim that every pod mounts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

MOUNT = "/flowc/data"
"""Where pods see the claim."""

DEFAULT = "pvc://flowc"
"""The datastore of flows that are compiled without one: a claim named flowc, which many pods may write to at once."""

_CLAIM = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_FOLDER = r"[A-Za-z0-9._/-]*"
_REPLACED = r"\{\{|\$[$(]"
"""What Argo, or the kubelet, takes for a variable of its own."""


class BadStore(ValueError):
    """A URL that no pod could follow; the message says what to write."""


@dataclass(frozen=True)
class Store:
    """A datastore as pods see it: its URL, and the claim that has to be mounted for it (empty for none)."""

    url: str
    claim: str = ""


def read_store(text: str | None) -> Store:
    """The datastore that ``--datastore`` means on Kubernetes.

    Raises
    ------
    BadStore
        If pods cannot get at it.
    """
    url = text or DEFAULT
    parts = urlsplit(url)
    if re.search(_REPLACED, url):
        raise BadStore(
            f"a part of the datastore {url!r} would be replaced in the pods: write it without {{{{, $( and $$"
        )
    if parts.scheme == "s3" and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", parts.netloc):
        return Store(url)
    if parts.scheme == "pvc" and re.fullmatch(_CLAIM, parts.netloc) and len(parts.netloc) <= 253:
        folder = parts.path.strip("/")
        if re.fullmatch(_FOLDER, folder) and ".." not in folder.split("/"):
            return Store(f"file://{MOUNT}/{folder}".rstrip("/"), parts.netloc)
    raise BadStore(
        f"pods cannot reach the datastore {url!r}: write s3://bucket/prefix, or pvc://claim/folder for a "
        "PersistentVolumeClaim that all pods mount"
    )
