"""Places for the boxes of a layered drawing.

Boxes lie in layers, parents above children. Edges over several layers pass through points of their own, so that they
keep clear of boxes. Within a layer the order is found by the barycentre method, and the places as the closest ones to
the middle of the neighbours that keep the boxes apart (isotonic regression), so that chains come out straight and
splits symmetric."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_SWEEPS = 6
GAP = 36.0
"""The least space between two boxes of a layer."""


@dataclass(eq=False)
class Layout:
    """Where everything is: the centre of each box, its layer, and the points that each edge passes through."""

    x: dict[str, float] = field(default_factory=dict)
    layer: dict[str, int] = field(default_factory=dict)
    through: dict[tuple[str, str], list[tuple[float, int]]] = field(default_factory=dict)


def layered(order: Sequence[str], edges: Sequence[tuple[str, str]], width: Mapping[str, float]) -> Layout:
    """Lay a graph without cycles out.

    Parameters
    ----------
    order : sequence of str
        The boxes, parents first.
    edges : sequence of (str, str)
        Each once.
    width : mapping
        The width of each box.
    """
    out = Layout(layer=dict.fromkeys(order, 0))
    below: dict[str, list[str]] = {name: [] for name in order}
    for source, target in edges:
        below[source].append(target)
    for name in order:
        for target in below[name]:
            out.layer[target] = max(out.layer[target], out.layer[name] + 1)
    layers: list[list[str]] = [[] for _ in range(max(out.layer.values(), default=-1) + 1)]
    place = dict(out.layer)
    widths = dict(width)
    for name in order:
        layers[place[name]].append(name)
    up: dict[str, list[str]] = {name: [] for name in order}
    down: dict[str, list[str]] = {name: [] for name in order}
    chains: dict[tuple[str, str], list[str]] = {}
    for source, target in edges:
        chain = [f"{source} {target} {number}" for number in range(place[source] + 1, place[target])]
        for number, point in enumerate(chain, place[source] + 1):
            layers[number].append(point)
            place[point] = number
            widths[point] = 0.0
            up[point], down[point] = [], []
        chains[source, target] = chain
        path = [source, *chain, target]
        for one, other in zip(path, path[1:]):
            down[one].append(other)
            up[other].append(one)
    _arrange(layers, up, down)
    out.x = _positions(layers, up, down, widths)
    for way, chain in chains.items():
        out.through[way] = [(out.x[point], place[point]) for point in chain]
    out.x = {name: out.x[name] for name in order}
    return out


def _arrange(layers: list[list[str]], up: Mapping[str, list[str]], down: Mapping[str, list[str]]) -> None:
    """Order the layers so that few edges cross."""
    best = [list(layer) for layer in layers]
    fewest = _crossings(layers, down)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        downwards = sweep % 2 == 0
        neighbours = up if downwards else down
        numbers = range(1, len(layers)) if downwards else range(len(layers) - 2, -1, -1)
        for number in numbers:
            fixed = {name: at for at, name in enumerate(layers[number - 1 if downwards else number + 1])}
            middle = {}
            for at, name in enumerate(layers[number]):
                around = [fixed[other] for other in neighbours[name]]
                middle[name] = sum(around) / len(around) if around else float(at)
            layers[number].sort(key=middle.__getitem__)
        count = _crossings(layers, down)
        if count < fewest:
            fewest, best = count, [list(layer) for layer in layers]
    layers[:] = best


def _crossings(layers: Sequence[Sequence[str]], down: Mapping[str, list[str]]) -> int:
    total = 0
    for upper, lower in zip(layers, layers[1:]):
        at = {name: position for position, name in enumerate(lower)}
        seen: list[int] = []
        for name in upper:
            ends = sorted(at[target] for target in down[name])
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _positions(
    layers: Sequence[Sequence[str]],
    up: Mapping[str, list[str]],
    down: Mapping[str, list[str]],
    width: Mapping[str, float],
) -> dict[str, float]:
    x: dict[str, float] = {}
    for layer in layers:
        at = 0.0
        for name in layer:
            x[name] = at + width[name] / 2
            at += width[name] + GAP
    for sweep in range(2 * _SWEEPS):
        downwards = sweep % 2 == 0
        for layer in layers if downwards else reversed(layers):
            wanted = []
            for name in layer:
                around = (up if downwards else down)[name] or (down if downwards else up)[name]
                wanted.append(sum(x[other] for other in around) / len(around) if around else x[name])
            gaps = [(width[a] + width[b]) / 2 + GAP for a, b in zip(layer, layer[1:])]
            x.update(zip(layer, _apart(wanted, gaps)))
    return x


def _apart(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The places closest to the wanted ones, in their order, with at least the given gaps between neighbours."""
    offset, offsets = 0.0, [0.0]
    for gap in gaps:
        offset += gap
        offsets.append(offset)
    blocks: list[tuple[float, int]] = []
    for want, shift in zip(wanted, offsets):
        mean, size = want - shift, 1
        while blocks and blocks[-1][0] > mean:
            other, count = blocks.pop()
            mean = (mean * size + other * count) / (size + count)
            size += count
        blocks.append((mean, size))
    flat = [mean for mean, size in blocks for _ in range(size)]
    return [mean + shift for mean, shift in zip(flat, offsets)]
