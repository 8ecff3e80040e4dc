"""The tail of the log: what a replica tells its listener, in order, whoever wrote it.

Every reading begins with the row that was read last. If that row is not there any more, the tail of
history was lost (a failover to a standby that had not got everything, a restored backup): history
begins anew with another epoch, and so does everybody who follows it.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from boxwall_server.changes.change import Change
from boxwall_server.changes.log import HistoryBroken
from boxwall_server.changes.revision import NO_COMMIT, CommitId, Cursor, Epoch, Revision
from boxwall_server.store.base import Listener
from boxwall_server.store.errors import StoreUnavailable
from boxwall_server.store.postgres_connect import Channel, Connection
from boxwall_server.store.postgres_rows import CHANGE, change_from_row
from boxwall_server.store.records import Commit, NewHistory

AT_ONCE: Final = 1_000

_FOLLOWING: Final = f"""
SELECT h.epoch, h.floor, {CHANGE}
FROM head AS h LEFT JOIN LATERAL (
    SELECT * FROM changes WHERE revision >= $1 ORDER BY revision LIMIT $2
) AS c ON true
WHERE h.one
ORDER BY c.revision
"""

_LOCKED_AFTER: Final = """
SELECT epoch, revision, commit_id, floor,
    EXISTS (SELECT 1 FROM changes AS c WHERE c.revision = $1 AND c.commit_id = $2)
