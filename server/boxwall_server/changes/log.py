"""The last changes in memory, for watchers that are connected and nearly up to date."""

from collections.abc import Sequence
from typing import Final

from boxwall_server.changes.change import Change
from boxwall_server.changes.revision import Cursor, Epoch, Revision

DEFAULT_CAPACITY: Final = 20_000
"""Changes kept. A watcher further behind than that is served by the store."""


class HistoryBroken(Exception):
    """A change does not continue the log: serving on could lose one, so the process must not."""


class ChangeLog:
    """A bounded window on history, up to its head.

    With capacity 3, after revisions 5, 6, 7, 8: the floor is 5 and the head is 8. A watcher at 5 or
    later can be told what it misses; one at 4 cannot, because 5 is gone.
    """

    def __init__(self, head: Cursor, *, capacity: int = DEFAULT_CAPACITY) -> None:
        self._head = head
        self._capacity = capacity
        self._changes: list[Change] = []

    @property
    def head(self) -> Cursor:
        """Where the log ends."""
        return self._head

    @property
    def floor(self) -> Revision:
        """The lowest revision that a watcher can continue from."""
        return Revision(self._head.revision - len(self._changes))

    def append(self, epoch: Epoch, changes: Sequence[Change]) -> None:
        """Take in a commit. Raises HistoryBroken, changing nothing, unless it continues the log."""
        if epoch != self._head.epoch:
            raise HistoryBroken("the store has begun another history")
        for expected, change in enumerate(changes, start=self._head.revision + 1):
            if change.revision != expected:
                raise HistoryBroken(f"revision {change.revision} came where {expected} was due")
        if not changes:
            return
        self._changes.extend(changes)
        # Trimmed now and then, so that a change costs the same however long the log is.
        if len(self._changes) > 2 * self._capacity:
            del self._changes[: -self._capacity]
        self._head = changes[-1].cursor(epoch)

    def begin_anew(self, head: Cursor) -> None:
        """Forget everything: history goes on from another head, which `append` continues."""
        self._head = head
        self._changes.clear()

    def since(
        self, tenant: str, revision: Revision, *, for_nodes: bool = False
    ) -> list[Change] | None:
        """Return the newest change of each of the tenant's boxes after `revision`, in order.

        `for_nodes` leaves out what nodes do not enforce. None: the log does not reach back so far.
        """
        if revision < self.floor:
            return None
        newest: dict[str, Change] = {}
        missed = self._changes[revision - self.floor :] if revision < self._head.revision else []
        for change in missed:
            if change.box.tenant == tenant and (change.concerns_nodes or not for_nodes):
                newest.pop(change.box.id, None)  # so that the newest also comes in its own place
                newest[change.box.id] = change
        return list(newest.values())
