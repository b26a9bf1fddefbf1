"""Bringing code to where the pods of a flow fetch it, for ``flowc compile --code s3://...``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

ARCHIVE = "code.zip"


def upload_code(files: Mapping[str, bytes]) -> str | None:
    """Store the code of compiled files under the name that their manifests give it.

    What is there already, and right, stays as it is: the name ends in the digest of the content.

    Parameters
    ----------
    files : mapping
        What ``flowc compile`` has written, by name.

    Returns
    -------
    str or None
        The URL; None where the code travels in another way.

    Raises
    ------
    DatastoreError
        If it cannot be stored.
    """
    from ..runtime.datastore import open_datastore

    url: str | None = json.loads(files["bundle.json"]).get("url")
    if url is None:
        return None
    data = files[ARCHIVE]
    folder, _, name = url.rpartition("/")
    store = open_datastore(folder)
    if not store.create(name, data) and hashlib.sha256(store.read(name)).digest() != hashlib.sha256(data).digest():
        store.write(name, data)
    return url
