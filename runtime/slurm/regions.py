"""Which jobs can be submitted at once, and how they depend on each other. Pure: no clock, no file, no process.

A *region* is everything that is known once a task is done: from its entries along ``next``, branches, gangs of a known
size, and joins of which all inputs lie in the region. It ends at steps of which only the step itself can say how they
go on (foreach, switch, a gang of a size computed at run time); their jobs submit the next region.

A join is submitted either with the region that holds all its inputs (by dependency) or by the last of its inputs that
arrives (by arrival). Which of the two is a property of the flow alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ..address import Address
from ..outline import Outline, StepOutline
from ..record import Next

_LONGEST_ARRAY = 4000
"""Bytes of ``--array``: Slurm takes 4 KiB."""

AFTER = "afterany"
"""However the job ended. Slurm calls one a failure of which any process was killed for want of memory, also where a
later attempt went well; every task looks at the records of those before it anyway."""

EACH = "aftercorr"
"""Task by task of two arrays. There is no such dependency that leaves it open how a task ended."""


class Entry(NamedTuple):
    """Where a region begins: one job, or with ``width`` as many as the fan-out that was opened ``at`` that index has.

    ``nodes`` is given for a gang whose size became known at run time.
    """

    step: str
    at: tuple[int, ...]
    round: int
    width: Optional[int] = None
    nodes: Optional[int] = None


class Submission(NamedTuple):
    """One job or one job array to submit.

    Parameters
    ----------
    key : str
        Names it in the run, also as part of a file's name.
    at : tuple of int
        Index of the job (of a gang: without the rank); of an array, that of the task that opened the fan-out.
    array : str or None
        The ids of an array's tasks, as sbatch takes them; ``base`` is added to them for the position in the fan-out.
    nodes : int or None
        Of a gang whose size the script cannot know.
    after : tuple of (str, str)
        Keys of others and the kind of dependency on them.
    """

    key: str
    step: str
    at: tuple[int, ...]
    round: int
    array: Optional[str] = None
    base: int = 0
    nodes: Optional[int] = None
    after: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**self._asdict(), "at": list(self.at), "after": [list(pair) for pair in self.after]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Submission:
        """Read `to_json`'s values back."""
        after = tuple((key, kind) for key, kind in data["after"])
        return cls(**{**data, "at": tuple(data["at"]), "after": after})


def dependency(after: Iterable[tuple[str, str]]) -> str:
    """Ids of jobs, each with the kind of dependency on it, as sbatch takes them: a kind is said once for all of its."""
    kinds: dict[str, list[str]] = {}
    for job, kind in after:
        kinds.setdefault(kind, []).append(job)
    return ",".join(":".join([kind, *jobs]) for kind, jobs in kinds.items())


class Region(NamedTuple):
    """Submissions in an order in which each follows what it depends on, and the jobs of the region that are done
    already (of a resumed run), whose consequences are still to be drawn."""

    submissions: tuple[Submission, ...]
    done: tuple[Address, ...] = ()


Done = Callable[[Address], bool]
"""Whether the job at an address (of a gang: without the rank) has nothing left to do."""


def gang_size(outline: Outline, gang: str, parameters: Mapping[str, Any]) -> Optional[int]:
    """How many ranks a gang step has, where that is known before the run; None otherwise."""
    opener = outline[outline[gang].scope[-1]]
    if opener.size is not None:
        return opener.size
    if opener.size_parameter is not None:
        value = parameters.get(opener.size_parameter)
        # What is no size, the step itself refuses when it runs.
        return value if type(value) is int and value > 0 else None
    return None


def is_dynamic(outline: Outline, step: StepOutline, parameters: Mapping[str, Any]) -> bool:
    """Whether only the step itself, when it has run, can say what follows it."""
    if step.leave_kind == "gang":
        return gang_size(outline, step.targets[0], parameters) is None
    return step.leave_kind in ("foreach", "switch")