FROM head FOR UPDATE OF head
"""

_log = structlog.get_logger()


class HistoryLost(Exception):
    """What was read last is not in the database (any more)."""


class LogTooShort(HistoryLost):
    """It was compacted away: nothing is wrong but that this replica was away for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the log holds from some revision on, read at one moment."""

    epoch: Epoch
    floor: Revision
    changes: Sequence[Change]


def following(head: Cursor, found: Found) -> Sequence[Change]:
    """Return the changes after `head`, of what was found from its revision on. Pure.

    Raises HistoryLost if `head` is not among it, HistoryBroken if one after it is missing.
    """
    changes = found.changes
    if found.epoch != head.epoch:
        raise HistoryLost("history has begun anew")
    if found.floor and head.revision <= found.floor:
        raise LogTooShort(f"the log begins after {found.floor}")
    if head.revision:
        if not changes or changes[0].cursor(found.epoch) != head:
            raise HistoryLost(f"revision {head.revision} is not what it was")
        changes = changes[1:]
    for expected, change in enumerate(changes, start=head.revision + 1):
        if change.revision != expected:
            raise HistoryBroken(f"revision {change.revision} came where {expected} was due")
    return changes


class Tail:
    """Where this replica stands in history. It and the writer take turns at moving it on."""

    def __init__(self, head: Cursor) -> None:
        self.head = head
        self.listener: Listener | None = None
        self.read_at = time.monotonic()
        """When the database was last read."""
        self.failed = False
        """The listener raised: what it was told of last is durable, and not in the feed."""

    def take_in(self, epoch: Epoch, changes: Sequence[Change]) -> None:
        """Tell the listener of changes that are durable; those it knows are passed over.

        The first that it does not know must be the next one. Raises HistoryBroken.
        """
        if epoch != self.head.epoch or self.failed:
            return
        new = tuple(change for change in changes if change.revision > self.head.revision)
        if not new:
            return
        if new[0].revision != self.head.revision + 1:
            raise HistoryBroken(f"{new[0].revision} does not follow {self.head.revision}")
        self.head = new[-1].cursor(epoch)
        self._tell(Commit(epoch=epoch, changes=new))

    def begin_anew(self, head: Cursor) -> None:
        """Tell the listener that history has begun anew."""
        _log.warning("history_began_anew", revision=head.revision, before=self.head.revision)
        self.head = head
        self._tell(NewHistory(head=head))

    async def catch_up(self, connection: Connection, before: Revision | None = None) -> None:
        """Read on to the end, or up to what comes `before` a revision. Raises HistoryLost,
        HistoryBroken.
        """
        while not self.failed:
            head = self.head
            limit = AT_ONCE if before is None else min(AT_ONCE, before - head.revision)
            if before is not None and limit <= 1:
                return  # with the row that was read last, there is no other before it
            found = await read_from(connection, head.revision, limit)
            self.read_at = time.monotonic()
            if self.head != head:
                continue  # the writer has moved on meanwhile
            changes = following(head, found)
            self.take_in(found.epoch, changes)
            if len(found.changes) < limit:
                return

    async def check(self, connection: Connection) -> None:
        """Raise StoreUnavailable if a connection, just made, leads to a database that has not got
        what was read last.

        After a failover every connection is new. Without this, a read could show what was before
        the end that was lost, as if nothing had happened, until the tail has noticed.
        """
        head = self.head
        try:
            following(head, await read_from(connection, head.revision, 1))
        except LogTooShort:
            return
        except HistoryLost as exc:
            raise StoreUnavailable("the database has lost what it had") from exc

    async def mend(self, connection: Connection) -> None:
        """Give a history that has lost its tail another epoch, unless another replica has done
        it already; and follow it from its end.

        One that was compacted too far keeps its epoch: the others have missed nothing.
        """
        async with connection.transaction():
            now = await locked_head(connection)
            if now.epoch == self.head.epoch:
                try:
                    following(self.head, await read_from(connection, self.head.revision))
                except LogTooShort:
                    pass
                except HistoryLost:
                    now = await _with_new_epoch(connection, now)
                else:
                    return
        self.begin_anew(now)

    def _tell(self, news: Commit | NewHistory) -> None:
        if self.listener is None:
            return
        try:
            self.listener(news)
        except Exception:  # noqa: BLE001  # whatever it is: going on would lose a change for all
            _log.critical("listener_failed", exc_info=True)
            self.failed = True


async def read_from(connection: Connection, revision: Revision, limit: int = AT_ONCE) -> Found:
    """Return the log from a revision on, at most `limit` changes."""
    rows = await connection.fetch(_FOLLOWING, revision, limit)
    return Found(
        epoch=Epoch(rows[0][0]),
        floor=Revision(rows[0][1]),
        changes=[change_from_row(row[2:]) for row in rows if row[2] is not None],
    )


async def locked_head(connection: Connection) -> Cursor:
    """Return where history ends, and let nobody else write before the transaction ends.

    A statement of its own: what follows sees everything that was committed before the lock was had.
    """
    return await _head(connection, "FOR UPDATE")


async def locked_head_after(connection: Connection, known: Cursor) -> Cursor:
    """As `locked_head`. Raises HistoryLost if `known` is not what history has there (any more)."""
    row = await connection.fetchrow(_LOCKED_AFTER, known.revision, known.commit_id)
    assert row is not None, "the table has one row"
    epoch, revision, commit_id, floor, is_there = row
    head = Cursor(epoch=Epoch(epoch), revision=Revision(revision), commit_id=CommitId(commit_id))
    if head == known:
        return head
    if epoch != known.epoch:
        raise HistoryLost("history has begun anew")
    if floor and known.revision <= floor:
        raise LogTooShort(f"the log begins after {floor}")
    if known.revision and not is_there:
        raise HistoryLost(f"revision {known.revision} is not what it was")
    return head


async def read_head(connection: Connection) -> Cursor:
    """Return where history ends."""
    return await _head(connection)


async def _head(connection: Connection, lock: str = "") -> Cursor:
    row = await connection.fetchrow(f"SELECT epoch, revision, commit_id FROM head {lock}")
    assert row is not None, "the table has one row"
    epoch, revision, commit_id = row
    return Cursor(epoch=Epoch(epoch), revision=Revision(revision), commit_id=CommitId(commit_id))


async def _with_new_epoch(connection: Connection, head: Cursor) -> Cursor:
    epoch = Epoch(secrets.token_bytes(16))
    await connection.execute("UPDATE head SET epoch = $1", epoch)
    # What nodes have said was about revisions that may be others now.
    await connection.execute("UPDATE sessions SET ended = true WHERE NOT ended")
    await connection.execute("SELECT pg_notify($1, '')", Channel.NODES)
    return Cursor(
        epoch=epoch,
        revision=head.revision,
        commit_id=head.commit_id if head.revision else NO_COMMIT,
    )


async def keep_reading(
    tail: Tail, connection: Connection, woken: asyncio.Event, poll: float
) -> None:
    """Follow history on a connection until it fails. `woken` only hastens the next look."""
    while not tail.failed:
        woken.clear()
        try:
            await tail.catch_up(connection)
        except HistoryLost:
            await tail.mend(connection)
        try:
            async with asyncio.timeout(poll):
                await woken.wait()
        except TimeoutError:
            continue
