"""The SQLite store: one file, no set-up, durable.

Writes: the statements of a batch run on the event loop, the commit, which is what waits for the
disk, in a thread. (In that thread too, each statement could wait for the interpreter lock of a busy
loop; see docs/adr/0006.) While a batch commits, what comes in gathers for the next.

Reads: in a small pool of threads, each with a connection of its own.
"""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final, TypeVar

import structlog

from boxwall_server.changes.change import BoxRecord, Timestamp
from boxwall_server.changes.revision import Cursor, Revision
from boxwall_server.store import sqlite_reads as reads
from boxwall_server.store.base import Listener
from boxwall_server.store.batch import Answer, Plan, commit_ids, plan_batch
from boxwall_server.store.batch_rows import Key, keys_of
from boxwall_server.store.errors import StoreUnavailable
from boxwall_server.store.group_commit import GroupCommit
from boxwall_server.store.mutations import Mutation, Outcome
from boxwall_server.store.recent import RecentBoxes
from boxwall_server.store.records import (
    BoxFilter,
    ChangesAt,
    Commit,
    EntriesAt,
    HistoryRecord,
    HostedRecord,
    HostRecord,
    NodeRecord,
    SnapshotRecord,
)
from boxwall_server.store.sqlite_errors import is_busy, translated, translating, unusable
from boxwall_server.store.sqlite_file import (
    BUSY_PATIENCE,
    backup_file,
    connect,
    lock_file,
    open_file,
)
from boxwall_server.store.sqlite_rows import forget_old, load, save
from boxwall_server.store.sqlite_scan import SqliteScan
from boxwall_server.store.unshared import Unshared

_BUSY_PAUSE: Final = 0.02
"""Seconds between two tries to begin while another process holds the file."""

READERS: Final = 2
MAX_SCANS: Final = 8

T = TypeVar("T")
_log = structlog.get_logger()


async def open_sqlite(
    path: Path, *, observe_commit: Callable[[float], None] = lambda seconds: None
) -> "SqliteStore":
    """Open a store, made or migrated as needed; `observe_commit` is told how long each batch takes.

    Raises StoreUnusable for a file that cannot be served; its text says what to do.
    """
    with contextlib.ExitStack() as undo:
        lock = undo.enter_context(await asyncio.to_thread(lock_file, path))
        connection = undo.enter_context(
            contextlib.closing(await asyncio.to_thread(open_file, path))
        )
        try:
            connection.execute("PRAGMA busy_timeout = 0")  # _begin waits, and the loop does not
            store = SqliteStore(path, connection, lock, observe_commit)
        except sqlite3.Error as exc:
            raise unusable(path, exc) from exc
        undo.pop_all()
        return store


