"""Flows whose switches and loops are not nested neatly."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def tangles(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Steps, each leading to one or, by a switch, to several others, forwards and back, and all of them to the end."""
    names = [f"s{number}" for number in range(draw(st.integers(2, 7)))]
    onward = {"start": (names[0],)}
    for number, name in enumerate(names):
        ahead = [*names[number + 1 :], "end"]
        first = draw(st.sampled_from(ahead))
        more = draw(st.lists(st.sampled_from([*names, "end"]), max_size=3))
        onward[name] = tuple(dict.fromkeys([first, *more]))
    seen, todo = {"start"}, ["start"]
    while todo:
        for name in onward.get(todo.pop(), ()):
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return {name: targets for name, targets in onward.items() if name in seen}


def tangled(onward: dict[str, tuple[str, ...]]) -> str:
    lines = ["from flowc import FlowSpec, step", "", "class Tangle(FlowSpec):"]
    for name, targets in onward.items():
        if len(targets) == 1:
            leave = f"self.next(self.{targets[0]})"
        else:
            cases = ", ".join(f"'{target}': self.{target}" for target in targets)
            leave = f"self.way = '{targets[0]}'; self.next({{{cases}}}, condition='way')"
        lines += ["    @step", f"    def {name}(self):", f"        {leave}", ""]
    return "\n".join([*lines, "    @step", "    def end(self):", "        pass", ""])
