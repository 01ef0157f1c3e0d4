"""Figures as an SVG: a row of two panels for each shape, tokens per second and time to the first token.

It draws by hand because no library is both small and maintained: matplotlib is many times the size of the
service, pygal draws one chart to a file and links a script of another site, svgwrite is given up.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from tessera.bench.figures import Figure, Measures, first_token

_WIDTH, _ROW, _TOP = 880, 300, 78
_PANEL_WIDTH, _PANEL_HEIGHT = 340, 200
_LEFTS = (70, 510)

# Servers also differ in markers and dashes; each colour has enough contrast on white and on near black.
_LINES = (
    ("#1f77d0", "", "circle"),
    ("#d9600f", "6 4", "square"),
    ("#2a9350", "2 3", "diamond"),
    ("#a05bd0", "9 3 2 3", "circle"),
    ("#c23f72", "4 2", "square"),
)
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.grid { stroke: #8c959f; stroke-opacity: .35 }
.axis { stroke: #57606a }
.line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .axis { stroke: #9198a1 }
}
"""


@dataclass(frozen=True, slots=True)
class _Quantity:
    heading: str
    unit: str
    value: Callable[[Measures], float | None]


_QUANTITIES = (
    _Quantity("Throughput", "tokens/s", lambda each: each.tokens_per_s),
    _Quantity("Time to the first token, median", "ms", lambda each: _scaled(first_token(each), 1e3)),
)


@dataclass(frozen=True, slots=True)
class _Panel:
    """A rectangle with two axes. `most_x`, `most_y` are the ends of the axes; both begin at 0."""

    left: float
    top: float
    most_x: float
    step_y: float
    most_y: float

    def x(self, value: float) -> float:
        return round(self.left + _PANEL_WIDTH * value / self.most_x, 1)

    def y(self, value: float) -> float:
        return round(self.top + _PANEL_HEIGHT * (1 - value / self.most_y), 1)


def plot(figures: Sequence[Figure]) -> str:
    """Return the document. Figures may be in any order."""
    shapes = list(dict.fromkeys(figure.shape for figure in figures))
    servers = list(dict.fromkeys(figure.server for figure in figures))
    height = _TOP + _ROW * len(shapes) - 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">',
        f"<title>Tokens per second and time to the first token of {escape(', '.join(servers))}</title>",
        f"<style>{_STYLE}</style>",
        *_legend(servers),
    ]
    for row, shape in enumerate(shapes):
        shown = [figure for figure in figures if figure.shape == shape]
        for left, quantity in zip(_LEFTS, _QUANTITIES, strict=True):
            parts += _draw(shape, shown, servers, quantity, left, _TOP + _ROW * row)
    return "\n".join([*parts, "</svg>", ""])


def ticks(most: float) -> tuple[float, float]:
    """The step and the end of an axis that begins at 0: 1, 2 or 5 times a power of ten, four to six steps."""
    if most <= 0:
        return 0.25, 1.0
    power = 10.0 ** math.floor(math.log10(most / 5))
    step = next(power * each for each in (1, 2, 5, 10) if most <= power * each * 5 * 1.0001)
    return step, step * max(1, math.ceil(most / step - 1e-9))


def _draw(
    shape: str,
    figures: Sequence[Figure],
    servers: Sequence[str],
    quantity: _Quantity,
    left: float,
    top: float,
) -> list[str]:
    points = [
        (figure.server, figure.n_streams, value)
        for figure in sorted(figures, key=lambda each: each.n_streams)
        if (value := quantity.value(figure.measures)) is not None
    ]
    streams = sorted({figure.n_streams for figure in figures})
    step, most = ticks(max((value for *_, value in points), default=0))
    panel = _Panel(left, top, streams[-1] * 1.04, step, most)
    parts = [f'<g class="panel">{_text(left, top - 14, f"{quantity.heading}: {shape}", "title")}']
    parts += _axes(panel, streams, quantity.unit)
    for index, server in enumerate(servers):
        own = [(panel.x(x), panel.y(y)) for name, x, y in points if name == server]
        parts += _line(own, index)
    return [*parts, "</g>"]


def _axes(panel: _Panel, streams: Sequence[int], unit: str) -> list[str]:
    right, bottom = panel.left + _PANEL_WIDTH, panel.top + _PANEL_HEIGHT
    parts: list[str] = []
    for i in range(round(panel.most_y / panel.step_y) + 1):
        y = panel.y(i * panel.step_y)
        kind = "grid" if i else "axis"
        parts.append(f'<line class="{kind}" x1="{panel.left}" y1="{y}" x2="{right}" y2="{y}"/>')
        parts.append(_text(panel.left - 8, y + 4, f"{i * panel.step_y:,.10g}", anchor="end"))
    last = -math.inf
    for n in streams:
        x = panel.x(n)
        parts.append(f'<line class="axis" x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 5}"/>')
        if x - last > 26:
            parts.append(_text(x, bottom + 20, str(n), anchor="middle"))
            last = x
    middle = panel.left + _PANEL_WIDTH / 2
    parts.append(_text(middle, bottom + 40, "concurrent streams", anchor="middle"))
    across, down = panel.left - 52, panel.top + _PANEL_HEIGHT / 2
    turned = f'transform="rotate(-90 {across} {down})"'
    return [*parts, f'<text x="{across}" y="{down}" text-anchor="middle" {turned}>{unit}</text>']


def _line(points: Sequence[tuple[float, float]], index: int) -> list[str]:
    colour, dashes, form = _LINES[index % len(_LINES)]
    path = " ".join(f"{x},{y}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    line = f'<polyline class="line" stroke="{colour}"{dashed} points="{path}"/>'
    return [line, *(_mark(x, y, colour, form) for x, y in points)]


def _mark(x: float, y: float, colour: str, form: str, kind: str = "point") -> str:
    if form == "circle":
        return f'<circle class="{kind}" cx="{x}" cy="{y}" r="4.5" fill="{colour}"/>'
    turned = f' transform="rotate(45 {x} {y})"' if form == "diamond" else ""
    corner = f'x="{round(x - 4, 1)}" y="{round(y - 4, 1)}"'
    return f'<rect class="{kind}" {corner} width="8" height="8" fill="{colour}"{turned}/>'


def _legend(servers: Sequence[str]) -> list[str]:
    parts: list[str] = []
    left = float(_LEFTS[0])
    for index, server in enumerate(servers):
        colour, dashes, form = _LINES[index % len(_LINES)]
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        ends = f'x1="{left}" y1="24" x2="{left + 36}" y2="24"'
        parts.append(f'<line class="line" stroke="{colour}"{dashed} {ends}/>')
        parts.append(_mark(left + 18, 24, colour, form, "key"))
        parts.append(_text(left + 44, 28.5, server))
        left += 70 + 7.5 * len(server)
    return parts


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value * by
