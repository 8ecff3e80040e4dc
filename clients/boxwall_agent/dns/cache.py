"""Answers that hold still. Pure.

Each box has its own: one cannot push out another's, nor learn what another asked for.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, TypeAlias

from boxwall_agent.dns.answer import Answer

OF_A_BOX: Final = 1_000

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


class Cache:
    """What boxes asked for, each for itself. `now`: seconds."""

    def __init__(self, of_a_box: int = OF_A_BOX) -> None:
        self._of_a_box = of_a_box
        self._boxes: dict[str, OrderedDict[Key, Cached]] = {}

    def find(self, box_id: str, key: Key, now: float) -> Cached | None:
        """Return an answer that still holds, or None."""
        of_box = self._boxes.get(box_id)
        found = None if of_box is None else of_box.get(key)
        if of_box is None or found is None:
            return None
        if found.until <= now:
            del of_box[key]
            return None
        of_box.move_to_end(key)
        return found

    def keep(self, box_id: str, key: Key, answer: Answer, now: float) -> Cached:
        """Remember an answer; the box's one that was not asked for the longest makes room."""
        cached = Cached(answer, now)
        if answer.ttl:
            of_box = self._boxes.setdefault(box_id, OrderedDict())
            of_box[key] = cached
            of_box.move_to_end(key)
            if len(of_box) > self._of_a_box:
                of_box.popitem(last=False)
        return cached

    def forget(self, box_id: str) -> None:
        """The box is gone."""
        self._boxes.pop(box_id, None)

    def __len__(self) -> int:
        return sum(map(len, self._boxes.values()))
