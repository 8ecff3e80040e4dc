"""How many queries a box may make. Pure."""

from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """A bucket of queries."""

    left: float
    since: float

    def take(self, most: float, now: float) -> bool:
        """Take one, if there is one; `most` come back each second. `now`: seconds."""
        self.left = min(most, self.left + (now - self.since) * most)
        self.since = now
        if self.left < 1:
            return False
        self.left -= 1
        return True
