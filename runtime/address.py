"""The address of a task: its step, the round it is entered in, and its index in every fan-out around it.

``train/0.3`` is index 3 of the inner fan-out, in index 0 of the outer one; a gang's rank is an index like any other and
comes last. ``train@2/0.3`` is the same task entered a second time through a switch. ``start`` lies in no fan-out.

An address is all that a task needs to find its inputs, its siblings and its outputs, so nothing else is handed from
task to task on any target.
"""

from __future__ import annotations

from ..dsl.plain import dataclass

NO_INDEX = "_"
"""How the index of a task outside every fan-out is written where a name is needed (a folder, a task id)."""

_OF_A_STEP = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


@dataclass(frozen=True, order=True)
class Address:
    """One task of a run, attempts aside.

    Parameters
    ----------
    step : str
        Name of the step.
    index : tuple of int
        Position in every enclosing fan-out, outermost first; a gang's rank is the last.
    round : int
        1 for the first time a step is entered at this index; more only inside a loop.
    """

    step: str
    index: tuple[int, ...] = ()
    round: int = 1

    def __str__(self) -> str:
        return f"{self.folder}/{self.task_id}" if self.index else self.folder

    @property
    def folder(self) -> str:
        """The step with its round, as a folder name: ``train`` or ``train@2``."""
        return self.step if self.round == 1 else f"{self.step}@{self.round}"

    @property
    def task_id(self) -> str:
        """The index as one word: ``0.3``, or ``_`` outside every fan-out."""
        return ".".join(map(str, self.index)) or NO_INDEX

    @property
    def key(self) -> str:
        """Where the task's attempts lie below the run: ``train@2/0.3``, ``start/_``."""
        return f"{self.folder}/{self.task_id}"

    def child(self, step: str, *, index: int | None = None, round: int = 1) -> Address:
        """The address one fan-out further in (``index``), or of the next step beside this one."""
        return Address(step, self.index if index is None else (*self.index, index), round)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address back from ``str(address)`` or ``address.key``.

        Raises
        ------
        ValueError
            If the text is no address; the message shows the form.
        """
        # By hand: compiling a regular expression takes longer than all addresses of a small task.
        folder, slash, index = text.partition("/")
        step, at, round = folder.partition("@")
        good = step != "" and step[0] != "_" and _OF_A_STEP.issuperset(step)
        good = good and (not at or (round.isascii() and round.isdigit() and round[0] != "0"))
        if not good or (slash and not index):
            raise ValueError(f"{text!r} is not a task address: write step, step/0.3 or step@2/0.3")
        try:
            return cls(step, parse_index(index), int(round or 1))
        except ValueError:
            raise ValueError(f"{text!r} is not a task address: write step, step/0.3 or step@2/0.3") from None


def parse_index(text: str) -> tuple[int, ...]:
    """The index written as ``0.3``; empty or ``_`` stands for no fan-out.

    Raises
    ------
    ValueError
        If a part is not a whole number of 0 or more.
    """
    if text in ("", NO_INDEX):
        return ()
    parts = text.split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"{text!r} is not an index: write whole numbers joined by dots, as in 0.3")
    return tuple(map(int, parts))