class SqliteStore(Unshared):
    """Keeps the contract of `store.base`."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        lock: IO[bytes],
        observe_commit: Callable[[float], None],
    ) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock
        self._head = reads.head(connection)
        self._commit_ids = commit_ids()
        self._recent = RecentBoxes()
        self._listener: Listener | None = None
        self._group = GroupCommit(self._write, translated=_translated, observe=observe_commit)
        self._closed = False
        self._committer = ThreadPoolExecutor(1, "store-commit")
        self._readers = ThreadPoolExecutor(READERS, "store-read")
        self._of_thread = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._scans = asyncio.Semaphore(MAX_SCANS)
        self._writer = asyncio.Lock()
        """Held by whoever uses the writing connection."""

    @property
    def head(self) -> Cursor:
        """The cursor of the last commit that the listener was told of."""
        return self._head

    def listen(self, listener: Listener) -> None:
        """Set who is told of commits."""
        self._listener = listener

    async def close(self) -> None:
        """Finish what was accepted and release the file."""
        self._closed = True
        await self._group.close()
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._committer.shutdown)
        for connection in (*self._connections, self._connection):
            connection.close()
        self._lock.close()

    # Writes.

    async def apply(self, mutation: Mutation) -> Outcome:
        """Make a mutation durable, together with all that wait."""
        return await self._group.apply(mutation)

    async def _write(self, mutations: list[Mutation]) -> Sequence[Answer]:
        """Do a batch and tell the listener."""
        async with self._writer:
            plan = await self._commit(mutations)
        self._publish(plan)
        return plan.answers

    async def _commit(self, mutations: list[Mutation]) -> Plan:
        """Return the plan, durable. Raises sqlite3.Error with nothing changed."""
        connection = self._connection
        await self._begin()
        try:
            rows = load(connection, keys_of(mutations), self._recent)
            plan = plan_batch(mutations, rows, self._head.revision, self._commit_ids)
            if plan.writes:
                save(connection, plan.writes)
                await asyncio.get_running_loop().run_in_executor(self._committer, self._sync)
                self._recent.keep(rows, plan.writes)
        except BaseException:
            self._recent.forget()
            raise
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
        return plan

    async def _begin(self) -> None:
        """Begin, when nobody else holds the file. SQLite's own waiting would hold up the loop."""
        deadline = time.monotonic() + BUSY_PATIENCE
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as exc:
                if not is_busy(exc) or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_BUSY_PAUSE)

    def _sync(self) -> None:
        self._connection.execute("COMMIT")

    def _publish(self, plan: Plan) -> None:
        changes = tuple(plan.writes.changes)
        if not changes:
            return
        self._head = changes[-1].cursor(self._head.epoch)
        if self._listener is None:
            return
        try:
            self._listener(Commit(epoch=self._head.epoch, changes=changes))
        except Exception:  # noqa: BLE001  # whatever it is, see below
            # Durable, but not in the feed: going on would lose a change for every watcher.
            _log.critical("listener_failed", exc_info=True)
            self._closed = True
            self._group.refuse_more()

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
        return await self._read(reads.history, tenant, box_id, before, limit)

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

    async def hosts(self, boxes: Collection[Key]) -> Mapping[Key, Sequence[HostRecord]]:
        """Return the nodes attached to boxes."""
        return await self._read(reads.hosts, boxes)

    async def verify(self, cursor: Cursor) -> bool:
        """Return whether a stream can continue from `cursor`."""
        return await self._read(reads.verify, cursor)

    async def entries(self, tenant: str, box_ids: Sequence[str]) -> EntriesAt:
        """Return what nodes have to do for boxes."""
        return await self._read(reads.entries, tenant, box_ids)

    async def since(
        self, tenant: str, cursor: Cursor, *, limit: int, for_nodes: bool = False
    ) -> ChangesAt | None:
        """Return the newest change of each box after `cursor`."""
        return await self._read(reads.since, tenant, cursor, limit, for_nodes)

    @asynccontextmanager
    async def scan(self, tenant: str) -> AsyncIterator[SqliteScan]:
        """Open a reading of all boxes at one cursor, on a connection of its own."""
        async with self._scans:
            scan = await asyncio.to_thread(SqliteScan, self._path, tenant)
            try:
                yield scan
            finally:
                await asyncio.to_thread(scan.close)

    async def next_expiry(self) -> Timestamp | None:
        """Return when the next box expires."""
        return await self._read(reads.next_expiry)

    async def expired(self, now: Timestamp, *, limit: int) -> Sequence[BoxRecord]:
        """Return boxes whose time is up."""
        return await self._read(reads.expired, now, limit)

    async def compact(self, *, now: Timestamp, retain: int) -> Revision:
        """Drop old changes, request ids, and the policies of boxes that are long gone."""
        floor = Revision(max(0, self._head.revision - retain))
        loop = asyncio.get_running_loop()
        async with self._writer:
            with translating():
                await self._begin()
                await loop.run_in_executor(
                    self._committer, forget_old, self._connection, floor, now
                )
        return Revision(floor + 1 if floor else 0)

    async def backup(self, path: Path) -> None:
        """Write a consistent copy, of another epoch."""
        await asyncio.to_thread(backup_file, self._path, path)

    async def _read(self, read: Callable[..., T], *arguments: object) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        with translating():
            return await loop.run_in_executor(self._readers, self._read_here, read, arguments)

    def _read_here(self, read: Callable[..., T], arguments: tuple[object, ...]) -> T:
        """Run a read in a reader thread, all of it as of one commit."""
        connection: sqlite3.Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = connect(self._path, read_only=True)
            self._connections.append(connection)
        return reads.at_one_revision(connection, read, *arguments)


def _translated(exc: Exception) -> Exception:
    return translated(exc) if isinstance(exc, sqlite3.Error) else exc
