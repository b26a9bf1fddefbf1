"""Reading YAML as Kubernetes does, and telling what its reader takes for something else than what was meant.

Kubernetes reads YAML 1.1 in Go: ``n`` is false there, ``08`` and ``1e3`` are numbers. Python's reader leaves these as
text, so that nothing seems wrong until the object is refused.
"""

from __future__ import annotations

import functools
import re
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
_MAP = "tag:yaml.org,2002:map"
_LIST = "tag:yaml.org,2002:seq"
_MERGE = "tag:yaml.org,2002:merge"


def reads_otherwise(text: str) -> bool:
    """Whether a text must be quoted in YAML to stay one."""
    return _OTHERWISE.fullmatch(text) is not None


def load_all(text: str, path: str, report: Report) -> list[Any]:
    """The documents of a YAML text; what cannot be read, or would be read otherwise, is a finding."""
    import yaml

    try:
        loader = _reader()(text)
        try:
            documents = []
            while loader.check_node():
                documents.append(_value(loader, loader.get_node(), path, report))
            return documents
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        report.add(path, f"this is no YAML: {' '.join(str(error).split())}", "mend it there")
        return []


@functools.cache
def _reader() -> Any:
    """A loader of PyYAML, in C where that is there, that finds the tag of a scalar once for all of its kind.

    Tags by path, which PyYAML looks for at every node, are not used here.
    """
    import yaml

    tags: dict[str, str] = {}

    class Reader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def descend_resolver(self, *_: Any) -> None:
            pass

        def ascend_resolver(self) -> None:
            pass

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            if kind is not yaml.ScalarNode:
                return _MAP if kind is yaml.MappingNode else _LIST
            if not implicit[0]:
                return _TEXT
            if value not in tags:
                tags[value] = super().resolve(kind, value, implicit)
            return tags[value]

    return Reader


def _value(loader: Any, node: Any, path: str, report: Report) -> Any:
    """What a node stands for; what Kubernetes would read otherwise is a finding."""
    if node is None:
        return None
    if node.id == "mapping" and node.tag == _MAP:
        out: dict[Any, Any] = {}
        for key, value in node.value:
            place = f"{path}.{key.value}"
            name = key.value if key.tag in (_TEXT, _MERGE) else loader.construct_object(key, deep=True)
            if name in out:
                report.add(place, f"the key {key.value!r} is there twice", "quote it")
            if key.tag != _TEXT or (not key.style and reads_otherwise(key.value)):
                report.add(place, f"Kubernetes does not read the key {key.value} as text", "quote it")
            out[name] = _value(loader, value, place, report)
        return out
    if node.id == "sequence" and node.tag == _LIST:
        return [_value(loader, value, f"{path}[{at}]", report) for at, value in enumerate(node.value)]
    if node.tag != _TEXT:
        return loader.construct_object(node, deep=True)
    if not node.style and reads_otherwise(node.value):
        report.add(path, f"Kubernetes does not read {node.value} as text", "quote it")
    return node.value
