"""Text that is safe on a terminal, and tables of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final


class Tone(Enum):
    """What colour says, where there is colour. Never the only place where it is said."""

    PLAIN = "plain"
    GOOD = "good"
    WAITING = "waiting"
    BAD = "bad"
    FAINT = "faint"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. The text is made safe when it is shown."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under headings. `if_empty` is said instead of a table without rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    if_empty: str


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Cell]], *, if_empty: str) -> Table:
    """Make a table; cells may be plain text."""
    return Table(
        columns=tuple(columns),
        rows=tuple(
            tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows
        ),
        if_empty=if_empty,
    )


_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def safe(text: str) -> str:
    """Return text in which nothing can act on a terminal or turn it around.

    Names, labels and refused domains come from other machines, some from inside a box. What does
    not print (escape sequences, bidirectional overrides, zero-width characters, line ends) is
    written as an escape: "\\x1b[31m".
    """
    if text.isprintable():
        return text
    return "".join(map(_safe_character, text))


def lines_of(shown: Table) -> list[str]:
    """Return a table as aligned lines without colour, for pipes; columns end with two spaces."""
    if not shown.rows:
        return [shown.if_empty]
    texts = [list(shown.columns), *([safe(cell.text) for cell in row] for row in shown.rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(shown.columns))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    ]


def time_text(time: datetime | None) -> str:
    """Return an instant for people, in UTC; "-" for none."""
    return "-" if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _safe_character(character: str) -> str:
    if character.isprintable():
        return character
    return _SHORT.get(character) or character.encode("unicode_escape", "surrogatepass").decode()
