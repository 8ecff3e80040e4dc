"""Which number does a reason to let traffic pass have? Pure.

Connections carry the number in their conntrack mark, and live on while it is in force. So a number
is not given twice: an idle connection of long ago would come to life again. 24 bits last for
sixteen million changed entries; then the numbers that connections still carry are passed over.
"""

from collections.abc import Callable, Set

from boxwall_agent.errors import AgentError
from boxwall_agent.marks import LAST_GRANT, Grant


class NoGrantsLeft(AgentError):
    """Every number is carried by a connection or in force: sixteen million at once."""


class GrantPool:
    """Gives out numbers. `in_use` is asked only each time the numbers begin anew."""

    def __init__(self, next_grant: int = 1, in_use: Callable[[], Set[int]] = frozenset) -> None:
        self._next = next_grant
        self._in_use = in_use
        self._avoided: Set[int] = frozenset() if next_grant <= LAST_GRANT else in_use()

    @property
    def next_grant(self) -> int:
        """What a pool that continues this one begins with."""
        return self._next

    def take(self) -> Grant:
        """Return a number that no connection carries. Raises NoGrantsLeft."""
        for _ in range(2):
            while self._next <= LAST_GRANT:
                taken = self._next
                self._next += 1
                if taken not in self._avoided:
                    return Grant(taken)
            self._next = 1
            self._avoided = self._in_use()
        raise NoGrantsLeft("no number is left for a new entry; connections hold all of them")
