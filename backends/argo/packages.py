"""What ``@pypi`` and ``@pypi_base`` want installed before a step runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...compiler.plan import Feature, Plan, Step

_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9._, -]+\])?"
_VERSION = r"[A-Za-z0-9.*+!_-]+"
_SPECIFIER = rf"\s*(==|!=|<=|>=|~=|<|>|===)\s*{_VERSION}\s*"


def requirements(plan: Plan, step: Step) -> list[str]:
    """The requirements of a step as pip takes them, sorted; the step's own go before the flow's."""
    wanted: dict[str, str] = {}
    for feature in _speaking(plan, step):
        if feature.options.get("disabled"):
            wanted.clear()
            continue
        packages = feature.options.get("packages")
        if isinstance(packages, dict):
            wanted.update({str(name): requirement(str(name), str(version)) for name, version in packages.items()})
    return sorted(wanted.values())


def requirement(name: str, version: str) -> str:
    """A package at a version, or within limits such as ``>=1.2,<2``."""
    text = version.strip()
    if text in ("", "*"):
        return name
    return f"{name}{text}" if text[0] in "=!<>~" else f"{name}=={text}"


def problems(plan: Plan, step: Step) -> Iterator[str]:
    """What is no requirement."""
    for feature in _speaking(plan, step):
        packages = feature.options.get("packages")
        for name, version in packages.items() if isinstance(packages, dict) else ():
            text = str(version).strip()
            good = not text or re.fullmatch(_VERSION, text) or re.fullmatch(rf"{_SPECIFIER}(,{_SPECIFIER})*", text)
            if not re.fullmatch(_NAME, name) or not good:
                yield f"{name!r} at {version!r} is no requirement"


def _speaking(plan: Plan, step: Step) -> Iterator[Feature]:
    yield from (feature for feature in plan.features if feature.name == "pypi_base")
    yield from (feature for feature in step.features if feature.name == "pypi")
