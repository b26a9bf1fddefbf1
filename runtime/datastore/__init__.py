"""Where runs live: `open_datastore` turns a URL or a folder into a `Datastore`."""

from __future__ import annotations

import os
from typing import Optional

from .. import contract
from .base import Datastore, DatastoreError
from .file import FileDatastore

__all__ = ["DEFAULT_ROOT", "Datastore", "DatastoreError", "FileDatastore", "open_datastore"]

DEFAULT_ROOT = ".flowc"
"""Folder of the datastore, in the current one, where none is named."""


def open_datastore(url: Optional[str] = None) -> Datastore:
    """The datastore at a folder, a ``file://`` or ``s3://`` URL; without one, that of FLOWC_DATASTORE, else ``.flowc``.

    Nothing is created before something is written.

    Raises
    ------
    DatastoreError
        If the URL has another form, or names something that is no folder.
    """
    url = url or os.environ.get(contract.DATASTORE) or DEFAULT_ROOT
    scheme, found, _ = url.partition("://")
    if found and scheme == "file":
        from urllib.parse import unquote, urlsplit

        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise DatastoreError(f"{url!r} is no datastore: write file:///folder with three slashes, or a folder")
        rest = unquote(parts.path)
    elif found and scheme == "s3":
        from .s3 import S3Datastore

        return S3Datastore(url)
    elif found:
        raise DatastoreError(f"{url!r} is no datastore that flowc knows: give a folder, a file:// or an s3:// URL")
    else:
        rest = os.path.expanduser(url)
    if os.path.exists(rest) and not os.path.isdir(rest):
        raise DatastoreError(f"the datastore {rest} is no folder: choose another, --datastore or {contract.DATASTORE}")
    return FileDatastore(rest)