def by_dependency(outline: Outline, join: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a join is submitted with its inputs; otherwise the last of them that arrives submits it."""
    split = outline[str(outline[join].joins)]
    if split.leave_kind == "gang":
        return True
    seen: set[str] = set()
    todo = list(split.targets)
    while todo:
        name = todo.pop()
        if name == join or name in seen:
            continue
        seen.add(name)
        step = outline[name]
        if is_dynamic(outline, step, parameters):
            return False
        todo += step.targets
    return True


def follow(outline: Outline, address: Address, onward: Next, parameters: Mapping[str, Any]) -> list[Entry]:
    """Where the region begins that a task with a dynamic end opens; empty where it only arrives at a join.

    Parameters
    ----------
    address, onward : Address, Next
        The task and where its record says that it led.
    """
    step = outline[address.step]
    if not is_dynamic(outline, step, parameters):
        return []
    target = onward.to[0]
    if onward.kind == "switch":
        if outline[target].joins is not None:
            return []
        return [Entry(target, address.index, onward.round)]
    assert onward.width is not None
    if onward.width == 0:
        join = str(outline.joined_by(address.step))
        return [Entry(join, address.index, outline.child_round(address.step, address.round, join))]
    if onward.kind == "gang":
        return [Entry(target, address.index, onward.round, None, onward.width)]
    return [Entry(target, address.index, onward.round, onward.width)]


def arrivals(
    outline: Outline, address: Address, to: Sequence[str], parameters: Mapping[str, Any]
) -> Iterator[tuple[str, int]]:
    """The joins by arrival that a task leads to, each with the round that follows from this input.

    ``to`` is from the task's record: what it led to.
    """
    step = outline[address.step]
    if step.opens_fan_out:
        return
    for name in to:
        if outline[name].joins is not None and not by_dependency(outline, name, parameters):
            yield name, outline.child_round(step.name, address.round, name)


def build(
    outline: Outline,
    entries: Sequence[Entry],
    parameters: Mapping[str, Any],
    max_array: int,
    done: Optional[Done] = None,
) -> Region:
    """The region that begins at these entries.

    Parameters
    ----------
    parameters : mapping
        Values of the flow's parameters, for the sizes of gangs.
    max_array : int
        How many tasks an array may have at most; a wider fan-out becomes several arrays.
    done : callable, optional
        For a run that takes over tasks of another one: which jobs need not run. They are left out.
    """
    return _Builder(outline, parameters, max_array, done).build(entries)


class _Family:
    """Jobs of one step that become known together: one, or one for each position of a fan-out."""

    def __init__(self, entry: Entry, parents: Sequence[tuple[_Family, str]]) -> None:
        self.entry = entry
        self.parents = parents
        self.parts: list[str] = []
        """Keys of its submissions."""
        self.where: dict[int, str] = {}
        """Of arrays, by position: the key of the submission that it is in."""

    def address(self, position: Optional[int]) -> Address:
        index = self.entry.at if position is None else (*self.entry.at, position)
        return Address(self.entry.step, index, self.entry.round)


class _Builder:
    def __init__(self, outline: Outline, parameters: Mapping[str, Any], max_array: int, done: Optional[Done]) -> None:
        self.outline = outline
        self.parameters = parameters
        self.max_array = max(1, max_array)
        self.done = done
        self.submissions: list[Submission] = []
        self.finished: list[Address] = []
        self.todo: deque[_Family] = deque()
        self.waiting: dict[tuple[str, tuple[int, ...], Optional[int]], list[tuple[_Family, int]]] = {}

    def build(self, entries: Sequence[Entry]) -> Region:
        self.todo.extend(_Family(entry, ()) for entry in entries)
        while self.todo:
            family = self.todo.popleft()
            self._place(family)
            self._go_on(family)
        return Region(tuple(self.submissions), tuple(self.finished))

    # One family's submissions -----------------------------------------------------------------------------------------

    def _place(self, family: _Family) -> None:
        if family.entry.width is None:
            address = family.address(None)
            if self.done is not None and self.done(address):
                self.finished.append(address)
                return
            self._add(family, address.folder + "." + address.task_id, None, 0, [])
            return
        first = family.address(None)
        name = f"{first.folder}.{first.task_id}"
        for base in range(0, family.entry.width, self.max_array):
            chunk = range(base, min(base + self.max_array, family.entry.width))
            groups = [part for group in self._groups(family, chunk) for part in _parts(group, base)]
            for number, positions in enumerate(groups):
                # Tasks of an array that is only a part of its chunk are named apart.
                suffix = "" if len(positions) == len(chunk) else f"g{number}"
                self._add(family, f"{name}.c{base}{suffix}", _ranges(positions, base), base, positions)

    def _groups(self, family: _Family, chunk: range) -> list[list[int]]:
        """The positions of a chunk that are left to do, apart by which arrays they wait for."""
        if self.done is None:
            return [list(chunk)]
        groups: dict[tuple[Optional[str], ...], list[int]] = {}
        for position in chunk:
            address = family.address(position)
            if self.done(address):
                self.finished.append(address)
                continue
            waits = tuple(parent.where.get(position) for parent, kind in family.parents if kind == EACH)
            groups.setdefault(waits, []).append(position)
        return list(groups.values())

    def _add(self, family: _Family, key: str, array: Optional[str], base: int, positions: list[int]) -> None:
        entry = family.entry
        after: dict[tuple[str, str], None] = {}
        for parent, kind in family.parents:
            if kind == EACH:
                found = parent.where.get(positions[0])
                if found is not None:
                    after[found, EACH] = None
            else:
                for part in parent.parts:
                    after[part, AFTER] = None
        family.parts.append(key)
        family.where.update(dict.fromkeys(positions, key))
        self.submissions.append(
            Submission(key, entry.step, entry.at, entry.round, array, base, self._nodes(entry), tuple(after))
        )

    def _nodes(self, entry: Entry) -> Optional[int]:
        if self.outline[entry.step].kind != "gang":
            return None
        opener = self.outline[self.outline[entry.step].scope[-1]]
        if opener.size is not None:
            return None  # the script says it
        return entry.nodes or gang_size(self.outline, entry.step, self.parameters)

    # What follows a family ------------------------------------------------------------------------------------------

    def _go_on(self, family: _Family) -> None:
        entry = family.entry
        step = self.outline[entry.step]
        if is_dynamic(self.outline, step, self.parameters):
            return
        for name in step.targets:
            target = self.outline[name]
            round = self.outline.child_round(step.name, entry.round, name)
            if target.joins is None:
                self._next(family, Entry(name, entry.at, round, entry.width))
            elif by_dependency(self.outline, name, self.parameters):
                self._join(family, target, round)

    def _next(self, family: _Family, entry: Entry) -> None:
        self.todo.append(_Family(entry, [(family, AFTER if entry.width is None else EACH)]))

    def _join(self, family: _Family, join: StepOutline, round: int) -> None:
        split = self.outline[str(join.joins)]
        entry = family.entry
        if split.leave_kind == "foreach":
            self.todo.append(_Family(Entry(join.name, entry.at, round), [(family, AFTER)]))
            return
        if split.leave_kind == "gang":
            self._next(family, Entry(join.name, entry.at, round, entry.width))
            return
        arrived = self.waiting.setdefault((join.name, entry.at, entry.width), [])
        arrived.append((family, round))
        if len(arrived) == len(join.inputs):
            highest = max(round for _, round in arrived)
            kind = AFTER if entry.width is None else EACH
            parents = [(parent, kind) for parent, _ in arrived]
            self.todo.append(_Family(Entry(join.name, entry.at, highest, entry.width), parents))


def _parts(positions: list[int], base: int) -> Iterator[list[int]]:
    """Positions in parts whose texts are not too long: those that a resumed run has left to do may have many gaps."""
    while positions:
        count = len(positions)
        while len(_ranges(positions[:count], base)) > _LONGEST_ARRAY:
            count = -(-count // 2)
        yield positions[:count]
        positions = positions[count:]


def _ranges(positions: Sequence[int], base: int) -> str:
    """Positions as sbatch takes the ids of an array: ``0-99`` or ``1,3,5-9``."""
    parts: list[list[int]] = []
    for position in positions:
        at = position - base
        if parts and parts[-1][1] == at - 1:
            parts[-1][1] = at
        else:
            parts.append([at, at])
    # A single one is written as a range, too, so that it is an array in any case.
    return ",".join(f"{first}-{last}" if first != last or len(parts) == 1 else str(first) for first, last in parts)
