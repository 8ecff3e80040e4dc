"""Can what many clients saw of one box be explained by one order of events?

The store gives each write the next revision, so there is one order to try: that of revisions, each
read right after the write it shows. It explains the history if nothing in it contradicts time: if
no operation had ended before one that it places earlier had begun. (Then a moment can be found for
each within its call: the latest begin of all up to it.)

    write 1: |----|
    write 2:          |----|
    read 1:                   |--|      not linearizable: write 2 had ended before it began
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

ABSENT: Final = None
"""The value of a box that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrote:
    """A write that has happened. Its end is when its caller was certain of it."""

    begin: float
    end: float
    revision: int
    value: bytes | None
    """What no other write has set; ABSENT if the box was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A write of which nobody knows whether it has happened, or will. No deletion: nothing that is
    read would tell it from another.
    """

    begin: float
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Saw:
    """A read. Of a box that is not there, the revision is 0 and the value ABSENT."""

    begin: float
    end: float
    revision: int
    value: bytes | None


Operation: TypeAlias = Wrote | Lost | Saw
_Placed: TypeAlias = Wrote | Saw


class NotLinearizable(AssertionError):
    """No order explains what was seen."""


def check_linearizable(operations: Iterable[Operation]) -> None:
    """Raise NotLinearizable unless one order of events explains the operations on one box."""
    operations = tuple(operations)
    reads = [one for one in operations if isinstance(one, Saw)]
    writes = _writes(operations, [read for read in reads if read.value is not ABSENT])
    _refuse_inventions(reads, writes)
    placed: list[_Placed] = [*writes, *(read for read in reads if read.value is not ABSENT)]
    placed.sort(key=lambda one: (one.revision, isinstance(one, Saw), one.begin))
    _refuse_contradictions(placed)
    for read in reads:
        if read.value is ABSENT:
            _refuse_if_present(read, placed)


def _writes(operations: Sequence[Operation], reads: Sequence[Saw]) -> Sequence[Wrote]:
    """Return the writes that happened: those that are known to have, and the lost ones that were
    read.
    """
    revisions = {read.value: read.revision for read in reads}
    writes = [one for one in operations if isinstance(one, Wrote)]
    writes += [
        Wrote(begin=one.begin, end=math.inf, revision=revisions[one.value], value=one.value)
        for one in operations
        if isinstance(one, Lost) and one.value in revisions
    ]
    return writes


def _refuse_inventions(reads: Sequence[Saw], writes: Sequence[Wrote]) -> None:
    by_revision = {write.revision: write for write in writes}
    if len(by_revision) < len(writes):
        raise NotLinearizable("two writes have one revision")
    for read in reads:
        write = by_revision.get(read.revision)
        if read.value is not ABSENT and (write is None or write.value != read.value):
            raise NotLinearizable(f"{read} shows what was not written: {write}")


def _refuse_contradictions(placed: Sequence[_Placed]) -> None:
    """Compare each operation with the one before it that began last."""
    if not placed:
        return
    latest = placed[0]
    for one in placed:
        if one.end < latest.begin:
            raise NotLinearizable(f"{one} had ended before {latest}, which must precede it")
        latest = max(latest, one, key=lambda each: each.begin)


def _refuse_if_present(read: Saw, placed: Sequence[_Placed]) -> None:
    """Look for a place where the box was absent: after all that had ended, before all that had not
    begun.

    Each read takes the first there is. One that begins after another has ended finds none earlier,
    so these reads cannot contradict each other.
    """
    ended = [index for index, one in enumerate(placed) if one.end < read.begin]
    begun = [one.begin <= read.end for one in placed]
    first = ended[-1] + 1 if ended else 0
    last = begun.index(False) if False in begun else len(placed)
    states = [ABSENT, *(one.value for one in placed)]
    if ABSENT not in states[first : last + 1]:
        raise NotLinearizable(f"{read} saw no box, between {first} and {last} of {placed}")
