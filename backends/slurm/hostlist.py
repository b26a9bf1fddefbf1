"""Lists of hosts as authors write them for ``--nodelist`` and ``--exclude``.

The form: https://slurm.schedmd.com/sbatch.html#OPT_nodelist. sbatch also takes the name of a file there; flowc does
not, since that file would have to be on the machine that submits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lark import Lark

EXAMPLE = "n1,n[2-4,7]"


@cache
def _grammar() -> Lark:
    # Only a flow that names hosts pays for importing the parser.
    from importlib.resources import files

    from lark import Lark

    text = files(__package__).joinpath("hostlist.lark").read_text(encoding="utf-8")
    # A name may begin with digits, inside brackets there are only numbers: the lexer has to look at the place.
    return Lark(text, parser="lalr", lexer="contextual")


def problem(text: str) -> str:
    """Why a text is no list of hosts; empty where it is one."""
    from lark.exceptions import LarkError, UnexpectedInput

    try:
        tree = _grammar().parse(text)
    except UnexpectedInput as error:
        column = error.column if isinstance(error.column, int) and error.column > 0 else len(text) + 1
        return f"it goes wrong at character {column}"
    except LarkError as error:
        return str(error).splitlines()[0]
    for span in tree.find_data("span"):
        first, last = (str(item) if item is not None else None for item in span.children)
        if first is not None and last is not None and int(first) > int(last):
            return f"the range {first}-{last} runs backwards"
    return ""


def names_more_than(number: int, text: str) -> bool:
    """Whether a list of hosts, in which `problem` finds nothing, holds more than so many different ones."""
    seen = set()
    for host in _grammar().parse(text).find_data("host"):
        for parts in _combinations(host.children):
            seen.add("".join(parts))
            if len(seen) > number:
                return True
    return False


def _combinations(parts: Sequence[Any]) -> Iterator[tuple[str, ...]]:
    """The names of one host pattern, in parts; one after the other, since a range may be longer than any memory."""
    if not parts:
        yield ()
        return
    for text in _texts(parts[0]):
        for rest in _combinations(parts[1:]):
            yield text, *rest


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
        return
    for span in part.find_data("span"):
        first, last = (str(item) if item is not None else None for item in span.children)
        assert first is not None
        for number in range(int(first), int(last or first) + 1):
            yield str(number).zfill(len(first))
