"""Lists of hosts as authors write them for ``--nodelist`` and ``--exclude``.

The form: https://slurm.schedmd.com/sbatch.html#OPT_nodelist. sbatch also takes the name of a file there; flowc does
not, since that file would have to be on the machine that submits.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ...runtime.hostlist import expand

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
    try:
        for host in expand(text):
            seen.add(host)
            if len(seen) > number:
                return True
    except ValueError:
        return True  # one range of it alone has a million
    return False
