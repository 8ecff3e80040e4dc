"""Writing a batch: one transaction, and certainty about whether it was committed."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg
import structlog

from boxwall_server.changes.revision import Epoch
from boxwall_server.store.batch import Answer, Plan, commit_ids, plan_batch
from boxwall_server.store.batch_rows import Writes, keys_of
from boxwall_server.store.errors import OutcomeUnknown, StoreUnavailable
from boxwall_server.store.mutations import Mutation
from boxwall_server.store.postgres_connect import Channel, Connection, connect
from boxwall_server.store.postgres_errors import FOREIGN, may_be_repeated, translated
from boxwall_server.store.postgres_rows import load, save
from boxwall_server.store.postgres_tail import HistoryLost, Tail, locked_head
from boxwall_server.store.postgres_url import PostgresUrl

_TRIES: Final = 3
_RESOLVE_PATIENCE: Final = 10.0
"""Seconds to find out whether a commit happened, before its callers are told that nobody knows."""
_RESOLVE_PAUSE: Final = 0.1

_log = structlog.get_logger()


class _Written(NamedTuple):
    plan: Plan
    epoch: Epoch


class _Unknown(Exception):
    """The connection was lost while committing."""

    def __init__(self, written: _Written, batch: bytes) -> None:
        super().__init__()
        self.written = written
        self.batch = batch


class PostgresWriter:
    """The one writer of a replica, on a connection of its own. Callers take turns."""

    def __init__(self, url: PostgresUrl, replica: bytes, tail: Tail) -> None:
        self._url = url
        self._replica = replica
        self._tail = tail
        self._commit_ids = commit_ids()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def write(self, mutations: list[Mutation]) -> Sequence[Answer]:
        """Make a batch durable, tell the listener, and return the answers.

        Raises StoreUnavailable if it did not happen, OutcomeUnknown if nobody can tell.
        """
        if self._tail.failed:
            raise StoreUnavailable("this server cannot follow history any more; see its log")
        for tries_left in reversed(range(_TRIES)):
            try:
                written = await self._transaction(mutations)
            except _Unknown as unknown:
                if not await self._has_happened(unknown.batch):
                    raise StoreUnavailable("the write was lost with its connection") from unknown
                written = unknown.written
            except HistoryLost as exc:
                raise StoreUnavailable("the database has lost what it had; see the log") from exc
            except FOREIGN as exc:
                if not (tries_left and may_be_repeated(exc)):
                    raise translated(exc) from exc
                continue
            self._tail.take_in(written.epoch, written.plan.writes.changes)
            return written.plan.answers
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Give the connection up."""
        self._drop()

    async def _transaction(self, mutations: list[Mutation]) -> _Written:
        """Return the plan, committed. Raises _Unknown from the commit on; before it, nothing has
        happened.
        """
        connection = await self._connected()
        batch = secrets.token_bytes(8)
        committing = False
        try:
            await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            written = await self._planned(connection, mutations)
            writes = written.plan.writes
            if not writes:
                await connection.execute("ROLLBACK")
                return written
            await save(connection, writes)
            await self._sign(connection, batch, writes)
            committing = True
            await connection.execute("COMMIT")
        except BaseException as exc:
            self._drop()  # with it goes whatever was begun and not committed
            if committing and isinstance(exc, FOREIGN):
                raise _Unknown(written, batch) from exc
            raise
        return written

    async def _planned(self, connection: Connection, mutations: list[Mutation]) -> _Written:
        head = await locked_head(connection)
        if head != self._tail.head:
            # Others have written: the listener hears of it before it hears of this batch.
            await self._tail.catch_up(connection)
        rows = await load(connection, keys_of(mutations))
        plan = plan_batch(mutations, rows, head.revision, self._commit_ids)
        return _Written(plan, head.epoch)

    async def _sign(self, connection: Connection, batch: bytes, writes: Writes) -> None:
        """Move the head on, tell the other replicas, and leave the mark of this batch."""
        await connection.execute(
            "INSERT INTO batches (replica, batch, time) VALUES ($1, $2, clock_timestamp()) "
            "ON CONFLICT (replica) DO UPDATE SET batch = excluded.batch, time = excluded.time",
            self._replica,
            batch,
        )
        if writes.changes:
            last = writes.changes[-1]
            await connection.execute(
                "UPDATE head SET revision = $1, commit_id = $2", last.revision, last.commit_id
            )
        channel = Channel.CHANGES if writes.changes else Channel.NODES
        await connection.execute("SELECT pg_notify($1, '')", channel)

    async def _has_happened(self, batch: bytes) -> bool:
        """Return whether a batch was committed. Raises OutcomeUnknown if that cannot be learnt.

        The transaction may still be under way in the database; it holds the lock of the head until
        it has ended, so whoever has the lock next knows.
        """
        deadline = asyncio.get_running_loop().time() + _RESOLVE_PATIENCE
        while True:
            try:
                connection = await self._connected()
                async with connection.transaction():
                    await locked_head(connection)
                    last = await connection.fetchval(
                        "SELECT batch FROM batches WHERE replica = $1", self._replica
                    )
            except FOREIGN as exc:
                self._drop()
                if asyncio.get_running_loop().time() > deadline:
                    raise OutcomeUnknown(
                        "the connection was lost while committing, and cannot be had again: "
                        "nobody knows whether the write happened"
                    ) from exc
                await asyncio.sleep(_RESOLVE_PAUSE)
                continue
            _log.warning("commit_resolved", happened=last == batch)
            return bool(last == batch)

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._url)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
