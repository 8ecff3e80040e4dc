"""What a question brings: rows for the report, judged by targets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.figures import Spread, exponent


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What was promised: a bound on the ratio, or on the figure itself."""

    of: Literal["ratio", "figure"]
    at_least: float | None = None
    at_most: float | None = None
    only_at: str = ""
    """The size that the promise is about, if this row is smaller: it cannot show it then."""

    def shown_at(self, size: float, promised: float, unit: str) -> "Target":
        """Return the target for a row of that size, which may be smaller than what is promised."""
        return self if size >= promised else replace(self, only_at=f"{promised:,.0f} {unit}")

    @property
    def text(self) -> str:
        """Write the target as results.json has it."""
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        where = f" (at {self.only_at})" if self.only_at else ""
        return f"{self.of} {bound}{where}"

    def met_by(self, value: float) -> bool:
        """Return whether a value keeps the bound."""
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)

    def missed_by(self, value: float) -> str:
        """Say by how much a value misses the bound."""
        if self.at_least is not None and value < self.at_least:
            return f"missed: {value / self.at_least:.0%} of what is wanted"
        assert self.at_most is not None
        if self.at_most == 0:
            return f"missed: {value:g} where none is allowed"
        return f"missed: {value / self.at_most:.2g} times what is allowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One size of one question."""

    key: str
    """In results.json."""
    size: float
    size_text: str
    figure: Spread
    unit: str
    beside: Spread | None = None
    ratio: Spread | None = None
    target: Target | None = None
    note: str = ""

    @property
    def judged(self) -> float | None:
        """The value that the target is about."""
        if self.target is None:
            return None
        if self.target.of == "figure":
            return self.figure.middle
        return None if self.ratio is None else self.ratio.middle

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None: there is none, or this size cannot show it."""
        if self.target is None or self.judged is None or self.target.only_at:
            return None
        return self.target.met_by(self.judged)

    @property
    def verdict(self) -> str:
        """Say what became of the target, for people."""
        target, value = self.target, self.judged
        if target is None or value is None:
            return ""
        outcome = "met" if target.met_by(value) else target.missed_by(value)
        return f"{outcome} at this size" if target.only_at else outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How one cost grows with one size."""

    what: str
    sizes: Sequence[float]
    costs: Sequence[float]

    @property
    def exponent(self) -> float:
        """What was fitted. 0: it does not grow; 1: it grows as the size does."""
        return exponent(self.sizes, self.costs)

    @property
    def between(self) -> str:
        """Say from which size to which."""
        return f"{min(self.sizes):,.0f} to {max(self.sizes):,.0f}"

    @property
    def text(self) -> str:
        """Say it with the fitted exponent."""
        return f"{self.what}: size to the power {self.exponent:.2f} (from {self.between})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A picture beside the report."""

    file: str
    svg: str
    caption: str


@dataclass(slots=True, kw_only=True)
class Answer:
    """One table of the report."""

    title: str
    what: str
    """What was measured, and how."""
    beside: str = ""
    """What it is beside, durability included. Empty: nothing is."""
    rows: list[Row] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    left_out: str = ""
    """Why there is no row on this machine."""
