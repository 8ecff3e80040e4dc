"""How many may be open at once, in all and of each caller? Pure."""

from collections import Counter
from enum import Enum


class Full(Enum):
    """What there is no room in."""

    SERVER = "server"
    CALLER = "caller"


class Occupancy:
    """Counts who is in. With 3 in all and 2 of one:

    enter(a) None, enter(a) None, enter(a) CALLER, enter(b) None, enter(c) SERVER
    """

    def __init__(self, *, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._inside: Counter[str] = Counter()
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def enter(self, who: str) -> Full | None:
        """Count one more. What is returned has no room, and nothing was counted."""
        if self._inside[who] >= self._most_of_one:
            return Full.CALLER
        if self._total >= self._most:
            if not self._inside[who]:
                del self._inside[who]
            return Full.SERVER
        self._inside[who] += 1
        self._total += 1
        return None

    def leave(self, who: str) -> None:
        """Count one less. Raises KeyError if `who` is not in."""
        if who not in self._inside:
            raise KeyError(who)
        self._inside[who] -= 1
        self._total -= 1
        if not self._inside[who]:
            del self._inside[who]
