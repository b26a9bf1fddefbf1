"""Reading YAML as Kubernetes does, and telling what its reader takes for something else than what was meant.

Kubernetes reads YAML 1.1 in Go: ``n`` is false there, ``08`` and ``1e3`` are numbers. Python's reader leaves these as
text, so that nothing seems wrong until the object is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .verify_report import Report

_OTHERWISE = re.compile(
    r"""y|Y|n|N|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|true|True|TRUE|false|False|FALSE|null|Null|NULL|~
    |[-+]?(0b[01_]+|0o?[0-9_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)
    |[-+]?(\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?
    |[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)
    |[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt\ ].*)?
    |[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?
    |<<|=""",
    re.VERBOSE,
)
"""Plain scalars that Go's reader of YAML 1.1 may take for something else than text."""

_TEXT = "tag:yaml.org,2002:str"


def reads_otherwise(text: str) -> bool:
    """Whether a text must be quoted in YAML to stay one."""
    return _OTHERWISE.fullmatch(text) is not None


def load_all(text: str, path: str, report: Report) -> list[Any]:
    """The documents of a YAML text; what cannot be read, or would be read otherwise, is a finding."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        nodes = list(yaml.compose_all(text, Loader=loader))
    except (yaml.YAMLError, RecursionError) as error:
        report.add(path, f"this is no YAML: {' '.join(str(error).split())}", "mend it there")
        return []
    documents = []
    for node in nodes:
        if node is None:
            continue
        for place, problem in _problems(node, path):
            report.add(place, problem, "quote it")
        documents.append(_construct(loader, node, path, report))
    return documents


def _problems(node: Any, path: str) -> Iterator[tuple[str, str]]:
    todo: list[tuple[Any, str]] = [(node, path)]
    while todo:
        item, place = todo.pop()
        if item.id == "mapping":
            keys: set[str] = set()
            for key, value in item.value:
                inner = f"{place}.{key.value}"
                if key.value in keys:
                    yield inner, f"the key {key.value!r} is there twice"
                keys.add(key.value if isinstance(key.value, str) else "")
                if key.id == "scalar" and not key.style and (key.tag != _TEXT or reads_otherwise(key.value)):
                    yield inner, f"Kubernetes does not read the key {key.value} as text"
                todo.append((value, inner))
        elif item.id == "sequence":
            todo.extend((value, f"{place}[{at}]") for at, value in enumerate(item.value))
        elif not item.style and item.tag == _TEXT and reads_otherwise(item.value):
            yield place, f"Kubernetes does not read {item.value} as text"


def _construct(loader: Any, node: Any, path: str, report: Report) -> Any:
    import yaml

    maker = loader("")
    try:
        return maker.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        report.add(path, f"this is no YAML: {' '.join(str(error).split())}", "mend it there")
        return None
    finally:
        maker.dispose()
