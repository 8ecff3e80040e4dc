"""Plots as SVG text, written by hand. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 76, 20, 44, 84
COLOURS = ("#0b62a3", "#c2541b", "#2a7d4f", "#8a3c8f", "#6b6b6b", "#b08900")


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


class _Scale:
    """Values to a place between 0 and 1."""

    def __init__(self, low: float, high: float, *, log: bool) -> None:
        self._log = log
        if log:
            low = max(low, 1e-9) / 1.15
            high = max(high, low * 1.5) * 1.15
        self._low, self._high = low, high

    def place(self, value: float) -> float:
        if not self._log:
            return (value - self._low) / (self._high - self._low)
        span = math.log(self._high / self._low)
        return math.log(max(value, self._low) / self._low) / span

    def ticks(self) -> list[float]:
        if not self._log:
            return [self._low + (self._high - self._low) * step / 4 for step in range(5)]
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
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 24, title, size=15, anchor="start"),
        *_axes(x_label, y_label, scales),
    ]
    for index, line in enumerate(series):
        parts += _line(line, COLOURS[index % len(COLOURS)], scales, dots=dots)
        parts += _legend(line, COLOURS[index % len(COLOURS)], index)
    return "\n".join([*parts, "</svg>", ""])


def _axes(x_label: str, y_label: str, scales: tuple[_Scale, _Scale]) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#444444"/>']
    for tick in scales[0].ticks():
        x = _x(scales[0], tick)
        parts.append(f'<path d="M{x:.1f} {bottom}V{TOP}" stroke="#e4e4e4"/>')
        parts.append(_text(x, bottom + 16, f"{tick:,.10g}"))
    for tick in scales[1].ticks():
        y = _y(scales[1], tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#e4e4e4"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{tick:,.10g}", anchor="end"))
    middle = (TOP + bottom) / 2
    turned = f'transform="rotate(-90 16 {middle:.0f})"'
    parts.append(_text((LEFT + right) / 2, bottom + 34, x_label))
    parts.append(_text(16, middle, y_label, extra=turned))
    return parts


def _line(line: Series, colour: str, scales: tuple[_Scale, _Scale], *, dots: bool) -> list[str]:
    places = [(_x(scales[0], x), _y(scales[1], y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dash = ' stroke-dasharray="5 4"' if line.dashed else ""
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>']
    if dots:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return parts


def _legend(line: Series, colour: str, index: int) -> list[str]:
    """Three columns below the axis."""
    x = LEFT + (index % 3) * 185
    y = HEIGHT - 26 + (index // 3) * 16
    dash = ' stroke-dasharray="5 4"' if line.dashed else ""
    return [
        f'<path d="M{x} {y - 4}h18" stroke="{colour}" stroke-width="2"{dash}/>',
        _text(x + 24, y, line.name, anchor="start"),
    ]


def _x(scale: _Scale, value: float) -> float:
    return LEFT + scale.place(value) * (WIDTH - LEFT - RIGHT)


def _y(scale: _Scale, value: float) -> float:
    return HEIGHT - BOTTOM - scale.place(value) * (HEIGHT - TOP - BOTTOM)


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "middle", extra: str = ""
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="#222222" {extra}>{escape(text)}</text>'
    )
