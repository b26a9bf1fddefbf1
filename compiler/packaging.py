"""Which files travel with a flow, and the identity of its code: these files and its resolved configs.

Targets other than this machine run a copy of the flow. What it consists of is read from the sources, not watched, so it
is the same wherever the flow is compiled: the flow's file, every module below its folder that it imports, and every
file below its folder that one of these names by a string literal.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..dsl.loading import module_name
from .diagnostics import Diagnostic
from .flow_source import FlowSource
from .plan import Json, code_digest
from .syntax import File, Files

LARGEST = 10 * 1024 * 1024
"""Bytes of all files that travel. Code travels; data belongs where the tasks can reach it."""

_NEVER = frozenset(["__pycache__", "manifests", "site-packages"])
_PATHS = frozenset(["Path", "PurePath", "glob", "iterdir", "join", "joinpath", "listdir", "rglob", "scandir", "walk"])
"""Calls whose arguments are paths: there, and as operands of ``/``, a literal may also name a folder."""


@dataclass(frozen=True)
class Package:
    """The files of a flow.

    Attributes
    ----------
    main : str
        The flow's own file, relative to the folder that is on the path of its modules.
    paths : mapping
        Where each file lies on this machine, by its name relative to that folder.
    """

    main: str
    paths: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(os.path.getsize, self.paths.values()))

    def largest(self, count: int) -> list[tuple[str, int]]:
        """The largest files with their sizes in bytes."""
        sizes = [(name, os.path.getsize(path)) for name, path in self.paths.items()]
        return sorted(sizes, key=lambda item: (-item[1], item[0]))[:count]

    def read(self) -> dict[str, bytes]:
        """The content of every file by name."""
        out = {}
        for name, path in sorted(self.paths.items()):
            with open(path, "rb") as file:
                out[name] = file.read()
        return out

    def digest(self, configs: Mapping[str, Json]) -> str:
        """SHA-256 of the code and its configs. Of what is too large to travel, the size stands for the content."""
        files: dict[str, bytes] = {}
        for name, path in self.paths.items():
            size = os.path.getsize(path)
            if size > LARGEST:
                files[name] = f"{size} bytes".encode()
                continue
            with open(path, "rb") as file:
                files[name] = file.read()
        return code_digest(files, configs)


def package_of(flow: FlowSource, patterns: Sequence[str], found: list[Diagnostic]) -> Package:
    """The files that travel with a flow.

    Parameters
    ----------
    patterns : sequence of str
        Further files as globs relative to the flow's folder; ``!GLOB`` leaves out what it matches.
    found : list of Diagnostic
        Takes FC012 for a pattern that is wrong or matches nothing.
    """
    _, root = module_name(flow.file)
    main = os.path.relpath(flow.file, root).replace(os.sep, "/")
    below = os.path.join(root, "")
    todo = [flow.file, *(file.path for file in flow.files if file.path.startswith(below))]
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    for pattern in wanted:
        matched = _matching(pattern, root)
        if not matched:
            message = f"--package {pattern} matches no file below the flow's folder"
            found.append(Diagnostic("FC012", message, help="write it relative to that folder, as in 'data/*.csv'"))
        todo += matched
    names = _closure(todo, root, flow.files)
    for pattern in unwanted:
        import fnmatch

        left_out = [name for name in names if fnmatch.fnmatchcase(name, pattern) and name != main]
        if not left_out:
            message = f"--package !{pattern} leaves out nothing: no file that travels is called so"
            found.append(Diagnostic("FC012", message, help=f"the files are {', '.join(sorted(names))}"))
        for name in left_out:
            del names[name]
    return Package(main, dict(sorted(names.items())))


def _closure(todo: list[str], root: str, files: Files) -> dict[str, str]:
    """These files, and all that they import and name."""
    names: dict[str, str] = {}
    seen = set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        name = _name(path, root)
        if name is None:
            continue
        if not path.endswith(".py"):
            names[name] = path
            continue
        try:
            file = files.parse(path)
        except (SyntaxError, ValueError, RecursionError):
            names[name] = path  # imported under a condition only, or never
            continue
        if file is None:
            continue
        names[name] = path
        todo.extend(_imported(file, root))
        todo.extend(_named(file, root))
    return names


def _name(path: str, root: str) -> str | None:
    """The name of a file that may travel: below the folder, also by its links, and neither hidden nor made by tools."""
    name = os.path.relpath(path, root)
    parts = name.split(os.sep)
    if any(part.startswith(".") or part in _NEVER for part in parts) or path.endswith(".pyc"):
        return None
    if not os.path.isfile(path) or not os.path.realpath(path).startswith(os.path.join(root, "")):
        return None
    return name.replace(os.sep, "/")


def _matching(pattern: str, root: str) -> list[str]:
    if os.path.isabs(pattern) or ".." in pattern.split("/"):
        return []
    import glob

    found: list[str] = []
    for name in sorted(glob.glob(os.path.join(glob.escape(root), pattern), recursive=True)):
        found += _below(name) if os.path.isdir(name) else [name]
    return [path for path in found if _name(path, root) is not None]


def _below(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NEVER)
        yield from (os.path.join(place, name) for name in sorted(names) if not name.startswith("."))


# Files that are named ------------------------------------------------------------------------------------------------


def _named(file: File, root: str) -> Iterator[str]:
    """The files below the folder that a source names by a literal, alone or as a word: ``"python train.py"``."""
    here = os.path.dirname(file.path)
    bases = dict.fromkeys([here, root])
    for text, is_path in _literals(file.tree):
        words = {text} if is_path or len(text) > 1000 else {text, *text.split()}
        for word in words:
            if not 0 < len(word) < 256 or word[0] in "/~" or "\0" in word or "\n" in word:
                continue
            for base in bases:
                path = os.path.normpath(os.path.join(base, word))
                if not path.startswith(os.path.join(root, "")) or path == here:
                    continue
                if os.path.isfile(path):
                    yield path
                elif (is_path or word.endswith("/")) and os.path.isdir(path) and _visible(path, root):
                    yield from _below(path)


def _visible(folder: str, root: str) -> bool:
    parts = os.path.relpath(folder, root).split(os.sep)
    return not any(part.startswith(".") or part in _NEVER for part in parts)


def _literals(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Every text of a module but its docstrings, and whether it stands where a path is made."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                yield node.value, False
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            yield from _joined(_operands(node))
        elif isinstance(node, ast.Call) and _called(node.func) in _PATHS:
            yield from _joined(node.args)
        todo.extend(ast.iter_child_nodes(node))


def _called(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _operands(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return [*_operands(node.left), node.right]
    return [node]


def _joined(parts: Sequence[ast.expr]) -> Iterator[tuple[str, bool]]:
    """The texts of ``here / "data" / "a.txt"``, joined as far as they follow each other."""
    run: list[str] = []
    for part in [*parts, None]:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            run.append(part.value)
        elif run:
            yield "/".join(run), True
            run = []


# Modules that are imported -------------------------------------------------------------------------------------------


def _imported(file: File, root: str) -> Iterator[str]:
    here = os.path.dirname(file.path)
    package = os.path.relpath(here, root).split(os.sep)
    package = [] if package == [os.curdir] else package
    # A script finds its neighbours, whatever folder it lies in.
    roots = list(dict.fromkeys([root, here]))
    for node in _imports(file.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _modules(roots, alias.name.split("."))
            continue
        above = package[: len(package) - node.level + 1] if node.level else []
        base = above + (node.module.split(".") if node.module else [])
        places = [root] if node.level else roots
        yield from _modules(places, base)
        for alias in node.names:
            yield from _modules(places, [*base, alias.name])


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


def _modules(roots: Iterable[str], parts: list[str]) -> Iterator[str]:
    for root in roots:
        yield from _files(root, parts)


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
