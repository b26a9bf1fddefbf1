"""Fields of objects, compared with those that they must have: one that flowc never writes there is named as such."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...compiler.plan import Plan
from . import names, options

ELSEWHERE: Any = object()
"""In place of a value: flowc writes the field, and another comparison sees to what it says."""


def elsewhere(*fields: str) -> dict[str, Any]:
    """Fields that another comparison sees to."""
    return dict.fromkeys(fields, ELSEWHERE)


def differences(there: Any, meant: Any, path: str = "") -> Iterator[str]:
    """What an object says otherwise than it must.

    Parameters
    ----------
    there : object
        A part of the object, as it has been read.
    meant : object
        The same as it must be: of a mapping all fields that flowc ever writes, with None for those that must not be
        there this time. Any other field is foreign.
    path : str
        Where the part is.
    """
    if meant is ELSEWHERE:
        return
    nothing = there is None and meant  # an empty mapping is more than none: `emptyDir: {}`
    if isinstance(meant, dict) and (isinstance(there, dict) or nothing):
        fields = there or {}
        for name in sorted({*fields, *meant}, key=str):
            place = f"{path}.{name}" if path else str(name)
            if name in meant:
                yield from differences(fields.get(name), meant[name], place)
            else:
                yield f"it also says {place}"
    elif isinstance(meant, list) and (isinstance(there, list) or nothing):
        items = there or []
        for number, item in enumerate(meant):
            yield from differences(items[number] if number < len(items) else None, item, f"{path}[{number}]")
        for number in range(len(meant), len(items)):
            yield f"it also says {path}[{number}]"
    elif there != meant:
        yield f"its {path} is {_shown(there)}, not {_shown(meant)}"


def _shown(value: Any) -> str:
    return "none" if value is None else repr(value)


# What several objects have in common ---------------------------------------------------------------------------------


def flow_labels(plan: Plan) -> dict[str, str]:
    """The labels by which everything of a flow is found."""
    project = {"flowc/project": names.dns_label(plan.project)} if plan.project else {}
    return {"flowc/flow": names.flow_object(plan.name), **project}


def pull_secrets(plan: Plan) -> list[dict[str, str]] | None:
    """``imagePullSecrets`` of every pod: a Workflow has them for all of its steps."""
    named = [name for step in plan.steps for name in options.given(step).get("image_pull_secrets") or ()]
    return [{"name": name} for name in dict.fromkeys(named)] or None
