"""The part of a Plan that tasks and schedulers go by: how steps are connected, and how addresses follow from that.

It is read from the Plan's JSON, so that a task needs nothing of the compiler.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Optional

from ..dsl import FlowcError
from ..dsl.plain import dataclass
from .address import Address

FAN_OUTS = ("foreach", "gang")
"""The ways of leaving a step that open a fan-out, that is, that add a number to the index."""


class ContractError(FlowcError):
    """A task was started with what does not fit its run: no such step, a wrong index, a parent that is not done."""


class Retry(NamedTuple):
    """Up to ``times`` further attempts, the first after ``wait`` seconds, each later one ``backoff`` times as long."""

    times: int
    wait: float = 0.0
    backoff: float = 1.0

    def wait_before(self, attempt: int) -> float:
        """Seconds between the attempt before and this one, counted from 0; attempt 0 is the first."""
        return float(self.wait * self.backoff ** max(attempt - 1, 0))


class Catch(NamedTuple):
    """The step goes on after it failed for good; ``var`` names the artifact that holds the failure."""

    var: Optional[str] = None
    print_exception: bool = True


class Candidate(NamedTuple):
    """Where the record of a parent may lie: step, index (``at``) and round.

    With ``search`` every round up to ``round`` comes into question, the highest first; ``round`` 0 then means that
    there is no upper limit.
    """

    step: str
    at: tuple[int, ...]
    round: int
    search: bool


@dataclass(frozen=True)
class StepOutline:
    """One step, as in the Plan.

    ``leave_kind`` is one of next, branches, foreach, gang, switch, end; ``over``, ``size``, ``size_parameter``, ``on``
    and ``cases`` belong to one kind each. ``features`` maps other decorators to their options.
    """

    name: str
    kind: str
    leave_kind: str
    targets: tuple[str, ...]
    over: Optional[str]
    size: Optional[int]
    size_parameter: Optional[str]
    on: Optional[str]
    cases: tuple[tuple[str, str], ...]
    inputs: tuple[tuple[str, ...], ...]
    joins: Optional[str]
    scope: tuple[str, ...]
    loop: Optional[str]
    repeats: tuple[str, ...]
    retry: Optional[Retry]
    catch: Optional[Catch]
    timeout: Optional[float]
    env: Mapping[str, str]
    framework: Optional[str]
    framework_options: Mapping[str, Any]
    framework_calls: tuple[str, ...]
    features: Mapping[str, Mapping[str, Any]]
    place: str
    """``file:line`` in the flow; empty where the Plan does not say."""
    gpus: float = 0
    """Devices that it asks for."""
    cpus: float = 0
    """Cores that it asks for; 0 if it does not say."""

    @property
    def opens_fan_out(self) -> bool:
        """Whether its targets run many times at once."""
        return self.leave_kind in FAN_OUTS

    @property
    def grace(self) -> Optional[float]:
        """Seconds that its processes have to save a checkpoint when an attempt is asked to end, where it says that."""
        found: Optional[float] = self.features.get("checkpoint", {}).get("grace")
        return found

    @classmethod
    def from_plan(cls, data: Mapping[str, Any]) -> StepOutline:
        """Read one step of the Plan's JSON."""
        leave = data["leave"]
        kind = leave["kind"]
        cases = tuple((str(case), step) for case, step in leave.get("cases", ()))
        to = leave.get("to", ())
        if cases:
            to = tuple(dict.fromkeys(step for _, step in cases))
        targets = (to,) if isinstance(to, str) else tuple(to)
        framework = data.get("framework") or {}
        span = data.get("span")
        return cls(
            name=data["name"],
            kind=data["kind"],
            leave_kind=kind,
            targets=targets,
            over=leave.get("over"),
            size=leave.get("size"),
            size_parameter=leave.get("parameter"),
            on=leave.get("on"),
            cases=cases,
            inputs=tuple(tuple(group) for group in data.get("inputs", ())),
            joins=data.get("joins"),
            scope=tuple(data.get("scope", ())),
            loop=data.get("loop"),
            repeats=tuple(data.get("repeats", ())),
            retry=Retry(**data["retry"]) if data.get("retry") else None,
            catch=Catch(**data["catch"]) if data.get("catch") is not None else None,
            timeout=data.get("timeout"),
            env=data.get("env", {}),
            framework=framework.get("name"),
            framework_options=framework.get("options", {}),
            framework_calls=tuple(framework.get("calls", ())),
            features={item["name"]: item.get("options", {}) for item in data.get("features", ())},
            place=f"{span['file']}:{span['line']}" if span else "",
            gpus=data.get("resources", {}).get("gpu", 0),
            cpus=data.get("resources", {}).get("cpu") or 0,
        )


