"""A Plan as an SVG picture, drawn without other programs."""

from __future__ import annotations

from html import escape

from .drawing import Edge, edges, shape
from .layout import layered
from .plan import Plan, Step

_HEIGHT, _BETWEEN, _MARGIN = 40.0, 52.0, 28.0
_LETTER, _SMALL_LETTER = 8.2, 6.4
_STACK = 5.0
_PLAIN = "#4c566a"
_TIPS = {"next": _PLAIN, "foreach": "#3a8f57", "gang": "#6a3fb5", "switch": "#b58900"}

_STYLE = """
  text { font: 14px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
  text { fill: #1f2430; text-anchor: middle }
  .small { font-size: 11px; fill: #525a6b }
  .label { font-size: 11px }
  .halo { font-size: 11px; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round }
  .box { fill: #ffffff; stroke: #4c566a; stroke-width: 1.4 }
  .end .box { fill: #eceff4 }
  .join .box { fill: #dbe9f6; stroke: #3b6ea5 }
  .switch .box { fill: #fff4d6; stroke: #b58900 }
  .each .box { fill: #dcefe1; stroke: #3a8f57 }
  .gang .box { fill: #e3dcf7; stroke: #6a3fb5; stroke-width: 2.4 }
  .way { fill: none; stroke: #4c566a; stroke-width: 1.4 }
  .way.foreach { stroke: #3a8f57; stroke-width: 1.8 }
  .way.gang { stroke: #6a3fb5; stroke-width: 3 }
  .way.switch { stroke: #b58900; stroke-dasharray: 5 3 }
  .way.again { stroke-dasharray: 2 3 }
  .paper { fill: #ffffff }
"""


def picture(plan: Plan) -> str:
    """The SVG text; the same for the same Plan."""
    steps = {step.name: step for step in plan.steps}
    widths = {name: _width(step) for name, step in steps.items()}
    ways = list(edges(plan))
    forward = [(way.source, way.target) for way in ways if not way.again]
    layout = layered(list(steps), forward, widths)
    y = {name: _y(layer) for name, layer in layout.layer.items()}
    left = min(layout.x[name] - widths[name] / 2 for name in steps)
    left = min([left, *(x for points in layout.through.values() for x, _ in points)])
    right = max(layout.x[name] + widths[name] / 2 for name in steps)
    right = max([right, *(x for points in layout.through.values() for x, _ in points)])
    lines: list[str] = []
    labels: list[str] = []
    reach = right
    for way in ways:
        if way.again:
            path, place, edge = _back(way, layout.x, y, widths)
            reach = max(reach, edge + len(way.label) * _SMALL_LETTER / 2 + 8)
        else:
            points = [(x, _y(layer)) for x, layer in layout.through[way.source, way.target]]
            top = y[way.target] - _HEIGHT / 2 - (_copies(shape(plan, steps[way.target])) - 1) * _STACK
            path, place = _forward(way, layout.x, y[way.source] + _HEIGHT / 2, top, points)
            reach = max(reach, place[0] + len(way.label) * _SMALL_LETTER / 2)
            left = min(left, place[0] - len(way.label) * _SMALL_LETTER / 2)
        kind = f"way {way.kind}{' again' if way.again else ''}"
        tip = f'marker-end="url(#tip{_TIPS.get(way.kind, _PLAIN)[1:]})"'
        title = f"<title>{escape(way.source)} to {escape(way.target)}</title>"
        lines.append(f'  <path class="{kind}" d="{path}" {tip}>{title}</path>')
        if way.label:
            text = f'x="{_n(place[0])}" y="{_n(place[1])}">{escape(way.label)}</text>'
            labels.extend(f'  <text class="{part}" {text}' for part in ("halo", "label"))
    boxes = [_box(plan, step, layout.x[name], y[name], widths[name]) for name, step in steps.items()]
    x0, width = left - _MARGIN, reach - left + 2 * _MARGIN
    height = max(y.values()) + _HEIGHT / 2 + _MARGIN
    view = f'viewBox="{_n(x0)} 0 {_n(width)} {_n(height)}" width="{_n(width)}" height="{_n(height)}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {view} role="img">',
            f"  <title>{escape(plan.name)}</title>",
            f"  <style>{_STYLE}  </style>",
            f"  <defs>{''.join(_tip(color) for color in dict.fromkeys(_TIPS.values()))}</defs>",
            f'  <rect class="paper" x="{_n(x0)}" y="0" width="{_n(width)}" height="{_n(height)}"/>',
            *lines,
            *boxes,
            *labels,
            "</svg>\n",
        ]
    )


def _tip(color: str) -> str:
    # One for each colour: a marker that takes the colour of its line is not known to every viewer.
    return (
        f'<marker id="tip{color[1:]}" viewBox="0 0 8 8" refX="7.5" refY="4" markerUnits="userSpaceOnUse" '
        f'markerWidth="9" markerHeight="9" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{color}"/></marker>'
    )


