"""What Argo and the kubelet put into texts, and what Argo evaluates. Written anew for the lab: it shares nothing with
the verifier, and raises for every form that flowc's manifests do not use.

Variables: https://argo-workflows.readthedocs.io/en/latest/variables/
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any


class NotModelled(Exception):
    """A manifest uses what the lab does not know; it would be dishonest to pass over it."""


class Unresolved(Exception):
    """A variable that is not there: Argo ends the node with phase Error."""


def known(node: Any, path: str, *fields: str) -> Mapping[str, Any]:
    """A mapping that has no other fields than these."""
    if not isinstance(node, Mapping):
        raise NotModelled(f"{path}: {node!r} is no mapping")
    for name in node:
        if name not in fields:
            raise NotModelled(f"{path}.{name}: the lab does not know this field")
    return node


# Tags -----------------------------------------------------------------------------------------------------------------

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_CALL = re.compile(r"sprig\.b64enc\(([A-Za-z.]+)\)")
_CUT = re.compile(r"sprig\.trunc\(([0-9]+), ([A-Za-z.]+)\)")


def substitute(value: Any, variables: Mapping[str, str]) -> Any:
    """The value with every tag in it replaced, as Argo does with a template before it runs.

    Raises
    ------
    Unresolved
        If there is no such variable.
    """
    if isinstance(value, str):
        return _TAG.sub(lambda found: _resolve(found[1], variables), value) if "{{" in value else value
    if isinstance(value, Mapping):
        return {name: substitute(item, variables) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [substitute(item, variables) for item in value]
    return value


def _resolve(body: str, variables: Mapping[str, str]) -> str:
    if body.startswith("="):
        return _expression(body[1:].strip(), variables)
    name = body.strip()
    if name not in variables:
        raise Unresolved(f"failed to resolve {{{{{name}}}}}")
    return variables[name]


def _expression(text: str, variables: Mapping[str, str]) -> str:
    call = _CALL.fullmatch(text)
    if call:
        if call[1] not in variables:
            raise Unresolved(f"failed to evaluate {text}")
        return base64.b64encode(variables[call[1]].encode()).decode()
    cut = _CUT.fullmatch(text)
    if cut:
        if cut[2] not in variables:
            raise Unresolved(f"failed to evaluate {text}")
        # Go counts bytes; what is left of a character becomes U+FFFD in the JSON of the template.
        return variables[cut[2]].encode()[: int(cut[1])].decode(errors="replace")
    parts = [part.strip() for part in text.split("+")]
    if all(re.fullmatch(r"'[^'\\]*'", part) for part in parts):
        return "".join(part[1:-1] for part in parts)
    raise NotModelled(f"the lab does not evaluate {{{{={text}}}}}")


def expand(text: str, env: Mapping[str, str]) -> str:
    """What the kubelet makes of ``$(NAME)`` and ``$$`` in commands, arguments and values of variables.

    https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
    """

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return env.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


# Conditions -----------------------------------------------------------------------------------------------------------

_RESULTS = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed")
_DEPENDS = re.compile(r"\s*(&&|\|\||!|\(|\)|[A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z]+)?)")
_WHEN = re.compile(r"'([^'\\]*)' (==|!=) '([^'\\]*)'")


def tokens_of_depends(text: str) -> list[str]:
    """The words of a ``depends``."""
    found, at = [], 0
    while text[at:].strip():
        word = _DEPENDS.match(text, at)
        if word is None:
            raise NotModelled(f"depends {text!r}: {text[at:]!r} cannot be read")
        found.append(word[1])
        at = word.end()
    return found


def names_in_depends(text: str) -> list[str]:
    """The tasks that a ``depends`` names."""
    words = [word.partition(".")[0] for word in tokens_of_depends(text) if word not in ("&&", "||", "!", "(", ")")]
    return list(dict.fromkeys(words))


def evaluate_depends(text: str, ended_as: Callable[[str, str], bool]) -> bool:
    """Whether a ``depends`` holds; ``ended_as(task, result)`` tells of each task.

    https://argo-workflows.readthedocs.io/en/latest/enhanced-depends-logic/
    """
    words = tokens_of_depends(text)

    def either() -> bool:
        value = both()
        while words and words[0] == "||":
            words.pop(0)
            value = both() or value
        return value

    def both() -> bool:
        value = one()
        while words and words[0] == "&&":
            words.pop(0)
            value = one() and value
        return value

    def one() -> bool:
        word = words.pop(0) if words else ""
        if word == "!":
            return not one()
        if word == "(":
            value = either()
            if not words or words.pop(0) != ")":
                raise NotModelled(f"depends {text!r}: a bracket is not closed")
            return value
        name, dot, result = word.partition(".")
        if not name or name in ("&&", "||", ")"):
            raise NotModelled(f"depends {text!r}: a task is missing")
        if not dot:
            return any(ended_as(name, each) for each in ("Succeeded", "Skipped", "Daemoned"))
        if result not in _RESULTS:
            raise NotModelled(f"depends {text!r}: {result} is no result")
        return ended_as(name, result)

    value = either()
    if words:
        raise NotModelled(f"depends {text!r}: {' '.join(words)} is left over")
    return value


def evaluate_when(text: str) -> bool:
    """Whether a ``when`` holds: comparisons of quoted texts joined by ``&&``."""
    values = []
    for term in text.split(" && "):
        found = _WHEN.fullmatch(term.strip())
        if found is None:
            raise NotModelled(f"the lab does not evaluate when: {text}")
        values.append((found[1] == found[3]) == (found[2] == "=="))
    return all(values)


def seconds(text: str) -> float:
    """``90``, ``10s``, ``1.5m``, ``2h`` in seconds."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?", text)
    if found is None:
        raise NotModelled(f"{text!r} is no span of time that the lab reads")
    return float(found[1]) * {"ms": 0.001, None: 1, "s": 1, "m": 60, "h": 3600}[found[2]]
