"""Writing YAML that Go reads as it was meant.

PyYAML leaves ``n``, ``1e-3``, ``08`` and more without quotes, which other readers take for booleans and numbers. Here a
text stands without quotes only where every reader of YAML 1.1 and 1.2 sees a text; over several lines it is a literal
block. The code of a flow is a few hundred kilobytes in such blocks, which PyYAML would look at character by character
for seconds: these alone are written by hand.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.@-]*(:[A-Za-z0-9_/.@-]+)*")
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nil", "nan", "inf"])
_NOT_IN_BLOCK = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]"
_IN_BLOCK = bytes([*b"\t\n", *range(0x20, 0x7F)])
_TEXT, _MAP, _LIST = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))
_PLACEHOLDER = "literal-block-"
_WIDE = 100


class Literal(str):
    """A text of many lines that is written as a block by hand, if its characters allow it; a value of a mapping."""


def dump(document: Mapping[str, Any], comment: str = "") -> str:
    """One document, ending in a newline; ``comment`` stands above it.

    Raises
    ------
    yaml.YAMLError
        For what has no place in a manifest.
    """
    blocks: list[str] = []
    text = _dumped(_without_blocks(document, blocks))
    if blocks:
        found = re.compile(rf"^( *)(.*: ){_PLACEHOLDER}([0-9]+)$", re.MULTILINE)
        text = found.sub(lambda match: match[1] + match[2] + _block(blocks[int(match[3])], match[1] + "  "), text)
    return "".join(f"# {line}\n" for line in comment.splitlines()) + text


def dump_all(documents: Iterable[Mapping[str, Any]], comment: str = "") -> str:
    """Several documents in one file."""
    texts = [dump(document, comment if number == 0 else "") for number, document in enumerate(documents)]
    return "---\n".join(texts)


def _without_blocks(value: Any, blocks: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_blocks(item, blocks) for key, item in value.items()}
    if isinstance(value, Literal):
        if not value.strip() or _beyond_block(value):
            return str(value)
        blocks.append(value)
        return f"{_PLACEHOLDER}{len(blocks) - 1}"
    return value


def _block(text: str, indent: str) -> str:
    """The header and the lines of a literal block, without its last newline."""
    stripped = text.rstrip("\n")
    ends = len(text) - len(stripped)
    # A block whose first line is blank or indented cannot tell its own indentation.
    hint = "2" if text[0] in " \t\n" else ""
    lines = f"\n{stripped}".replace("\n", f"\n{indent}")
    for _ in range(2):  # blank lines that follow each other overlap
        lines = lines.replace(f"\n{indent}\n", "\n\n")
    return f"|{hint}{'-' if ends == 0 else '' if ends == 1 else '+'}{lines}" + "\n" * (ends - 1)


def _dumped(document: Any) -> str:
    # libyaml writes characters beyond 16 bits otherwise than PyYAML itself does.
    fast = getattr(yaml, "CSafeDumper", None)
    node = _node(document)
    text = _as_text(node, _dumper(fast or yaml.SafeDumper))
    if fast and "\\U" in text:
        return _as_text(node, _dumper(yaml.SafeDumper))
    return text


def _as_text(node: yaml.Node, dumper: Any) -> str:
    text: str = yaml.serialize(node, Dumper=dumper, width=2**30, allow_unicode=True)
    return text


@functools.cache
def _dumper(base: Any) -> Any:
    """A dumper of PyYAML, in Python or in C, that looks for tags only where one could be missing."""

    class Dumper(base):  # type: ignore[misc]
        def descend_resolver(self, *_: Any) -> None:
            pass

        def ascend_resolver(self) -> None:
            pass

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            if kind is not yaml.ScalarNode:
                return _MAP if kind is yaml.MappingNode else _LIST
            return super().resolve(kind, value, implicit) if implicit[0] else _TEXT

    return Dumper


def _node(value: Any) -> yaml.Node:
    """What PyYAML writes, in flowc's style."""
    if isinstance(value, str):
        return yaml.ScalarNode(_TEXT, value, style=_style(value))
    if isinstance(value, Mapping):
        pairs = [(_node(key), _node(item)) for key, item in value.items()]
        return yaml.MappingNode(_MAP, pairs, flow_style=not pairs)
    if isinstance(value, (list, tuple)):
        # Short lists of words, and pairs of a name and a value, stand on one line each.
        flat = not any(isinstance(item, (dict, list)) or "\n" in str(item) for item in value)
        short = flat and sum(len(str(item)) + 4 for item in value) <= _WIDE
        items: list[Any] = [_node(item) for item in value]
        for item, node in zip(value, items):
            if isinstance(item, dict) and _is_pair(item):
                node.flow_style = True
        return yaml.SequenceNode(_LIST, items, flow_style=short)
    if isinstance(value, (bool, int)):
        kind = "bool" if isinstance(value, bool) else "int"
        return yaml.ScalarNode(f"tag:yaml.org,2002:{kind}", str(value).lower())
    raise yaml.YAMLError(f"a manifest cannot hold {value!r}")


def _style(value: str) -> str | None:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return None
    return "|" if "\n" in value and value.strip() and not _beyond_block(value) else '"'


def _beyond_block(text: str) -> bool:
    """Whether a text has characters that cannot stand in a literal block."""
    if text.isascii():
        return bool(text.encode().translate(None, _IN_BLOCK))
    return re.search(_NOT_IN_BLOCK, text) is not None


def _is_pair(item: Mapping[str, Any]) -> bool:
    if len(item) > 2 or any(isinstance(value, (dict, list)) for value in item.values()):
        return False
    texts = [str(value) for value in item.values()]
    return sum(map(len, texts)) <= _WIDE and not any("\n" in text for text in texts)
