"""What a scheduler is handed at the end of a task: how wide to fan out, which way to go. All else is in the record."""

from __future__ import annotations

import os

from ..dsl import FlowcError
from .record import Record


class OutputsError(FlowcError):
    """The folder that a scheduler reads outputs from cannot be written."""


def leave_outputs(folder: str, record: Record) -> None:
    """Write ``width`` (foreach and gang), ``case`` and ``to`` (switch), and ``round`` of what comes next to a folder.

    Each is a file of its own with the bare text, without a line's end: that is what Argo makes a parameter of.

    Raises
    ------
    OutputsError
        If that fails.
    """
    onward = record.next
    if onward is None or onward.kind == "end":
        return
    values = {"round": str(onward.round)}
    if onward.width is not None:
        values["width"] = str(onward.width)
    if onward.case is not None:
        values["case"], values["to"] = onward.case, onward.to[0]
    try:
        os.makedirs(folder, exist_ok=True)
        for name, text in values.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise OutputsError(
            f"{record.address} is done, but its outputs cannot be left in {folder}: {error.strerror}; mount a folder "
            "there that can be written"
        ) from error
