"""Wheels for pip to install where no package index can be reached: made by hand, or of what is installed here."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, str]) -> None:
    """A package of a few files of Python."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", _WHEEL)
        archive.writestr(f"{info}/RECORD", "")


def pack_installed(folder: Path, names: Iterable[str]) -> None:
    """Packages of this interpreter (of Python alone, without compiled parts) as the wheels that they came from."""
    for name in names:
        package = metadata.distribution(name)
        file = folder / f"{name.replace('-', '_')}-{package.version}-py3-none-any.whl"
        with zipfile.ZipFile(file, "w") as archive:
            for each in package.files or ():
                # Neither scripts, which go beside the interpreter, nor what was compiled when it was installed.
                if ".." not in each.parts and each.suffix != ".pyc":
                    archive.write(str(each.locate()), str(each))
