"""Code that is part of an image: whether it is what the manifests were made with."""

from __future__ import annotations

import hashlib
import os

from . import contract
from .outline import ContractError


def check_code() -> None:
    """Compare the files below FLOWC_CODE with FLOWC_CODE_DIGEST; nothing where either is unset.

    Raises
    ------
    ContractError
        If they are others.
    """
    folder, digest = os.environ.get(contract.CODE), os.environ.get(contract.CODE_DIGEST)
    if not folder or not digest or os.environ.get(contract.CODE_URL):
        return
    found = files_digest(folder)
    if found != digest:
        raise ContractError(
            f"the code in the image, {folder}, is not what the manifests were made with ({found[:12]}, not "
            f"{digest[:12]}): build the image anew from the files that lie beside them"
        )


def files_digest(folder: str) -> str:
    """SHA-256 over the names and contents of all files but compiled ones."""
    names = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        names += [os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/") for name in files]
    out = hashlib.sha256()
    for name in sorted(names):
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read()
        out.update(f"{name}\0{len(data)}\0".encode())
        out.update(data)
    return out.hexdigest()
