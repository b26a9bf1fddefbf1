"""From ``FILE[:Flow]`` to the imported file and the flow class that is meant."""

from __future__ import annotations

import os
import re
import sys
from types import FrameType

from ..dsl.flow import FlowSpec
from ..dsl.loading import LoadedFile, load_file, module_name
from ..dsl.missing_modules import missing_module
from .diagnostics import Diagnostic, Severity, Sources, did_you_mean, listed
from .plan import Span

_FLOWC = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def split_reference(reference: str) -> tuple[str, str | None]:
    """``FILE[:Flow]`` as its two parts."""
    file, colon, name = reference.rpartition(":")
    if colon and file and name.isidentifier() and not os.path.exists(reference):
        return file, name
    return reference, None


def load(reference: str, stand_in: bool, found: list[Diagnostic]) -> tuple[Sources, LoadedFile | None, str | None]:
    """Import the flow's file; what goes wrong is added to ``found``."""
    path, flow_name = split_reference(reference)
    file = os.path.realpath(path)
    sources = Sources(os.path.dirname(file))
    problem = _unreadable(path)
    if problem:
        found.append(problem)
        return sources, None, flow_name
    sources.name(file)
    missing: list[tuple[str, str, int]] = []
    try:
        loaded = _import(file, stand_in, missing)
    except SyntaxError as error:
        own = error.filename is not None and os.path.isfile(error.filename)
        found.append(_syntax_error(error, sources) if own else _import_error(error, file, sources, missing))
    except OSError as error:
        found.append(
            Diagnostic(
                "FC001", f"{path} cannot be read: {error.strerror or error}", help="check the file's permissions"
            )
            if error.filename == file
            else _import_error(error, file, sources, missing)
        )
    except (Exception, SystemExit) as error:
        found.append(_import_error(error, file, sources, missing))
    else:
        for module, importer, line in dict.fromkeys(loaded.missing):
            found.append(
                Diagnostic(
                    "FC008",
                    f"module {module!r} is not installed here; it is stood in for while the flow is checked",
                    Span(sources.name(importer), line),
                    "install it where the flow runs; nothing to do if that is another machine",
                    Severity.NOTE,
                )
            )
        return sources, loaded, flow_name
    return sources, None, flow_name


def _unreadable(path: str) -> Diagnostic | None:
    if os.path.isfile(path):
        return None
    if os.path.isdir(path):
        return Diagnostic(
            "FC001", f"{path} is a folder, not a flow's file", help="name the .py file that holds the flow"
        )
    if os.path.islink(path):
        return Diagnostic("FC001", f"{path} is a link to {os.readlink(path)}, which is not there", help="mend the link")
    folder, base = os.path.split(path)
    try:
        beside = [name for name in os.listdir(folder or ".") if name.endswith(".py")]
    except OSError:
        return Diagnostic("FC001", f"there is no file {path}", help=f"there is no folder {folder} either")
    tip = did_you_mean(base, beside, form="{}") or "write FILE.py or FILE.py:Flow"
    return Diagnostic("FC001", f"there is no file {path}", help=tip)


def _import(file: str, stand_in: bool, missing: list[tuple[str, str, int]]) -> LoadedFile:
    if not stand_in:
        return load_file(file)
    # A flow that prints while it is imported must not end up in the middle of a Plan or of a drawing.
    standard_output, sys.stdout = sys.stdout, sys.stderr
    try:
        return load_file(file, stand_in=True, missing=missing)
    finally:
        sys.stdout = standard_output


def _syntax_error(error: SyntaxError, sources: Sources) -> Diagnostic:
    name = sources.name(str(error.filename))
    line, column = error.lineno or 1, max(error.offset or 1, 1)
    end = getattr(error, "end_offset", None)
    same = getattr(error, "end_lineno", None) in (None, line)
    span = Span(name, line, column, line, end if end and end > column and same else column + 1)
    return Diagnostic("FC002", f"the file is not Python: {error.msg}", span, "mend the marked place")


