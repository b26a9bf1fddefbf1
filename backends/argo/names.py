"""Names as Kubernetes and Argo take them, made from the flow's own so that people recognize them.

What is too long is cut and ends in a digest of the whole, so that two long names stay two
(https://kubernetes.io/docs/concepts/overview/working-with-objects/names/).
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 63
"""Characters of a name that may become part of a host's name, or the value of a label."""

LONGEST_CRON = 52
"""Characters of a CronWorkflow's name, which with a time of ten digits is the name of its Workflows."""

GENERATED = 5
"""Random characters that Kubernetes adds to a ``generateName``."""

RANK_JOB = "rank"
"""The replicated job of a gang's JobSet."""

_DIGEST = 6
# In the language of `depends` these are no names (https://expr-lang.org/docs/language-definition).
_EXPRESSION_WORDS = frozenset(["true", "false", "nil", "null", "let", "matches", "contains"])


def short_digest(text: str) -> str:
    """Some hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGEST]


def shortened(name: str, limit: int = LONGEST) -> str:
    """The name, or its beginning and a digest of it where it has more than ``limit`` characters."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - _DIGEST - 1].rstrip('-')}-{short_digest(name)}"


def dns_label(text: str, limit: int = LONGEST) -> str:
    """A name of at most ``limit`` characters out of a-z, 0-9 and -, beginning with a letter (DNS-1035)."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "flow"
    if not plain[0].isalpha():
        plain = f"x-{plain}"
    return shortened(plain, limit)


def flow_object(flow: str, suffix: str = "") -> str:
    """The name of an object of a flow; a Workflow made from it gets six more characters."""
    return dns_label(f"{dns_label(flow, LONGEST - GENERATED - 1 - len(suffix))}{suffix}", LONGEST)


def jobset_prefix(step: str) -> str:
    """The ``generateName`` of a step's JobSets, short enough for the names of their pods.

    These are ``<jobset>-<replicated job>-<job>-<rank>-<random>``, with one job and up to 99,999 ranks.
    """
    room = LONGEST - GENERATED - len(f"-{RANK_JOB}-0-99999-") - GENERATED
    return f"{dns_label(step, room - 1)}-"


class Names:
    """Names of templates, or of the tasks of one of them: each used once.

    Argo takes letters, digits and ``-``; a name that begins with a digit cannot stand in ``depends``.
    """

    def __init__(self, taken: frozenset[str] = frozenset()) -> None:
        self._taken = set(taken)

    def new(self, wanted: str) -> str:
        """A name that nothing else has, as close to what is wanted as can be."""
        plain = re.sub(r"[^A-Za-z0-9-]", "-", wanted).strip("-")
        if plain[:1].isdigit():
            plain = f"step-{plain}"
        if plain in _EXPRESSION_WORDS:
            plain = f"{plain}-step"
        name, number = shortened(plain), 1
        while name in self._taken:
            number += 1
            name = shortened(f"{plain}-{number}")
        self._taken.add(name)
        return name
