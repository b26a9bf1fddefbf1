"""The identity of a flow's code: its own files and its resolved configs."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Iterator

from ..dsl.loading import module_name
from .flow_source import FlowSource
from .syntax import File


def digest(flow: FlowSource) -> str:
    """SHA-256 over the names and bytes of the flow's own files and over its configs, as hexadecimal digits."""
    out = hashlib.sha256()
    for name, data in sorted(own_sources(flow).items()):
        out.update(f"{name}\0{len(data)}\0".encode())
        out.update(data)
    if flow.configs:
        out.update(json.dumps(flow.configs, sort_keys=True).encode())
    return out.hexdigest()


def own_sources(flow: FlowSource) -> dict[str, bytes]:
    """The flow's file and every module below its folder (of a package: the folder above it) that it imports, by name.

    The imports are read, not watched: what else this process has loaded plays no part.
    """
    _, root = module_name(flow.file)
    sources: dict[str, bytes] = {}
    todo = [flow.file]
    todo.extend(file.path for file in flow.files if file.path.startswith(os.path.join(root, "")))
    seen = set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        try:
            file = flow.files.parse(path)
        except (SyntaxError, ValueError):
            continue  # imported under a condition only, or never
        if file is None:
            continue
        sources[os.path.relpath(path, root).replace(os.sep, "/")] = file.data
        todo.extend(_imported(file, root))
    return sources


def _imported(file: File, root: str) -> Iterator[str]:
    package = os.path.relpath(os.path.dirname(file.path), root).split(os.sep)
    package = [] if package == [os.curdir] else package
    for node in _imports(file.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(root, alias.name.split("."))
        else:
            above = package[: len(package) - node.level + 1] if node.level else []
            base = above + (node.module.split(".") if node.module else [])
            yield from _files(root, base)
            for alias in node.names:
                yield from _files(root, [*base, alias.name])


def _imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import statement, without looking into expressions."""
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        for name in ("body", "orelse", "finalbody"):
            todo.extend(getattr(node, name, ()))
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            todo.extend(part.body)


def _files(root: str, parts: list[str]) -> Iterator[str]:
    """The files that importing a dotted name runs, where they lie below the root."""
    path = root
    for position, part in enumerate(parts):
        if not part.isidentifier():
            return
        path = os.path.join(path, part)
        package = os.path.join(path, "__init__.py")
        if os.path.isfile(package):
            yield package
        elif position == len(parts) - 1 and os.path.isfile(f"{path}.py"):
            yield f"{path}.py"
        elif not os.path.isdir(path):
            if os.path.isfile(f"{path}.py"):
                yield f"{path}.py"
            return