def _y(layer: int) -> float:
    return _MARGIN + _HEIGHT / 2 + layer * (_HEIGHT + _BETWEEN)


def _n(number: float) -> str:
    """A coordinate, short and never in exponents."""
    return f"{number:.1f}".removesuffix(".0").replace("-0.0", "0")


def _note(step: Step) -> str:
    """The second line of a box."""
    parts = [f"@{step.framework.name}"] if step.framework else []
    if step.resources.gpu:
        parts.append(f"{step.resources.gpu} gpu")
    return " ".join(parts)


def _width(step: Step) -> float:
    return max(len(step.name) * _LETTER, len(_note(step)) * _SMALL_LETTER) + 34


def _copies(kind: str) -> int:
    """What is run many times looks like a stack of cards."""
    return {"gang": 3, "each": 2}.get(kind, 1)


def _box(plan: Plan, step: Step, x: float, y: float, width: float) -> str:
    kind = shape(plan, step)
    left, top = x - width / 2, y - _HEIGHT / 2
    parts = []
    if kind == "switch":
        cut = 12.0
        corners = [(left, y), (left + cut, top), (left + width - cut, top), (left + width, y)]
        corners += [(left + width - cut, top + _HEIGHT), (left + cut, top + _HEIGHT)]
        points = " ".join(f"{_n(a)},{_n(b)}" for a, b in corners)
        parts.append(f'<polygon class="box" points="{points}"/>')
    else:
        copies = _copies(kind)
        radius = _HEIGHT / 2 if kind == "end" else 12 if kind == "join" else 6
        size = f'width="{_n(width)}" height="{_n(_HEIGHT)}" rx="{_n(radius)}"'
        parts.extend(
            f'<rect class="box" x="{_n(left + copy * _STACK)}" y="{_n(top - copy * _STACK)}" {size}/>'
            for copy in range(copies - 1, -1, -1)
        )
    note = _note(step)
    parts.append(f'<text x="{_n(x)}" y="{_n(y + (-2 if note else 5))}">{escape(step.name)}</text>')
    if note:
        parts.append(f'<text class="small" x="{_n(x)}" y="{_n(y + 13)}">{escape(note)}</text>')
    title = f"<title>{escape(' '.join(step.doc.split()))}</title>" if step.doc else ""
    return f'  <g class="{kind}" data-step="{escape(step.name)}">{title}{"".join(parts)}</g>'


Point = tuple[float, float]


def _forward(way: Edge, x: dict[str, float], top: float, bottom: float, points: list[Point]) -> tuple[str, Point]:
    """The path of an edge downwards, and the place of its label."""
    start, end = (x[way.source], top), (x[way.target], bottom)
    stops = [start, *points, end]
    path = f"M{_n(start[0])} {_n(start[1])}"
    for (ax, ay), (bx, by) in zip(stops, stops[1:]):
        if abs(ax - bx) < 0.5:
            path += f" L{_n(bx)} {_n(by)}"
        else:
            middle = (ay + by) / 2
            path += f" C{_n(ax)} {_n(middle)} {_n(bx)} {_n(middle)} {_n(bx)} {_n(by)}"
    (ax, ay), (bx, by) = stops[0], stops[1]
    # Beyond the middle, where the ways of one split have parted.
    return path, (ax + (bx - ax) * 0.72, ay + (min(by, ay + _BETWEEN) - ay) * 0.62 + 4)


def _back(way: Edge, x: dict[str, float], y: dict[str, float], width: dict[str, float]) -> tuple[str, Point, float]:
    """The path of an edge back upwards, along the right side; the place of its label; how far right it reaches."""
    sx, sy = x[way.source] + width[way.source] / 2, y[way.source]
    tx, ty = x[way.target] + width[way.target] / 2, y[way.target]
    if way.source == way.target:
        path = f"M{_n(sx)} {_n(sy + 8)} C{_n(sx + 44)} {_n(sy + 26)} {_n(sx + 44)} {_n(sy - 26)} {_n(sx)} {_n(sy - 8)}"
        return path, (sx + 36 + len(way.label) * _SMALL_LETTER / 2, sy + 4), sx + 40 + len(way.label) * _SMALL_LETTER
    inside = [x[name] + width[name] / 2 for name in x if ty <= y[name] <= sy]
    far = max(inside) + 30
    bend = (far - (sx + tx) / 8) * 8 / 6
    path = f"M{_n(sx)} {_n(sy)} C{_n(bend)} {_n(sy)} {_n(bend)} {_n(ty)} {_n(tx)} {_n(ty)}"
    return path, (far + len(way.label) * _SMALL_LETTER / 2 + 4, (sy + ty) / 2 + 4), far + len(way.label) * _SMALL_LETTER
