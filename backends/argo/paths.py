"""The ways through a flow, fan-out by fan-out: where they part, where they meet again, where they go in circles.

Inside one fan-out (or outside of all) a task leads to exactly one other, if a split together with everything up to its
join is seen as one step. What follows is about that graph: its nodes are steps, its edges the ways between them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...compiler.plan import Branches, Foreach, Gang, Plan, Step

END = ""
"""What follows the last step."""


class Paths:
    """The ways through a flow.

    Attributes
    ----------
    steps : mapping
        Every step by name.
    join_of : mapping
        The step that joins each split.
    again : set of str
        The steps that a way leads back to.
    meets : mapping
        Where all ways from a step come together again (its immediate post-dominator); `END` or the join of the fan-out
        around it where they do not before.
    """

    def __init__(self, plan: Plan) -> None:
        self.steps: Mapping[str, Step] = {step.name: step for step in plan.steps}
        self.join_of = {step.joins: step.name for step in plan.steps if step.joins is not None}
        self.again = {target for step in plan.steps for target in step.repeats}
        self.meets: dict[str, str] = {}
        todo = [(plan.first, END)]
        while todo:
            head, stop = todo.pop()
            inside = self.reach(head, stop)
            self.meets.update(self._post_dominators(inside, stop))
            for name in inside:
                leave = self.steps[name].leave
                if isinstance(leave, (Branches, Foreach, Gang)):
                    todo.extend((target, self.join_of[name]) for target in leave.targets)

    def onward(self, name: str) -> tuple[str, ...]:
        """Where a step leads, a split to its join."""
        leave = self.steps[name].leave
        if isinstance(leave, (Branches, Foreach, Gang)):
            return (self.join_of[name],)
        return leave.targets or (END,)

    def reach(self, head: str, stop: str, without: Collection[str] = ()) -> set[str]:
        """The steps on all ways from one step to another, the latter left out; ways also end at those ``without``."""
        found = {head}
        todo = [head]
        while todo:
            for target in self.onward(todo.pop()):
                if target not in (stop, END) and target not in found and target not in without:
                    found.add(target)
                    todo.append(target)
        return found

    def circle(self, entry: str, stop: str, without: set[str]) -> set[str]:
        """The steps from which ways lead back to ``entry``, itself included; empty where none does.

        Ways end at ``stop`` and at the steps ``without``.
        """
        inside = self.reach(entry, stop, without)
        before: dict[str, list[str]] = {name: [] for name in inside}
        for name in inside:
            for target in self.onward(name):
                if target in inside:
                    before[target].append(name)
        found: set[str] = set()
        todo = [entry]
        while todo:
            for name in before[todo.pop()]:
                if name not in found:
                    found.add(name)
                    todo.append(name)
        return found if entry in found else set()

    def beyond(self, entry: str, circle: set[str]) -> str:
        """The first step outside of a circle that all ways from ``entry`` come to."""
        at = entry
        while at in circle:
            at = self.meets[at]
        return at

    def _post_dominators(self, inside: set[str], stop: str) -> dict[str, str]:
        """By the algorithm of Cooper, Harvey and Kennedy, on the edges turned round."""
        before: dict[str, list[str]] = {stop: [], **{name: [] for name in inside}}
        for name in inside:
            for target in self.onward(name):
                before[target if target in inside else stop].append(name)
        order = _finished(before, stop)
        place = {name: number for number, name in enumerate(order)}
        nearest = {stop: stop}
        changed = True
        while changed:
            changed = False
            for name in reversed(order[:-1]):
                after = [target if target in inside else stop for target in self.onward(name)]
                known = [target for target in after if target in nearest]
                meet = known[0]
                for other in known[1:]:
                    while meet != other:
                        if place[meet] < place[other]:
                            meet = nearest[meet]
                        else:
                            other = nearest[other]
                if nearest.get(name) != meet:
                    nearest[name] = meet
                    changed = True
        del nearest[stop]
        return nearest


def _finished(edges: Mapping[str, list[str]], root: str) -> list[str]:
    """The nodes in the order in which a depth-first walk leaves them, the root last."""
    order: list[str] = []
    seen = {root}
    # Sorted, so that nothing depends on the order of a set.
    stack = [(root, iter(sorted(edges[root])))]
    while stack:
        name, rest = stack[-1]
        for target in rest:
            if target not in seen:
                seen.add(target)
                stack.append((target, iter(sorted(edges[target]))))
                break
        else:
            order.append(name)
            stack.pop()
    return order
