"""The sizes at which names are measured: so many boxes attached, so many domains in the policy.

boxes    1    100  1,000       with 100 domains
domains  1    100  1,000       with 100 boxes
"""

from dataclasses import dataclass

from bench.harness import Bench


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair of sizes."""

    boxes: int
    entries: int
    middle: int

    @property
    def domains(self) -> list[str]:
        """What the policy allows: no other cell has the same, so no lease is left over from one."""
        return [
            f"d{number}.boxes{self.boxes}of{self.entries}.example" for number in range(self.entries)
        ]

    @property
    def is_middle(self) -> bool:
        """Whether it is on both axes."""
        return self.boxes == self.entries == self.middle

    def is_on(self, axis: str) -> bool:
        """Whether it belongs to the sizes along an axis, "boxes" or "domains"."""
        return self.middle == (self.entries if axis == "boxes" else self.boxes)

    def size(self, axis: str) -> int:
        """Its size along an axis."""
        return self.boxes if axis == "boxes" else self.entries

    @property
    def key(self) -> str:
        """In results.json."""
        return f"{self.boxes}_boxes_{self.entries}_domains"

    @property
    def text(self) -> str:
        """For people."""
        boxes = "1 box" if self.boxes == 1 else f"{self.boxes:,} boxes"
        return f"{boxes}, {self.entries:,} domain{'' if self.entries == 1 else 's'}"


def cells(bench: Bench) -> dict[int, list[Cell]]:
    """Return every cell, by the number of boxes; in a quick run those of the middle only."""
    small, middle, large = bench.pick((1, 10, 50), (1, 100, 1_000))
    if bench.quick:
        return {middle: [Cell(middle, entries, middle) for entries in (middle, large)]}
    return {
        small: [Cell(small, middle, middle)],
        middle: [Cell(middle, entries, middle) for entries in (small, middle, large)],
        large: [Cell(large, middle, middle)],
    }
