"""Which number does a reason to let traffic pass have? Pure.

Connections carry the number in their conntrack mark, and live on while it is in force. So a number
that a connection may carry is not given: an idle connection of long ago would come to life again.
Which those are the kernel knows, and no file can be as sure of it.
"""

from collections.abc import Callable, Container

from boxwall_agent.errors import AgentError
from boxwall_agent.marks import LAST_GRANT, Grant


class NoGrantsLeft(AgentError):
    """Every number is carried by a connection or in force: sixteen million at once."""


class GrantPool:
    """Gives out numbers but those of `avoided`. When the numbers begin anew, `in_use` says which to
    avoid from then on.
    """

    def __init__(
        self, avoided: Container[int] = (), in_use: Callable[[], Container[int]] = frozenset
    ) -> None:
        self._next = 1
        self._avoided = avoided
        self._in_use = in_use

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
