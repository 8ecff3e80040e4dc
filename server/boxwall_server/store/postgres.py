"""The PostgreSQL store: several servers ("replicas") on one database.

Writes: one batching writer (`postgres_writer`), which holds the lock of the head from its checks to
its commit, so revisions have no gaps and commit in order, whoever takes them.

The feed: one tail (`postgres_tail`) that reads on from the last row it has read. What this replica
has written itself it takes in at once.

Reads: on a pool of connections, each as of one moment.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from boxwall_server.changes.change import Timestamp
from boxwall_server.changes.revision import Cursor, Revision
from boxwall_server.store.base import AWAY_AFTER, Listener
from boxwall_server.store.errors import StoreUnusable
from boxwall_server.store.group_commit import GroupCommit
from boxwall_server.store.mutations import Mutation, Outcome
from boxwall_server.store.postgres_connect import (
    Channel,
    connect,
    open_pool,
)
from boxwall_server.store.postgres_errors import (
    FOREIGN,
    translated,
    translating,
)
from boxwall_server.store.postgres_pool import ReadPool
from boxwall_server.store.postgres_reader import PostgresReader
from boxwall_server.store.postgres_schema import prepare
from boxwall_server.store.postgres_sessions import PostgresSessions, deregister, register
from boxwall_server.store.postgres_tail import Tail, keep_reading, read_head
from boxwall_server.store.postgres_upkeep import SWEEP_LOCK, forget_old
from boxwall_server.store.postgres_url import PostgresUrl
from boxwall_server.store.postgres_writer import PostgresWriter
from boxwall_server.store.records import SessionId

POLL: Final = 0.2
"""Seconds after which a replica looks for what is new though nobody notified it."""

_PAUSE: Final = 0.5
"""Seconds between two tries to reach a database that is away."""

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
            replica = secrets.token_bytes(8)
            await register(connection, replica)
            tail = Tail(head)
            pool = ReadPool(await open_pool(url, tail.check))
        except FOREIGN as exc:
            raise StoreUnusable(f"cannot open {url}: {str(exc) or 'no answer in time'}") from exc
        except ValueError as exc:
            raise StoreUnusable(f"cannot open {url}: its parameters are not valid") from exc
        return PostgresStore(url, pool, replica, tail, observe_commit)


class PostgresStore(PostgresReader, PostgresSessions):
    """Keeps the contract of `store.base`."""

    def __init__(
        self,
        url: PostgresUrl,
        pool: ReadPool,
        replica: bytes,
        tail: Tail,
        observe_commit: Callable[[float], None],
    ) -> None:
        PostgresReader.__init__(self, pool)
        PostgresSessions.__init__(self, pool, replica)
        self._url = url
        self._tail = tail
        self._writer = PostgresWriter(url, replica, tail)
        self._group = GroupCommit(
            self._writer.write,
            translated=translated,
            observe=observe_commit,
            take_turn=self._writer.take_turn,
        )
        self._woken = asyncio.Event()
        self._listening = asyncio.Event()
        # Kept, and ended by close(): the store follows history for as long as it is open.
        self._following = asyncio.get_running_loop().create_task(self._follow())
        self._sweeping: asyncpg.Connection[asyncpg.Record] | None = None
        """The connection on which this replica holds, or tries to get, the lock of the sweeper."""
        self._has_turn = False

    @property
    def head(self) -> Cursor:
        """The cursor of the last commit that the listener was told of."""
        return self._tail.head

    @property
    def is_answering(self) -> bool:
        """Whether history could be read lately, which is tried several times a second."""
        return not self._tail.failed and time.monotonic() - self._tail.read_at < AWAY_AFTER

    def listen(self, listener: Listener) -> None:
        """Set who is told of commits; from now on also of those of other replicas."""
        self._tail.listener = listener
        self._listening.set()

    async def close(self) -> None:
        """Finish what was accepted and release every connection."""
        self._pool.refuse_more()
        await self._group.close()
        self._following.cancel()
        await asyncio.wait([self._following])
        self._writer.close()
        if self._sweeping is not None:
            self._sweeping.terminate()
        await self._pool.last(lambda connection: deregister(connection, self.replica))
        await self._pool.close()

    async def _follow(self) -> None:
        """Follow history until cancelled, on one connection after another."""
        await self._listening.wait()
        last_error = ""
        while True:
            try:
                await self._follow_on_a_connection()
            except FOREIGN as exc:
                error = str(translated(exc))
                if error != last_error:
                    _log.warning("store_away", error=error)
                last_error = error
            except Exception:  # noqa: BLE001  # a fault of ours: nothing more must be served
                _log.critical("feed_broken", exc_info=True)
                self._tail.failed = True
            if self._tail.failed:
                # Durable, but not in the feed: going on would lose a change for every watcher.
                self._pool.refuse_more()
                self._group.refuse_more()
                return
            await asyncio.sleep(_PAUSE)

    async def _follow_on_a_connection(self) -> None:
        connection = await connect(self._url)
        try:
            await connection.add_listener(Channel.CHANGES, self._changed)
            for channel in (Channel.NODES, Channel.ANSWERS, Channel.NOTES):
                await connection.add_listener(channel, self._heard)
            await keep_reading(self._tail, connection, self._woken, POLL)
        finally:
            connection.terminate()

    def _changed(self, _: object, __: int, ___: str, writer: object) -> None:
        if writer != self.replica.hex():  # what this replica has written, it takes in by itself
            self._woken.set()

    def _heard(self, _: object, __: int, channel: str, payload: object) -> None:
        self.heard(channel, str(payload))

    # Writes.

    async def apply(self, mutation: Mutation) -> Outcome:
        """Make a mutation durable, together with all that wait."""
        return await self._group.apply(mutation)

    # Sessions.

    async def sessions_to_end(self) -> Mapping[SessionId, bool]:
        """Return the sessions of this server that count no more, but for those that ended because
        history began anew while this server has not heard of that: it ends them for that reason.
        """
        ended = await super().sessions_to_end()
        if ended and (await self._pool.run(read_head)).epoch != self._tail.head.epoch:
            return {}
        return ended

    # Upkeep.

    async def compact(self, *, now: Timestamp, retain: int) -> Revision:
        """Drop old changes, request ids, and the policies of boxes that are long gone."""
        return await self._pool.run(forget_old, now, retain)

    async def backup(self, path: Path) -> None:
        """The database's own tools do that better."""
        raise StoreUnusable(f"back up {self._url} with pg_dump; see docs/operating.md")

    async def takes_turn(self) -> bool:
        """Return whether this replica sweeps: one at a time holds a lock of the database."""
        self._pool.check_open()
        with translating():
            if self._sweeping is None or self._sweeping.is_closed():
                self._sweeping, self._has_turn = await connect(self._url), False
            if not self._has_turn:
                try:
                    self._has_turn = await self._sweeping.fetchval(
                        "SELECT pg_try_advisory_lock($1)", SWEEP_LOCK
                    )
                except FOREIGN:
                    self._sweeping.terminate()
                    raise
            return self._has_turn
