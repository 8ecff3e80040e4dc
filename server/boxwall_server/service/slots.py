"""Who may write now? So many at once; the others wait, each tenant in its turn.

A write that is being worked on costs the event loop a fraction of a millisecond, again and again:
a thousand of them at once would hold up every acknowledgement and bookmark by a second. So few are
worked on, enough to fill two batches of the store, and the others cost nothing while they wait.
"""

import asyncio
from collections import OrderedDict, deque
from typing import Final

AT_ONCE: Final = 128
MOST_WAITING: Final = 4_000

_Waiting = deque["asyncio.Future[None]"]


class TooManyWait(Exception):
    """There is no place left to wait in."""


class Slots:
    """With 1 at once, a a a b of two tenants are served a b a a."""

    def __init__(self, at_once: int = AT_ONCE, most_waiting: int = MOST_WAITING) -> None:
        self._free = at_once
        self._most_waiting = most_waiting
        self._tenants: OrderedDict[str, _Waiting] = OrderedDict()
        self._count = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._count

    async def take(self, tenant: str) -> None:
        """Take a slot, to be given back. Raises TooManyWait at once."""
        if self._free and not self._count:
            self._free -= 1
            return
        if self._count >= self._most_waiting:
            raise TooManyWait
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tenants.setdefault(tenant, deque()).append(turn)
        self._count += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()  # it was ours already
            else:
                self._forget(tenant, turn)
            raise

    def give_back(self) -> None:
        """Let the next one write."""
        if not self._tenants:
            self._free += 1
            return
        tenant, waiting = self._tenants.popitem(last=False)
        turn = waiting.popleft()
        if waiting:
            self._tenants[tenant] = waiting  # behind the other tenants
        self._count -= 1
        turn.set_result(None)

    def _forget(self, tenant: str, turn: "asyncio.Future[None]") -> None:
        waiting = self._tenants[tenant]
        waiting.remove(turn)
        if not waiting:
            del self._tenants[tenant]
        self._count -= 1
