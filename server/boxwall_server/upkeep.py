"""What must be done now and then: end boxes whose time is up, remember nodes, compact the log."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from boxwall_server.changes.change import BoxRecord
from boxwall_server.clock import Clock
from boxwall_server.metrics import Metrics
from boxwall_server.store.base import Upkeep, Writer
from boxwall_server.store.errors import BoxNotFound, StoreError
from boxwall_server.store.mutations import DeleteBox, RecordNodes
from boxwall_server.store.records import NodeRecord

EXPIRY_CHECK: Final = 0.25
"""Seconds between looks for boxes whose time is up: they end at most so much late."""

NODES_INTERVAL: Final = 10.0
COMPACT_INTERVAL: Final = 60.0
_AT_ONCE: Final = 500

_log = structlog.get_logger()


class UpkeepStore(Upkeep, Writer, Protocol):
    """The part of a store that upkeep needs."""


class Sweeper:
    """Ends boxes whose time is up."""

    def __init__(self, store: UpkeepStore, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Sweep until cancelled. A store that does not answer is asked again."""
        while True:
            try:
                if await self._store.takes_turn():
                    await self.sweep()
            except StoreError as exc:
                _log.warning("sweep_failed", error=str(exc))
            await asyncio.sleep(EXPIRY_CHECK)

    async def sweep(self) -> int:
        """Delete the boxes whose time is up now; return how many."""
        now = self._clock.now()
        due = await self._store.next_expiry()
        if due is None or due > now:
            return 0
        expired = await self._store.expired(now, limit=_AT_ONCE)
        deleted = await asyncio.gather(*(self._end(box) for box in expired))
        self._metrics.expired.inc(sum(deleted))
        return sum(deleted)

    async def _end(self, box: BoxRecord) -> bool:
        now = self._clock.now()
        try:
            await self._store.apply(
                DeleteBox(tenant=box.tenant, id=box.id, now=now, expired_at=now)
            )
        except BoxNotFound:
            return False  # deleted, or given more time, since it was listed
        _log.info("box_expired", tenant=box.tenant, box=box.id)
        return True


async def keep_compacting(store: Upkeep, clock: Clock, retain: int) -> None:
    """Compact the change log now and then, until cancelled."""
    while True:
        await asyncio.sleep(COMPACT_INTERVAL)
        try:
            if await store.takes_turn():
                await store.compact(now=clock.now(), retain=retain)
        except StoreError as exc:
            _log.warning("compact_failed", error=str(exc))


async def keep_recording(store: Writer, nodes: Callable[[], Sequence[NodeRecord]]) -> None:
    """Remember what was heard of nodes now and then, until cancelled."""
    while True:
        await asyncio.sleep(NODES_INTERVAL)
        await record_nodes(store, nodes())


async def record_nodes(store: Writer, nodes: Sequence[NodeRecord]) -> None:
    """Remember what was heard of nodes. Failing is not fatal: the next time says more anyway."""
    if not nodes:
        return
    try:
        await store.apply(RecordNodes(nodes=tuple(nodes)))
    except StoreError as exc:
        _log.warning("record_nodes_failed", error=str(exc))
