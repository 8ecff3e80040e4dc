"""The PostgreSQL store: several servers ("replicas") on one database.

Writes: one batching writer (`postgres_writer`), which holds the lock of the head from its checks to
its commit, so revisions have no gaps and commit in order, whoever takes them.

The feed: one tail (`postgres_tail`) that reads on from the last row it has read. What this replica
has written itself it takes in at once.

Reads: on a pool of connections, each as of one moment.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import asyncpg
import structlog

from boxwall_server.changes.change import BoxRecord, Timestamp
from boxwall_server.changes.revision import Cursor, Revision
from boxwall_server.store import postgres_reads as reads
from boxwall_server.store.base import Listener
from boxwall_server.store.errors import StoreUnavailable, StoreUnusable
from boxwall_server.store.group_commit import GroupCommit
from boxwall_server.store.mutations import Mutation, Outcome
from boxwall_server.store.postgres_connect import (
    COMMAND_TIMEOUT,
    MAX_SCANS,
    Channel,
    Connection,
    Pool,
    connect,
    open_pool,
)
from boxwall_server.store.postgres_errors import (
    FOREIGN,
    is_lost_connection,
    translated,
    translating,
)
from boxwall_server.store.postgres_scan import PostgresScan
from boxwall_server.store.postgres_schema import prepare
from boxwall_server.store.postgres_tail import Tail, keep_reading, read_head
from boxwall_server.store.postgres_upkeep import SWEEP_LOCK, forget_old
from boxwall_server.store.postgres_url import PostgresUrl
from boxwall_server.store.postgres_writer import PostgresWriter
from boxwall_server.store.records import (
    BoxFilter,
    ChangesAt,
    EntriesAt,
    HistoryRecord,
    HostedRecord,
    NodeRecord,
    SnapshotRecord,
)

POLL: Final = 0.2
"""Seconds after which a replica looks for what is new though nobody notified it."""

READ_TRIES: Final = 3

_PAUSE: Final = 0.5
"""Seconds between two tries to reach a database that is away."""

T = TypeVar("T")
P = ParamSpec("P")
_log = structlog.get_logger()


async def open_postgres(
    url: PostgresUrl, *, observe_commit: Callable[[float], None] = lambda seconds: None
) -> "PostgresStore":
    """Open a store, made or migrated as needed; `observe_commit` is told how long each batch takes.

    Raises StoreUnusable for a database that cannot be served; its text says what to do.
    """
    async with AsyncExitStack() as undo:
        try:
            connection = await connect(url)
            undo.callback(connection.terminate)
            await prepare(connection, url)
            head = await read_head(connection)
            pool = await open_pool(url)
        except FOREIGN as exc:
            raise StoreUnusable(f"cannot open {url}: {str(exc) or 'no answer in time'}") from exc
        except ValueError as exc:
            raise StoreUnusable(f"cannot open {url}: its parameters are not valid") from exc
        return PostgresStore(url, pool, Tail(head), observe_commit)


class PostgresStore:
    """Keeps the contract of `store.base`."""

    def __init__(
        self, url: PostgresUrl, pool: Pool, tail: Tail, observe_commit: Callable[[float], None]
    ) -> None:
        self._url = url
        self._pool = pool
        self._tail = tail
        self.replica = secrets.token_bytes(8)
        self._writer = PostgresWriter(url, self.replica, tail)
        self._group = GroupCommit(self._writer.write, translated=translated, observe=observe_commit)
        self._closed = False
        self._scans = asyncio.Semaphore(MAX_SCANS)
        self._woken = asyncio.Event()
        self._listening = asyncio.Event()
        # Kept, and ended by close(): the store follows history for as long as it is open.
        self._following = asyncio.get_running_loop().create_task(self._follow())
        self._sweeping: asyncpg.Connection[asyncpg.Record] | None = None
        """The connection on which this replica holds the lock of the one that sweeps."""

    @property
    def head(self) -> Cursor:
        """The cursor of the last commit that the listener was told of."""
        return self._tail.head

    def listen(self, listener: Listener) -> None:
        """Set who is told of commits; from now on also of those of other replicas."""
        self._tail.listener = listener
        self._listening.set()

    async def close(self) -> None:
        """Finish what was accepted and release every connection."""
        self._closed = True
        await self._group.close()
        self._following.cancel()
        await asyncio.wait([self._following])
        self._writer.close()
        if self._sweeping is not None:
            self._sweeping.terminate()
        self._pool.terminate()

    async def _follow(self) -> None:
        """Follow history until cancelled, on one connection after another."""
        await self._listening.wait()
        while True:
            try:
                await self._follow_on_a_connection()
            except FOREIGN as exc:
                _log.warning("store_away", error=str(translated(exc)))
            except Exception:  # noqa: BLE001  # a fault of ours: nothing more must be served
                _log.critical("feed_broken", exc_info=True)
                self._tail.failed = True
            if self._tail.failed:
                # Durable, but not in the feed: going on would lose a change for every watcher.
                self._closed = True
                self._group.refuse_more()
                return
            await asyncio.sleep(_PAUSE)

    async def _follow_on_a_connection(self) -> None:
        connection = await connect(self._url)
        try:
            await connection.add_listener(Channel.CHANGES, lambda *_: self._woken.set())
            await keep_reading(self._tail, connection, self._woken, POLL)
        finally:
            connection.terminate()

    # Writes.

    async def apply(self, mutation: Mutation) -> Outcome:
        """Make a mutation durable, together with all that wait."""
        return await self._group.apply(mutation)

    # Reads.

    async def box(self, tenant: str, box_id: str, at_least: Revision = Revision(0)) -> HostedRecord:
        """Return one box."""
        return await self._read(reads.box, tenant, box_id, at_least)

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
        return await self._read(reads.boxes, tenant, where, after, limit, at_least)

    async def history(
        self, tenant: str, box_id: str, *, before: Revision, limit: int
    ) -> Sequence[HistoryRecord]:
        """Return a page of a living box's policies."""
        return await self._read_at_once(reads.history, tenant, box_id, before, limit)

    async def snapshot(self, tenant: str, snapshot_id: str) -> SnapshotRecord:
        """Return one snapshot."""
        return await self._read(reads.snapshot, tenant, snapshot_id)

    async def snapshots(
        self, tenant: str, *, box_id: str, after: str, limit: int
    ) -> Sequence[SnapshotRecord]:
        """Return a page of snapshots."""
        return await self._read(reads.snapshots, tenant, box_id, after, limit)

    async def node(self, tenant: str, node_id: str) -> NodeRecord:
        """Return one node."""
        return await self._read(reads.node, tenant, node_id)

    async def nodes(self, tenant: str, *, after: str, limit: int) -> Sequence[NodeRecord]:
        """Return a page of nodes."""
        return await self._read(reads.nodes, tenant, after, limit)

    async def attached(self, tenant: str, node_id: str) -> Sequence[str]:
        """Return the boxes attached to a node."""
        return await self._read(reads.attached, tenant, node_id)

    async def verify(self, cursor: Cursor) -> bool:
        """Return whether a stream can continue from `cursor`."""
        return await self._read(reads.verify, cursor)

    async def entries(self, tenant: str, box_ids: Sequence[str]) -> EntriesAt:
        """Return what nodes have to do for boxes."""
        return await self._read_at_once(reads.entries, tenant, box_ids)

    async def since(
        self, tenant: str, cursor: Cursor, *, limit: int, for_nodes: bool = False
    ) -> ChangesAt | None:
        """Return the newest change of each box after `cursor`."""
        return await self._read_at_once(reads.since, tenant, cursor, limit, for_nodes)

    @asynccontextmanager
    async def scan(self, tenant: str) -> AsyncIterator[PostgresScan]:
        """Open a reading of all boxes at one cursor, on a connection of its own."""
        self._refuse_if_closed()
        async with self._scans:
            with translating():
                async with (
                    self._pool.acquire(timeout=COMMAND_TIMEOUT) as connection,
                    connection.transaction(isolation="repeatable_read", readonly=True),
                ):
                    yield await PostgresScan.begin(connection, tenant)

    async def next_expiry(self) -> Timestamp | None:
        """Return when the next box expires."""
        return await self._read(reads.next_expiry)

    async def expired(self, now: Timestamp, *, limit: int) -> Sequence[BoxRecord]:
        """Return boxes whose time is up."""
        return await self._read(reads.expired, now, limit)

    async def compact(self, *, now: Timestamp, retain: int) -> Revision:
        """Drop old changes, request ids, and the policies of boxes that are long gone."""
        return await self._read(forget_old, now, retain)

    async def backup(self, path: Path) -> None:
        """The database's own tools do that better."""
        raise StoreUnusable(f"back up {self._url} with pg_dump; see docs/operating.md")

    async def takes_turn(self) -> bool:
        """Return whether this replica sweeps: one at a time holds a lock of the database."""
        self._refuse_if_closed()
        with translating():
            if self._sweeping is None or self._sweeping.is_closed():
                self._sweeping = None
                connection = await connect(self._url)
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", SWEEP_LOCK):
                    connection.terminate()
                    return False
                self._sweeping = connection
            return True

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    async def _read(
        self,
        read: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a read. It is tried again on another connection if its own turns out to be gone."""
        self._refuse_if_closed()
        with translating():
            for _ in range(READ_TRIES - 1):
                try:
                    return await self._read_once(read, *args, **kwargs)
                except FOREIGN as exc:
                    if not is_lost_connection(exc):
                        raise
            return await self._read_once(read, *args, **kwargs)

    async def _read_once(
        self,
        read: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        async with self._pool.acquire(timeout=COMMAND_TIMEOUT) as connection:
            try:
                return await read(connection, *args, **kwargs)
            except FOREIGN as exc:
                if is_lost_connection(exc):
                    connection.terminate()  # the pool may not have noticed
                raise

    async def _read_at_once(
        self,
        read: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a read of several statements, all of it as of one moment."""

        async def at_one_moment(connection: Connection) -> T:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await read(connection, *args, **kwargs)

        return await self._read(at_one_moment)
