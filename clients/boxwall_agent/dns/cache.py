"""Answers that hold still. Pure.

Each box has its own: one cannot push out another's, nor learn what another asked for.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from boxwall_agent.dns.answer import Answer

OF_A_BOX: Final = 1_000
OCTETS_OF_A_BOX: Final = 1 << 20
_OF_A_RECORD: Final = 256
"""Octets of memory besides its data, about."""

Key: TypeAlias = tuple[bytes, int]
"""Name on the wire in lower case, and type."""


@dataclass(frozen=True, slots=True)
class Cached:
    """An answer, and when it came."""

    answer: Answer
    since: float

    @property
    def until(self) -> float:
        """When it holds no longer."""
        return self.since + self.answer.ttl


@dataclass(slots=True)
class _Share:
    """Of one box, those first that were not asked for the longest."""

    answers: OrderedDict[Key, Cached] = field(default_factory=OrderedDict)
    octets: int = 0

    def add(self, key: Key, cached: Cached) -> None:
        self.drop(key)
        self.answers[key] = cached
        self.octets += _octets(key, cached)

    def drop(self, key: Key) -> None:
        dropped = self.answers.pop(key, None)
        if dropped is not None:
            self.octets -= _octets(key, dropped)


class Cache:
    """What boxes asked for, each for itself. `now`: seconds."""

    def __init__(self, of_a_box: int = OF_A_BOX, octets_of_a_box: int = OCTETS_OF_A_BOX) -> None:
        self._of_a_box = of_a_box
        self._octets_of_a_box = octets_of_a_box
        self._shares: dict[str, _Share] = {}

    def find(self, box_id: str, key: Key, now: float) -> Cached | None:
        """Return an answer that still holds, or None."""
        share = self._shares.get(box_id)
        found = None if share is None else share.answers.get(key)
        if share is None or found is None:
            return None
        if found.until <= now:
            share.drop(key)
            return None
        share.answers.move_to_end(key)
        return found

    def keep(self, box_id: str, key: Key, answer: Answer, now: float) -> Cached:
        """Remember an answer; the box's one that was not asked for the longest makes room."""
        cached = Cached(answer, now)
        if answer.ttl:
            share = self._shares.setdefault(box_id, _Share())
            share.add(key, cached)
            while len(share.answers) > self._of_a_box or share.octets > self._octets_of_a_box:
                share.drop(next(iter(share.answers)))
        return cached

    def forget(self, box_id: str) -> None:
        """The box is gone."""
        self._shares.pop(box_id, None)

    def __len__(self) -> int:
        return sum(len(share.answers) for share in self._shares.values())


def _octets(key: Key, cached: Cached) -> int:
    """The memory that it takes, about."""
    records = cached.answer.records
    return len(key[0]) + _OF_A_RECORD * (1 + len(records)) + sum(len(one.data) for one in records)
