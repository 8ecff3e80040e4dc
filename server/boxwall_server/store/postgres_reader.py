"""The reading half of a PostgreSQL store: functions that are run on the pool."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from boxwall_server.changes.change import BoxRecord, Timestamp
from boxwall_server.changes.revision import Cursor, Revision
from boxwall_server.store import postgres_node_reads as node_reads
from boxwall_server.store import postgres_reads as reads
from boxwall_server.store.postgres_pool import ReadPool
from boxwall_server.store.postgres_scan import PostgresScan
from boxwall_server.store.records import (
    BoxFilter,
    ChangesAt,
    EntriesAt,
    HistoryRecord,
    HostedRecord,
    NodeRecord,
    SnapshotRecord,
)


class PostgresReader:
    """Keeps what the contract of `store.base` says of reads."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def box(self, tenant: str, box_id: str, at_least: Revision = Revision(0)) -> HostedRecord:
        """Return one box."""
        return await self._pool.run(reads.box, tenant, box_id, at_least)

    async def boxes(
        self,
        tenant: str,
        where: BoxFilter,
        *,
        after: str,
        limit: int,
        at_least: Revision = Revision(0),
    ) -> Sequence[HostedRecord]:
        """Return a page of boxes."""
        return await self._pool.run(reads.boxes, tenant, where, after, limit, at_least)

    async def history(
        self, tenant: str, box_id: str, *, before: Revision, limit: int
    ) -> Sequence[HistoryRecord]:
        """Return a page of a living box's policies."""
        return await self._pool.run_at_once(reads.history, tenant, box_id, before, limit)

    async def snapshot(self, tenant: str, snapshot_id: str) -> SnapshotRecord:
        """Return one snapshot."""
        return await self._pool.run(reads.snapshot, tenant, snapshot_id)

    async def snapshots(
        self, tenant: str, *, box_id: str, after: str, limit: int
    ) -> Sequence[SnapshotRecord]:
        """Return a page of snapshots."""
        return await self._pool.run(reads.snapshots, tenant, box_id, after, limit)

    async def node(self, tenant: str, node_id: str) -> NodeRecord:
        """Return one node."""
        return await self._pool.run(node_reads.node, tenant, node_id)

    async def nodes(self, tenant: str, *, after: str, limit: int) -> Sequence[NodeRecord]:
        """Return a page of nodes."""
        return await self._pool.run(node_reads.nodes, tenant, after, limit)

    async def attached(self, tenant: str, node_id: str) -> Sequence[str]:
        """Return the boxes attached to a node."""
        return await self._pool.run(node_reads.attached, tenant, node_id)

    async def verify(self, cursor: Cursor) -> bool:
        """Return whether a stream can continue from `cursor`."""
        return await self._pool.run(reads.verify, cursor)

    async def entries(self, tenant: str, box_ids: Sequence[str]) -> EntriesAt:
        """Return what nodes have to do for boxes."""
        return await self._pool.run_at_once(reads.entries, tenant, box_ids)

    async def since(
        self, tenant: str, cursor: Cursor, *, limit: int, for_nodes: bool = False
    ) -> ChangesAt | None:
        """Return the newest change of each box after `cursor`."""
        return await self._pool.run_at_once(reads.since, tenant, cursor, limit, for_nodes)

    @asynccontextmanager
    async def scan(self, tenant: str) -> AsyncIterator[PostgresScan]:
        """Open a reading of all boxes at one cursor, on a connection of its own."""
        async with self._pool.moment() as connection:
            yield await PostgresScan.begin(connection, tenant)

    async def next_expiry(self) -> Timestamp | None:
        """Return when the next box expires."""
        return await self._pool.run(reads.next_expiry)

    async def expired(self, now: Timestamp, *, limit: int) -> Sequence[BoxRecord]:
        """Return boxes whose time is up."""
        return await self._pool.run(reads.expired, now, limit)
