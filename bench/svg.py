"""Plots as SVG text, written by hand, for light and for dark pages. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench.figures import human

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 640, 76, 20, 44, 276
"""The picture's width, and the edges of what is between the axes."""

LEGEND, LINE = 334, 16
LETTER = 6.6
"""The width of a letter, about."""

LIGHT: Mapping[str, str] = {"back": "#ffffff", "text": "#222222", "axis": "#444444"}
DARK: Mapping[str, str] = {"back": "#0d1117", "text": "#e6e6e6", "axis": "#b0b0b0"}
GRID = {"light": "#e4e4e4", "dark": "#2a3038"}
COLOURS = ("#0b62a3", "#c2541b", "#2a7d4f", "#8a3c8f", "#6b6b6b", "#8a6a00", "#a3123f", "#00737a")
COLOURS_DARK = (
    *("#58a6ff", "#f0883e", "#56d364", "#d291e4"),
    *("#a8a8a8", "#e3b341", "#ff7b9c", "#39c5cf"),
)


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name and its points."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def growth_plot(title: str, x_label: str, y_label: str, series: Sequence[Series]) -> str:
    """Draw costs over sizes, both on logarithmic scales: a straight line is a power law."""
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    scales = _Scale(min(xs), max(xs), log=True), _Scale(min(ys), max(ys), log=True)
    return _chart(title, x_label, y_label, series, scales, dots=True)


def distribution_plot(title: str, x_label: str, samples: dict[str, Sequence[float]]) -> str:
    """Draw which share of the samples stays below each value; values on a logarithmic scale."""
    series = [
        Series(name, [(x, (rank + 1) / len(values)) for rank, x in enumerate(sorted(values))])
        for name, values in samples.items()
        if values
    ]
    xs = [x for line in series for x, _ in line.points]
    scales = _Scale(min(xs), max(xs), log=True), _Scale(0.0, 1.0, log=False)
    return _chart(title, x_label, "share at or below", series, scales, dots=False)


def time_plot(title: str, x_label: str, y_label: str, series: Sequence[Series]) -> str:
    """Draw values over time, both scales from zero."""
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    scales = _Scale(0.0, max(xs), log=False), _Scale(0.0, max(ys) * 1.1, log=False)
    return _chart(title, x_label, y_label, series, scales, dots=False)


def ratio_plot(title: str, x_label: str, ratios: Mapping[str, float]) -> str:
    """Draw a dot for each ratio on one logarithmic scale, with a line at 1."""
    width, left, right, step = 760, 400, 680, 22
    bottom = TOP + step * len(ratios)
    scale = _Scale(min(1.0, *ratios.values()), max(1.0, *ratios.values()), log=True)

    def x_of(value: float) -> float:
        return left + scale.place(value) * (right - left)

    parts = [_text(16, 24, title, size=15, anchor="start")]
    for tick in scale.ticks():
        kind = "axis" if tick == 1 else "grid"
        parts.append(f'<path d="M{x_of(tick):.1f} {bottom}V{TOP}" class="{kind}"/>')
        parts.append(_text(x_of(tick), bottom + 16, f"{tick:,.10g}"))
    for index, (name, ratio) in enumerate(ratios.items()):
        y = TOP + step * index + step / 2
        parts.append(_text(left - 10, y + 4, name, anchor="end"))
        parts.append(f'<path d="M{x_of(1):.1f} {y}H{x_of(ratio):.1f}" class="line s0"/>')
        parts.append(f'<circle cx="{x_of(ratio):.1f}" cy="{y}" r="4" class="d0"/>')
        parts.append(_text(width - 16, y + 4, human(ratio), anchor="end"))
    parts.append(_text((left + right) / 2, bottom + 34, x_label))
    return _document(title, (width, bottom + 46), 1, parts)


class _Scale:
    """Values to a place between 0 and 1."""

    def __init__(self, low: float, high: float, *, log: bool) -> None:
        self._log = log
        if log:
            low = max(low, 1e-9) / 1.15
            high = max(high, low * 1.5) * 1.15
        self._low, self._high = low, max(high, low + 1e-9)

    def place(self, value: float) -> float:
        if not self._log:
            return (value - self._low) / (self._high - self._low)
        span = math.log(self._high / self._low)
        return math.log(max(value, self._low) / self._low) / span

    def ticks(self) -> list[float]:
        if not self._log:
            rough = (self._high - self._low) / 4
            decade = 10.0 ** math.floor(math.log10(rough))
            step = min((f * decade for f in (1, 2, 2.5, 5, 10)), key=lambda one: abs(one - rough))
            count = math.floor((self._high - self._low) / step + 1e-6)
            return [self._low + step * index for index in range(count + 1)]
        decades = range(math.floor(math.log10(self._low)), math.ceil(math.log10(self._high)) + 1)
        few = len(decades) <= 3
        steps = (1, 2, 5) if few else (1,)
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        return [tick for tick in ticks if self._low <= tick <= self._high]


