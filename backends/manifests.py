"""The files of a target as a whole: produced from a compiled flow, written, compared and read back."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..compiler.diagnostics import Diagnostic
from ..compiler.packaging import LARGEST
from ..dsl.errors import FlowcError
from .base import EmitSettings, Unfaithful, check_target, get_backend

if TYPE_CHECKING:
    from ..compiler import Compilation

SUMS = "SHA256SUMS"
"""The list of every file that flowc has written, as ``sha256sum`` writes it; only what it lists is ever removed."""

_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


class ManifestError(FlowcError):
    """Files cannot be written or read; the message says what to do."""


@dataclass(frozen=True)
class Produced:
    """What came of a flow for a target. ``files`` is None where ``diagnostics`` holds an error."""

    target: str
    files: Mapping[str, bytes] | None
    diagnostics: tuple[Diagnostic, ...]


def produce(
    compilation: Compilation,
    target: str,
    *,
    code: str = "bundled",
    datastore: str | None = None,
    image: str | None = None,
    namespace: str | None = None,
) -> Produced:
    """The files of a compiled flow for a target, checked by reading them back.

    Raises
    ------
    CannotEmit
        If the target has no files.
    Unfaithful
        If what was emitted does not describe the Plan: a defect of flowc's.
    """
    plan, package = compilation.require(), compilation.package
    assert package is not None
    backend = get_backend(target)
    found = check_target(plan, target)
    if package.size > LARGEST:
        found.append(_too_large(compilation))
    if any(item.is_error for item in found):
        return Produced(target, None, tuple(found))
    settings = EmitSettings(package.read(), package.main, code, image, datastore, namespace)
    found += backend.check_settings(plan, settings)
    if any(item.is_error for item in found):
        return Produced(target, None, tuple(found))
    files = backend.emit(plan, settings)
    if backend.read(files) != plan:
        raise Unfaithful([f"the files for {target} describe another Plan"])
    return Produced(target, with_sums(files), tuple(found))


def _too_large(compilation: Compilation) -> Diagnostic:
    plan, package = compilation.require(), compilation.package
    assert package is not None
    sizes = ", ".join(f"{name} {_megabytes(size)}" for name, size in package.largest(3))
    message = f"the files of {plan.name} have {_megabytes(package.size)}, and at most {_megabytes(LARGEST)} can travel"
    help = f"leave data out with --package '!GLOB' and let the steps read it where it lies; the largest are {sizes}"
    return Diagnostic("FC412", message, plan.span, help)


def _megabytes(size: int) -> str:
    return f"{size / (1024 * 1024):.1f} MiB"


def with_sums(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files with the list of them, sorted by name."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())]
    return {**dict(sorted(files.items())), SUMS: "".join(lines).encode()}


def executable(data: bytes) -> bool:
    """Whether a file is to be run as it is: it then says by what."""
    return data.startswith(b"#!")


# On disk -------------------------------------------------------------------------------------------------------------


def write(folder: str, files: Mapping[str, bytes]) -> list[str]:
    """Write files, each at once or not at all, and remove those that flowc wrote there before and that are no more.

    Returns
    -------
    list of str
        Files that flowc wrote once and that were changed since; they are left where they are.

    Raises
    ------
    ManifestError
        If somebody else's file is in the way, before anything is written.
    """
    before = _listed(folder)
    for name, data in files.items():
        path = _path(folder, name)
        if name != SUMS and name not in before and os.path.lexists(path) and _content(path) != data:
            raise ManifestError(f"{path} was not written by flowc and is in the way; move it, or take another -o")
    stale = {name: digest for name, digest in before.items() if name not in files}
    # Should this be interrupted, the next time still knows which files are flowc's.
    listed = files[SUMS] + "".join(f"{digest}  {name}\n" for name, digest in sorted(stale.items())).encode()
    _write(folder, SUMS, listed)
    for name, data in files.items():
        if name != SUMS:
            _write(folder, name, data)
    changed = []
    for name, digest in sorted(stale.items()):
        content = _content(_path(folder, name))
        if content is None:
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            changed.append(name)
            continue
        os.remove(_path(folder, name))
        _remove_empty(folder, os.path.dirname(name))
    _write(folder, SUMS, files[SUMS])
    return changed


def differences(folder: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """The lines of a unified diff from the files on disk to these, without their ends; none where they are equal."""
    left_over = [name for name in _listed(folder) if name not in files]
    for name in sorted({*files, *left_over}):
        path = _path(folder, name)
        before, after = _content(path), files.get(name)
        yield from _difference(path.replace(os.sep, "/"), before, after)
        if before is not None and after is not None and os.name == "posix" and executable(after):
            mode = os.stat(path).st_mode
            if not mode & 0o100:
                yield f"{path}: mode {mode & 0o777:03o}, not executable"


def _difference(path: str, before: bytes | None, after: bytes | None) -> Iterator[str]:
    if before == after:
        return
    import difflib

    old, new = ("/dev/null" if before is None else f"a/{path}"), ("/dev/null" if after is None else f"b/{path}")
    try:
        lines_before, lines_after = ((data or b"").decode().splitlines() for data in (before, after))
        if b"\0" in (before or b"") + (after or b""):
            raise ValueError
    except ValueError:
        yield f"Binary files {old} and {new} differ"
        yield from _members(before, after)
        return
    lines = list(difflib.unified_diff(lines_before, lines_after, old, new, lineterm=""))
    yield from lines or [f"--- {old}", f"+++ {new}", "(only the ends of lines differ)"]


def _members(before: bytes | None, after: bytes | None) -> Iterator[str]:
    """Which members of a zip differ."""
    from .bundle import unpack

    try:
        old, new = (unpack(data) if data else {} for data in (before, after))
    except ValueError:
        return
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"  {name}"


def load(folder: str) -> dict[str, bytes]:
    """The files that flowc wrote into a folder, as they are now, with those that lie beside them in its folders.

    Raises
    ------
    ManifestError
        If it has written none there.
    """
    names = set(_listed(folder))
    if not names:
        raise ManifestError(f"{folder} holds no manifests of flowc: there is no {SUMS}")
    for place in {os.path.dirname(name) for name in names} - {""}:
        here = os.path.join(folder, *place.split("/"))
        if os.path.isdir(here):
            names |= {f"{place}/{name}" for name in os.listdir(here) if os.path.isfile(os.path.join(here, name))}
    found = {name: _content(_path(folder, name)) for name in [*sorted(names), SUMS]}
    return {name: data for name, data in found.items() if data is not None}


def verify(folder: str) -> list[str]:
    """What of the files in a folder does not fit: to what flowc wrote, to each other, to the Plan among them.

    Raises
    ------
    ManifestError
        If flowc has written none there, or for no target that it knows.
    """
    import json

    files = load(folder)
    problems = []
    for name, digest in sorted(_listed(folder).items()):
        if name not in files:
            problems.append(f"{name} is missing")
        elif hashlib.sha256(files[name]).hexdigest() != digest:
            problems.append(f"{name} has been changed since flowc wrote it")
    try:
        target = str(json.loads(files["bundle.json"])["target"])
        backend = get_backend(target)
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{folder} does not say for which target it is: {error!r}") from None
    try:
        backend.read({name: data for name, data in files.items() if name != SUMS})
    except Unfaithful as error:
        problems += [item for item in error.problems if item not in problems]
    return problems


def _listed(folder: str) -> dict[str, str]:
    """What the list in a folder says, without names that lead out of it."""
    content = _content(os.path.join(folder, SUMS))
    out = {}
    for line in (content or b"").decode("utf-8", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if match and not match[2].startswith("/") and ".." not in match[2].split("/"):
            out[match[2]] = match[1]
    return out


def _path(folder: str, name: str) -> str:
    return os.path.join(folder, *name.split("/"))


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write(folder: str, name: str, data: bytes) -> None:
    path = _path(folder, name)
    place = os.path.dirname(path)
    mode = 0o755 if executable(data) else 0o644
    try:
        os.makedirs(place, exist_ok=True)
        if _content(path) == data and not os.path.islink(path):
            os.chmod(path, mode & ~_umask())
            return
        temporary = os.path.join(place, f".flowc-{os.getpid():x}-{os.urandom(4).hex()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    except IsADirectoryError:
        raise ManifestError(f"{path} is a folder and is in the way; move it, or take another -o") from None
    except (FileExistsError, NotADirectoryError) as error:
        raise ManifestError(f"{error.filename} is no folder and is in the way; move it, or take another -o") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, mode & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _remove_empty(folder: str, name: str) -> None:
    while name:
        try:
            os.rmdir(_path(folder, name))
        except OSError:
            return
        name = os.path.dirname(name)
