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
_NOT_IN_BLOCK = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
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
        if not value.strip() or _NOT_IN_BLOCK.search(value):
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
    lines = [f"|{hint}{'-' if ends == 0 else '' if ends == 1 else '+'}"]
    lines += [indent + line if line else "" for line in stripped.split("\n")]
    return "\n".join([*lines, *[""] * (ends - 1)])


def _dumped(document: Any) -> str:
    # libyaml writes characters beyond 16 bits otherwise than PyYAML itself does.
    fast = getattr(yaml, "CSafeDumper", None)
    text = _as_text(document, _dumper(fast or yaml.SafeDumper))
    if fast and "\\U" in text:
        return _as_text(document, _dumper(yaml.SafeDumper))
    return text


def _as_text(document: Any, dumper: Any) -> str:
    text: str = yaml.dump(
        document, Dumper=dumper, default_flow_style=False, sort_keys=False, width=2**30, allow_unicode=True
    )
    return text


@functools.cache
def _dumper(base: Any) -> Any:
    """A dumper of PyYAML, in Python or in C, with flowc's style."""

    class Dumper(base):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

    Dumper.add_representer(str, _represent_text)
    Dumper.add_representer(dict, _represent_mapping)
    Dumper.add_representer(list, _represent_list)
    return Dumper


def _represent_text(dumper: Any, value: str) -> Any:
    style = '"'
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        style = ""
    elif "\n" in value and value.strip() and not _NOT_IN_BLOCK.search(value):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _represent_mapping(dumper: Any, value: Mapping[str, Any]) -> Any:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=False if value else None)


def _represent_list(dumper: Any, value: list[Any]) -> Any:
    """Short lists of words, and pairs of a name and a value, stand on one line each."""
    flat = not any(isinstance(item, (dict, list)) or "\n" in str(item) for item in value)
    short = flat and sum(len(str(item)) + 4 for item in value) <= _WIDE
    node = dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=short)
    for item, part in zip(value, node.value):
        if isinstance(item, dict) and _is_pair(item):
            part.flow_style = True
    return node


def _is_pair(item: Mapping[str, Any]) -> bool:
    texts = [str(value) for value in item.values()]
    if len(texts) > 2 or any(isinstance(value, (dict, list)) for value in item.values()):
        return False
    return sum(map(len, texts)) <= _WIDE and not any("\n" in text for text in texts)