def _chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    scales: tuple[_Scale, _Scale],
    *,
    dots: bool,
) -> str:
    longest = 40 + LETTER * max(len(line.name) for line in series)
    columns = max(1, min(3, int((WIDTH - LEFT - RIGHT) // longest)))
    parts = [_text(LEFT, 24, title, size=15, anchor="start"), *_axes(x_label, y_label, scales)]
    for index, line in enumerate(series):
        parts += _line(line, index % len(COLOURS), scales, dots=dots)
        parts += _legend(line, index, columns)
    rows = -(-len(series) // columns)
    return _document(title, (WIDTH, LEGEND + LINE * rows), min(len(series), len(COLOURS)), parts)


def _document(title: str, size: tuple[int, int], colours: int, parts: Sequence[str]) -> str:
    """A page's own colours are not known to a picture: the background is drawn with it."""
    width, height = size
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title)}">',
            "<style>",
            ".line{fill:none;stroke-width:2}.axis{fill:none}.dashed{stroke-dasharray:5 4}",
            _style(LIGHT, GRID["light"], COLOURS[:colours]),
            "@media (prefers-color-scheme:dark){",
            _style(DARK, GRID["dark"], COLOURS_DARK[:colours]) + "}",
            "</style>",
            f'<rect width="{width}" height="{height}" class="back"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _style(theme: Mapping[str, str], grid: str, colours: Sequence[str]) -> str:
    lines = "".join(f".s{n}{{stroke:{c}}}.d{n}{{fill:{c}}}" for n, c in enumerate(colours))
    return (
        f".back{{fill:{theme['back']}}}text{{fill:{theme['text']}}}"
        f".axis{{stroke:{theme['axis']}}}.grid{{stroke:{grid}}}{lines}"
    )


def _axes(x_label: str, y_label: str, scales: tuple[_Scale, _Scale]) -> list[str]:
    right = WIDTH - RIGHT
    parts = []
    for tick in scales[0].ticks():
        x = _x(scales[0], tick)
        parts.append(f'<path d="M{x:.1f} {BOTTOM}V{TOP}" class="grid"/>')
        parts.append(_text(x, BOTTOM + 16, f"{tick:,.4g}" if tick < 1e4 else f"{tick:,.0f}"))
    for tick in scales[1].ticks():
        y = _y(scales[1], tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" class="grid"/>')
        parts.append(
            _text(LEFT - 6, y + 4, f"{tick:,.4g}" if tick < 1e4 else f"{tick:,.0f}", anchor="end")
        )
    parts.append(f'<path d="M{LEFT} {TOP}V{BOTTOM}H{right}" class="axis"/>')
    middle = (TOP + BOTTOM) / 2
    turned = f'transform="rotate(-90 16 {middle:.0f})"'
    parts.append(_text((LEFT + right) / 2, BOTTOM + 34, x_label))
    parts.append(_text(16, middle, y_label, extra=turned))
    return parts


def _line(line: Series, colour: int, scales: tuple[_Scale, _Scale], *, dots: bool) -> list[str]:
    places = [(_x(scales[0], x), _y(scales[1], y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dash = " dashed" if line.dashed else ""
    parts = [f'<polyline points="{path}" class="line s{colour}{dash}"/>']
    if dots:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="d{colour}"/>' for x, y in places]
    return parts


def _legend(line: Series, index: int, columns: int) -> list[str]:
    """Below the axis, in as many columns as the longest name allows."""
    x = LEFT + (index % columns) * (WIDTH - LEFT - RIGHT) // columns
    y = LEGEND + (index // columns) * LINE
    dash = " dashed" if line.dashed else ""
    return [
        f'<path d="M{x} {y - 4}h18" class="line s{index % len(COLOURS)}{dash}"/>',
        _text(x + 24, y, line.name, anchor="start"),
    ]


def _x(scale: _Scale, value: float) -> float:
    return LEFT + scale.place(value) * (WIDTH - LEFT - RIGHT)


def _y(scale: _Scale, value: float) -> float:
    return BOTTOM - scale.place(value) * (BOTTOM - TOP)


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "middle", extra: str = ""
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {extra}>'
        f"{escape(text)}</text>"
    )
