"""Sums: medians, quantiles, ratios pair by pair, and how a cost grows. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, and the least and the greatest of them."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Sum up rounds. There must be at least one."""
        return cls(median(values), min(values), max(values))


def ratios(ours: Sequence[float], beside: Sequence[float]) -> Spread:
    """Divide round by round: what disturbs the machine disturbs both of a pair."""
    return Spread.of([a / b for a, b in zip(ours, beside, strict=True)])


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def thinned(values: Sequence[float], count: int = 400) -> list[float]:
    """Return at most `count` quantiles of `values`, sorted, with both ends: enough for a plot."""
    ordered = sorted(values)
    if len(ordered) <= count:
        return ordered
    step = (len(ordered) - 1) / (count - 1)
    return [ordered[round(index * step)] for index in range(count)]


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Fit cost = a * size ** k by least squares on logarithms and return k.

    1: the cost grows as the size does; 0: it does not grow.
    """
    xs = [math.log(size) for size in sizes]
    ys = [math.log(max(cost, 1e-12)) for cost in costs]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - mean_x) ** 2 for x in xs)


def human(value: float) -> str:
    """Write a figure with three digits that count, and thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        digits = max(0, math.floor(math.log10(abs(value))) - 2)
        return f"{round(value, -digits):,.0f}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 5)}f}"
