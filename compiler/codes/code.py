"""One entry of the registry, and how its examples become whole flows."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import Literal

MARK = "  # <--"
"""What ends the line of a wrong example that the diagnostic points at."""

_HEADER = "from flowc import *\n\n\n"


@dataclass(frozen=True)
class Code:
    """What a code means.

    Parameters
    ----------
    code : str
        ``FC104``.
    title : str
        The rule in a few words.
    explanation : str
        Why it is a rule and what flowc does about it.
    wrong, mended : str
        The same example, before and after.
    form : {"flow", "command"}
        Whether the examples are the body of a flow class (a whole file where they hold a class) or commands and files
        that are looked at as they are.
    target : str
        The target that the rule is about; empty for rules about every flow.
    """

    code: str
    title: str
    explanation: str
    wrong: str
    mended: str
    form: Literal["flow", "command"] = "flow"
    target: str = ""


def entry(
    code: str,
    title: str,
    explanation: str,
    wrong: str,
    mended: str,
    form: Literal["flow", "command"] = "flow",
    target: str = "",
) -> Code:
    """A code, with its texts freed from the indentation of this source."""
    explanation = " ".join(explanation.split())
    wrong, mended = (textwrap.dedent(text).strip("\n") for text in (wrong, mended))
    return Code(code, title, explanation, wrong, mended, form, target)


def whole_flow(example: str) -> str:
    """The file that an example stands for: with its imports and, where it leaves them out, its class, start and end."""
    if re.search(r"^class ", example, re.MULTILINE):
        return f"{_HEADER}{example}\n"
    parts = [example]
    steps = re.findall(r"@step\b.*\n(?:@.*\n)*\s*def (\w+)", example)
    if "def start(" not in example and "start=True" not in example:
        after = steps[0] if steps else "end"
        parts.append(f"@step\ndef start(self):\n    self.next(self.{after})")
    if "def end(" not in example and "end=True" not in example:
        parts.append("@step\ndef end(self):\n    pass")
    body = textwrap.indent("\n\n".join(parts), "    ")
    return f"{_HEADER}class MyFlow(FlowSpec):\n{body}\n"