def _import_error(error: BaseException, file: str, sources: Sources, missing: list[tuple[str, str, int]]) -> Diagnostic:
    """The innermost line of the flow's own files stands for the whole chain of calls."""
    own: list[tuple[str, int, str]] = []
    used: str | None = None
    trace = error.__traceback__
    root = os.path.join(module_name(file)[1], "")
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if (
            path.startswith(root) and not path.startswith(os.path.join(_FLOWC, "")) and "site-packages" not in path
        ) or path == file:
            own.append((path, trace.tb_lineno, trace.tb_frame.f_code.co_name))
            if missing:
                used = _missing_in_line(trace.tb_frame, trace.tb_lineno, error, missing) or used
        trace = trace.tb_next
    span = Span(sources.name(own[-1][0]), own[-1][1]) if own else Span(sources.name(file), 1)
    notes = tuple(f"{sources.display(sources.name(path))}:{line}, in {function}" for path, line, function in own[:-1])
    name = type(error).__name__
    if isinstance(error, (SyntaxError, ValueError)) and "null bytes" in str(error):
        return Diagnostic("FC002", "the file is not Python: it holds NUL characters", span, "save it as UTF-8 text")
    if isinstance(error, ImportError):
        help = "correct the name, or install the module where flowc runs"
        if isinstance(error, ModuleNotFoundError) and error.name:
            help = f"install it where flowc runs (pip install {error.name.partition('.')[0]}), or correct the name"
        message = re.sub(r" \((/|[A-Z]:).*\)$", "", str(error))  # where the other module lies says nothing here
        return Diagnostic("FC003", f"the import fails: {message}", span, help, notes=notes)
    if isinstance(error, SystemExit):
        message = f"the file ends the program while it is imported (SystemExit: {error.code})"
        return Diagnostic("FC004", message, span, 'put it under `if __name__ == "__main__":`', notes=notes)
    message = f"the file raises {name} while it is imported: {str(error) or 'no message'}".replace("\n", " ")
    help = "the file is imported to read the flow; mend this line, or do such work inside a step"
    if used is not None:
        message += f"; module {used!r} is not installed here, and this line uses it"
        help = f"install it here (pip install {used}), or move the line into a step"
    elif missing:
        names = list(dict.fromkeys(repr(module) for module, _, _ in missing))
        help += f"; {listed(names)} {'is' if len(names) == 1 else 'are'} not installed here, which may be the reason"
    return Diagnostic("FC004", message, span, help, notes=notes)


def _missing_in_line(
    frame: FrameType, line: int, error: BaseException, missing: list[tuple[str, str, int]]
) -> str | None:
    """The module that is stood in for and that the statement in this line uses; None where it uses none."""
    import ast

    path = frame.f_code.co_filename
    try:
        with open(path, "rb") as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):
        return None
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    if not around:
        return None
    for item in ast.walk(max(around, key=lambda node: node.lineno)):
        if isinstance(item, ast.Name):
            for names in (frame.f_locals, frame.f_globals):
                if item.id in names:
                    module = missing_module(names[item.id])
                    if module is not None:
                        return module
                    break
    if isinstance(error, NameError):
        # `from module import *` of a module that is not here brings no names.
        stood_in = {module for module, _, _ in missing}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not node.level and any(alias.name == "*" for alias in node.names):
                root = (node.module or "").partition(".")[0]
                if root in stood_in:
                    return root
    return None


def pick(loaded: LoadedFile, name: str | None, sources: Sources, found: list[Diagnostic]) -> type[FlowSpec] | None:
    """The flow class that is meant."""
    flows = loaded.flows()
    file = sources.display(sources.name(loaded.file))
    place = Span(sources.name(loaded.file), 1)
    if name is not None:
        cls = loaded.flow(name)
        if cls is None:
            names = [flow.__name__ for flow in flows]
            tip = did_you_mean(name, names, form="{}") or (f"it has {listed(names)}" if names else "")
            found.append(Diagnostic("FC007", f"{file} has no flow {name!r}", place, tip))
        return cls
    if len(flows) == 1:
        return flows[0]
    if not flows:
        imported = [
            value
            for value in vars(loaded.module).values()
            if isinstance(value, type) and issubclass(value, FlowSpec) and value is not FlowSpec
        ]
        tip = "derive a class from FlowSpec: class MyFlow(FlowSpec)"
        if imported:
            tip = f"{imported[0].__name__} is only imported here; write {file}:{imported[0].__name__} to take it"
        found.append(Diagnostic("FC005", f"{file} defines no flow", place, tip))
    else:
        names = [flow.__name__ for flow in flows]
        found.append(
            Diagnostic(
                "FC006",
                f"{file} defines {len(flows)} flows: {listed(names)}",
                place,
                f"say which one: {' or '.join(f'{file}:{name}' for name in names)}",
            )
        )
    return None
