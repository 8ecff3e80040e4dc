"""How much may one tenant have, and how fast may it write?

Boxes are counted from the change feed, so the limit is exact within one server. Replicas that share
a store may together let a few more through, as far as they lag behind each other.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.changes.change import ChangeKind
from boxwall_server.changes.revision import Revision
from boxwall_server.clock import Clock
from boxwall_server.service.admission import Admission
from boxwall_server.store.base import Scan
from boxwall_server.store.records import Commit, NewHistory

_DELTA: Final = {ChangeKind.CREATED: 1, ChangeKind.DELETED: -1}


class Scans(Protocol):
    """The part of a store that quotas need."""

    def scan(self, tenant: str) -> AbstractAsyncContextManager[Scan]:
        """Open a reading of all boxes at one cursor."""


@dataclass(slots=True, kw_only=True)
class _Counted:
    """The boxes of one tenant."""

    boxes: int
    at: Revision
    """Where the store was when they were counted: what was written by another replica until then
    comes in later, and is counted already."""
    being_made: int = 0


class Quotas:
    """The limits of every tenant alike. None: no limit."""

    def __init__(
        self, store: Scans, clock: Clock, *, boxes: int | None, writes: float | None
    ) -> None:
        """`writes`: in a second; twice as many may come at once."""
        self._store = store
        self._clock = clock
        self._boxes = boxes
        self._writes = writes
        self._budgets: dict[str, Admission] = {}
        self._counted: dict[str, _Counted] = {}
        self._counting: dict[str, list[tuple[Revision, int]]] = {}
        """What is written of a tenant while its boxes are being counted."""
        self._one_counts = asyncio.Lock()

    def check_write(self, tenant: str) -> None:
        """Take one write from a tenant's budget. Raises ApiError, with when to come back."""
        if self._writes is None:
            return
        budget = self._budgets.get(tenant)
        if budget is None:
            burst = max(1, round(2 * self._writes))
            budget = self._budgets[tenant] = Admission(rate=self._writes, burst=burst)
        delay = budget.ask(self._clock.steady())
        if delay:
            raise ApiError(
                ErrorReason.OVERLOADED,
                f"more than {self._writes:g} writes in a second; come back after {delay:.1f} s",
                retry_after=delay,
            )

    @asynccontextmanager
    async def room_for_a_box(self, tenant: str) -> AsyncIterator[None]:
        """Keep room for one box while it is made. Raises ApiError if there are enough."""
        if self._boxes is None:
            yield
            return
        counted = await self._counts(tenant)
        if counted.boxes + counted.being_made >= self._boxes:
            raise ApiError(
                ErrorReason.QUOTA_EXCEEDED,
                f"a tenant may have {self._boxes} boxes, and has them; delete one first",
            )
        counted.being_made += 1
        try:
            yield
        finally:
            counted.being_made -= 1

    def took_in(self, news: Commit | NewHistory) -> None:
        """Take in what was written. Of a history that has begun anew, boxes are counted anew."""
        if isinstance(news, NewHistory):
            self._counted.clear()
            return
        for change in news.changes:
            delta = _DELTA.get(change.kind, 0)
            counting = self._counting.get(change.box.tenant)
            if counting is not None:
                counting.append((change.revision, delta))
            counted = self._counted.get(change.box.tenant)
            if counted is not None and change.revision > counted.at:
                counted.boxes += delta

    async def _counts(self, tenant: str) -> _Counted:
        """Count once, from the store; from then on `took_in` keeps the number."""
        async with self._one_counts:
            if tenant not in self._counted:
                meanwhile = self._counting[tenant] = []
                try:
                    async with self._store.scan(tenant) as scan:
                        found = sum([len(page) async for page in scan.pages()])
                        at = scan.cursor.revision
                finally:
                    del self._counting[tenant]
                later = sum(delta for revision, delta in meanwhile if revision > at)
                self._counted[tenant] = _Counted(boxes=found + later, at=at)
            return self._counted[tenant]
