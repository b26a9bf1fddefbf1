"""Putting the code of a run where its jobs find it, under the name of its content: what is compiled later never changes
what runs now."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

from ...dsl import FlowcError
from ..datastore.base import Datastore

BUNDLE = "bundle.json"


class StagingError(FlowcError):
    """The folder is not what ``flowc compile --target slurm`` writes, or its code cannot be put into the datastore."""


class Bundle(NamedTuple):
    """What ``flowc compile --target slurm`` has written.

    Parameters
    ----------
    folder : str
        Where.
    flow : str
        Name of the flow.
    file : str
        The flow's file, below ``code/flow``.
    bundled : bool
        Whether flowc itself is in it.
    plan : dict
        The Plan as JSON.
    """

    folder: str
    flow: str
    file: str
    bundled: bool
    plan: dict[str, object]


class Staged(NamedTuple):
    """The code of a run: its folder, and the flow's file in it."""

    folder: str
    file: str


def read_bundle(folder: str) -> Bundle:
    """Read what is in a folder of manifests.

    Raises
    ------
    StagingError
        If it is none for Slurm.
    """
    folder = os.path.abspath(folder)
    try:
        with open(os.path.join(folder, BUNDLE), encoding="utf-8") as file:
            data = json.load(file)
        with open(os.path.join(folder, "plan.json"), encoding="utf-8") as file:
            plan = json.load(file)
        if data["version"] != 1 or data["target"] != "slurm":
            raise ValueError(f"it is for target {data['target']!r}, version {data['version']!r}")
        return Bundle(folder, data["flow"], data["file"], data["code"] == "bundled", plan)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StagingError(
            f"{folder} does not hold what `flowc compile --target slurm` writes ({error}); compile the flow again"
        ) from error


def stage(bundle: Bundle, datastore: Datastore) -> Staged:
    """Copy a bundle's code into the datastore, unless the same is there already.

    Raises
    ------
    StagingError
        If it cannot be read or written.
    """
    try:
        files = sorted(_files(bundle))
        digest = hashlib.sha256()
        for name, path in files:
            with open(path, "rb") as file:
                data = file.read()
            digest.update(f"{name}\0{len(data)}\0{os.access(path, os.X_OK)}\0".encode())
            digest.update(data)
        folder = datastore.path(f"{bundle.flow}/code/{digest.hexdigest()[:32]}")
        staged = Staged(folder, os.path.join(folder, "flow", *bundle.file.split("/")))
        if not _is_whole(files, folder):
            _copy(bundle, files, folder)
    except (OSError, zipfile.BadZipFile) as error:
        what = getattr(error, "strerror", None) or error
        where = getattr(error, "filename", None) or bundle.folder
        raise StagingError(f"the code of {bundle.flow} cannot be put into {datastore.url}: {where}: {what}") from error
    if not os.path.isfile(staged.file):
        raise StagingError(f"{bundle.folder} names the flow's file {bundle.file}, which is not below code/flow")
    return staged


def _place(name: str, folder: str) -> str:
    """Where a file of the bundle lies: code/flow/x at flow/x, steps/x as it is."""
    return os.path.join(folder, *name.split("/")[1:] if name.startswith("code/") else name.split("/"))


def _is_whole(files: list[tuple[str, str]], folder: str) -> bool:
    """Whether all is there. What tidies scratch up removes files that nobody reads for weeks, and leaves folders."""
    if not os.path.isdir(folder):
        return False
    sizes: dict[str, int] = {}
    for name, path in files:
        if name == "code/flowc.zip":
            with zipfile.ZipFile(path) as archive:
                sizes.update({_place(item.filename, folder): item.file_size for item in archive.infolist()})
        else:
            sizes[_place(name, folder)] = os.path.getsize(path)
    return all(os.path.isfile(place) and os.path.getsize(place) == size for place, size in sizes.items())


def _copy(bundle: Bundle, files: list[tuple[str, str]], folder: str) -> None:
    parent = os.path.dirname(folder)
    os.makedirs(parent, exist_ok=True)
    temporary = os.path.join(parent, f".{os.path.basename(folder)}.{os.urandom(4).hex()}.tmp")
    try:
        for name, path in files:
            if name == "code/flowc.zip":
                with zipfile.ZipFile(path) as archive:
                    archive.extractall(temporary)
                continue
            target = _place(name, temporary)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(path, target)
        _precompile(temporary, folder)
        try:
            os.rename(temporary, folder)
        except OSError:
            if not os.path.isdir(folder):
                raise
            # Somebody else was faster with the same, or some of it was lost since.
            if not _is_whole(files, folder):
                shutil.copytree(temporary, folder, dirs_exist_ok=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _precompile(folder: str, later: str) -> None:
    """Compile the sources once, not in every job: jobs may not be able to write here, or may have been told not to.

    The folder's name stands for its content, so nobody need ever look whether a source is newer.
    """
    import compileall
    from py_compile import PycInvalidationMode

    for name in ("flowc", "flow"):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            compileall.compile_dir(
                path,
                ddir=os.path.join(later, name),
                quiet=2,
                invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
            )


def _files(bundle: Bundle) -> Iterator[tuple[str, str]]:
    for top in ("code", "steps"):
        root = os.path.join(bundle.folder, top)
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in names:
                path = os.path.join(folder, name)
                yield os.path.relpath(path, bundle.folder).replace(os.sep, "/"), path
