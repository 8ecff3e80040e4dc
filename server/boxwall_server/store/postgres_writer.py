"""Writing a batch: one transaction, and certainty about whether it was committed."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg
import structlog

from boxwall_server.changes.revision import Cursor, Epoch, Revision
from boxwall_server.store.batch import Answer, Plan, commit_ids, plan_batch
from boxwall_server.store.batch_rows import Writes, keys_of
from boxwall_server.store.errors import OutcomeUnknown, StoreUnavailable
from boxwall_server.store.mutations import Mutation
from boxwall_server.store.postgres_connect import Channel, Connection, connect
from boxwall_server.store.postgres_errors import FOREIGN, may_be_repeated, translated
from boxwall_server.store.postgres_rows import load, save, save_attachments
from boxwall_server.store.postgres_tail import HistoryLost, Tail, locked_head, locked_head_after
from boxwall_server.store.postgres_together import Together
from boxwall_server.store.postgres_url import PostgresUrl

_TRIES: Final = 3
_RESOLVE_PATIENCE: Final = 10.0
"""Seconds to find out whether a commit happened, before its callers are told that nobody knows."""
_RESOLVE_PAUSE: Final = 0.1

_log = structlog.get_logger()


class _Written(NamedTuple):
    plan: Plan
    head: Cursor
    """Where history ended before it."""


class _Turn(NamedTuple):
    """A transaction in which nobody else can move the head on."""

    connection: Connection
    head: Cursor


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
        self._turn: _Turn | Exception | None = None

    async def take_turn(self) -> None:
        """Begin a transaction that has the lock of the head, or note why there is none; `write`
        goes on from there.
        """
        if not self._tail.failed:
            try:
                self._turn = await self._begun()
            except Exception as exc:  # noqa: BLE001  # `write` raises it
                self._turn = exc

    async def write(self, mutations: list[Mutation]) -> Sequence[Answer]:
        """Make a batch durable, tell the listener, and return the answers.

        Raises StoreUnavailable if it did not happen, OutcomeUnknown if nobody can tell.
        """
        if self._tail.failed:
            self._drop()
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
            await self._tell(written)
            return written.plan.answers
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Give the connection up."""
        self._drop()

    async def _transaction(self, mutations: list[Mutation]) -> _Written:
        """Return the plan, committed. Raises _Unknown from the commit on; before it, nothing has
        happened.
        """
        turn, self._turn = self._turn or await self._begun(), None
        if isinstance(turn, Exception):
            raise turn
        connection, head = turn
        batch = secrets.token_bytes(8)
        committing = False
        try:
            rows = await load(connection, keys_of(mutations))
            plan = plan_batch(mutations, rows, head.revision, self._commit_ids)
            written, writes = _Written(plan, head), plan.writes
            if not writes:
                await connection.execute("ROLLBACK")
                return written
            await save_attachments(connection, writes)
            together = Together()
            save(together, writes)
            self._sign(together, batch, writes)
            channel = Channel.CHANGES if writes.changes else Channel.NODES
            await together.run(connection, "SELECT pg_notify($1, $2)", channel, self._replica.hex())
            committing = True
            await connection.execute("COMMIT")
        except BaseException as exc:
            self._drop()  # with it goes whatever was begun and not committed
            if committing and isinstance(exc, FOREIGN):
                raise _Unknown(written, batch) from exc
            raise
        return written

    async def _begun(self) -> _Turn:
        """Begin a transaction that has the lock of the head. Raises HistoryLost."""
        connection = await self._connected()
        try:
            await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            return _Turn(connection, await locked_head_after(connection, self._tail.head))
        except BaseException:
            self._drop()
            raise

    async def _tell(self, written: _Written) -> None:
        """Tell the listener of a batch that is committed, and before it of what others have
        written. That is read after the commit: nobody waits for it but who wrote.
        """
        changes, head = written.plan.writes.changes, written.head
        try:
            connection = await self._connected()
            await self._tail.catch_up(connection, before=Revision(head.revision + 1))
        except (*FOREIGN, HistoryLost):
            self._drop()
            await self._followed(head.epoch, Revision(head.revision + len(changes)))
        self._tail.take_in(head.epoch, changes)

    async def _followed(self, epoch: Epoch, revision: Revision) -> None:
        """Wait until the tail has come to a revision on its own connection. Raises OutcomeUnknown
        if it does not: what was committed may be lost, with the end of history.
        """
        try:
            async with asyncio.timeout(_RESOLVE_PATIENCE):
                # Seldom, so the tail has no event for it.
                while self._tail.head.epoch == epoch and self._tail.head.revision < revision:  # noqa: ASYNC110
                    await asyncio.sleep(_RESOLVE_PAUSE)
        except TimeoutError as exc:
            raise OutcomeUnknown("it was committed, and cannot be read again") from exc
        if self._tail.head.epoch != epoch:
            raise OutcomeUnknown("it was committed, and history has begun anew since")

    def _sign(self, together: Together, batch: bytes, writes: Writes) -> None:
        """Move the head on, and leave the mark of this batch."""
        together.add(
            "INSERT INTO batches (replica, batch, time) VALUES ($1, $2, clock_timestamp()) "
            "ON CONFLICT (replica) DO UPDATE SET batch = excluded.batch, time = excluded.time",
            self._replica,
            batch,
        )
        if writes.changes:
            last = writes.changes[-1]
            together.add(
                "UPDATE head SET revision = $1, commit_id = $2", last.revision, last.commit_id
            )

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
        self._turn = None
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