class Outline:
    """The steps of a flow by name, in topological order.

    Attributes
    ----------
    name, first, last : str
        The flow's name, its first step and its last.
    steps : dict of str to StepOutline
    project : str or None
    """

    def __init__(
        self, name: str, first: str, last: str, steps: Mapping[str, StepOutline], project: Optional[str] = None
    ) -> None:
        self.name = name
        self.first = first
        self.last = last
        self.steps = dict(steps)
        self.project = project
        self._joined_by = {step.joins: step.name for step in self.steps.values() if step.joins is not None}

    @classmethod
    def from_plan(cls, plan: Mapping[str, Any]) -> Outline:
        """Read the JSON form of a Plan.

        Raises
        ------
        ValueError
            If it is of another version, or no Plan.
        """
        if plan.get("version") != 1:
            raise ValueError(f"the run was planned in form {plan.get('version')!r}; this flowc reads form 1")
        try:
            steps = {step["name"]: StepOutline.from_plan(step) for step in plan["steps"]}
            return cls(plan["name"], plan["first"], plan["last"], steps, plan.get("project"))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a Plan: {error!r}") from error

    def __getitem__(self, step: str) -> StepOutline:
        return self.steps[step]

    def __contains__(self, step: object) -> bool:
        return step in self.steps

    def check(self, address: Address) -> StepOutline:
        """The step of an address that fits this flow.

        Raises
        ------
        ContractError
            If there is no such step, or the index has not one number for each fan-out around it.
        """
        step = self.steps.get(address.step)
        if step is None:
            raise ContractError(f"flow {self.name} has no step {address.step!r}; it has {', '.join(self.steps)}")
        if len(address.index) != len(step.scope):
            wanted = f"one number for each of {', '.join(step.scope)}" if step.scope else "no index"
            raise ContractError(f"{address} is no task of flow {self.name}: step {step.name} takes {wanted}")
        if address.round > 1 and step.loop is None:
            raise ContractError(f"{address} is no task of flow {self.name}: step {step.name} lies in no loop")
        return step

    def joins_fan_out(self, step: str) -> bool:
        """Whether the step joins a foreach or a gang (and not static branches, and not nothing)."""
        joins = self.steps[step].joins
        return joins is not None and self.steps[joins].opens_fan_out

    def joined_by(self, split: str) -> Optional[str]:
        """The step that joins a split step; None where there is none."""
        return self._joined_by.get(split)

    def child_round(self, parent: str, parent_round: int, child: str) -> int:
        """The round in which ``child`` is entered from ``parent``. A join takes the highest over its inputs."""
        source, target = self.steps[parent], self.steps[child]
        if target.loop is None or target.loop != source.loop:
            return 1
        return parent_round + (child in source.repeats)

    def successors(self, address: Address, to: tuple[str, ...], width: Optional[int] = None) -> Iterator[Address]:
        """Where a task that is done leads, lazily. A join is given with the round that follows from this input alone.

        Parameters
        ----------
        address : Address
            The task.
        to : tuple of str
            The targets that it chose (``record.next.to``).
        width : int, optional
            How many tasks a fan-out has; 0 gives none, then go on at `joined_by`.
        """
        fan_out = self.steps[address.step].opens_fan_out
        for target in to:
            round = self.child_round(address.step, address.round, target)
            if fan_out:
                for i in range(width or 0):
                    yield Address(target, (*address.index, i), round)
            else:
                yield Address(target, address.index[: len(self.steps[target].scope)], round)

    def parents_of(self, address: Address, branch: Optional[int] = None) -> tuple[tuple[Candidate, ...], ...]:
        """Where the records of a task's parents may lie: one group of alternatives for each of its inputs.

        ``branch`` picks the input of a join of a fan-out, which has one group that stands for all of them.
        """
        step = self.steps[address.step]
        groups = step.inputs
        if branch is None or step.joins is None or not self.steps[step.joins].opens_fan_out:
            index = address.index
        else:
            index = (*address.index, branch)
        return tuple(
            tuple(c for name in group for c in self._candidate(step, address, name, index)) for group in groups
        )

    def _candidate(self, step: StepOutline, address: Address, name: str, index: tuple[int, ...]) -> Iterator[Candidate]:
        parent = self.steps[name]
        at = index[: len(parent.scope)]
        if parent.loop is None:
            if address.round == 1 or step.joins is not None:
                yield Candidate(name, at, 1, False)
        elif parent.loop != step.loop:
            if address.round == 1 or step.joins is not None:
                yield Candidate(name, at, 0, True)
        elif address.round > (step.name in parent.repeats):
            # The branches of a join may have gone through more or fewer rounds than the one that went through most.
            yield Candidate(name, at, address.round - (step.name in parent.repeats), step.joins is not None)

    def opener_of(self, address: Address, depth: int) -> Candidate:
        """Where the record of the step that opened the fan-out at ``depth`` (0 is the outermost) around a task lies."""
        name = self.steps[address.step].scope[depth]
        return self._split(self.steps[address.step], address, name, address.index[:depth])

    def split_of(self, address: Address) -> Candidate:
        """Where the record of the split step that a join joins lies."""
        step = self.steps[address.step]
        assert step.joins is not None
        return self._split(step, address, step.joins, address.index)

    def _split(self, step: StepOutline, address: Address, name: str, index: tuple[int, ...]) -> Candidate:
        loop = self.steps[name].loop
        if loop is None:
            return Candidate(name, index, 1, False)
        return Candidate(name, index, address.round if loop == step.loop else 0, True)
