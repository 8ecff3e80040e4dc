"""What is forgotten in a PostgreSQL store, and when."""

from typing import Final

from boxwall_server.changes.change import Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.store.batch import REQUEST_MEMORY
from boxwall_server.store.postgres_connect import Connection
from boxwall_server.store.rows import HISTORY_OF_DELETED

SWEEP_LOCK: Final = 0x426F7853
"""Advisory lock ("BoxS") of the one replica that ends boxes and forgets what is old."""

FORGET_REPLICA_AFTER: Final = 60.0
"""Seconds without a sign of life after which nothing is kept of a server."""

FORGET_BATCH_AFTER: Final = 3600.0
"""Seconds for which it can be told whether a server's last transaction was committed."""

_AT_ONCE: Final = 10_000
"""Rows that one statement deletes, so that none takes long."""


async def forget_old(connection: Connection, now: Timestamp, retain: int) -> Revision:
    """Drop changes but the last `retain`, old request ids, the policies of boxes long gone, and
    dead servers with their sessions.

    The floor rises first: a cursor below it does not verify, whether its row is still there or not.
    """
    await connection.execute(
        "DELETE FROM replicas WHERE beat_time < clock_timestamp() - $1 * interval '1 s' "
        "OR beat_time > clock_timestamp() + $1 * interval '1 s'",
        FORGET_REPLICA_AFTER,
    )
    await connection.execute(
        "DELETE FROM batches WHERE time < clock_timestamp() - $1 * interval '1 s'",
        FORGET_BATCH_AFTER,
    )
    floor: int = await connection.fetchval(
        "UPDATE head SET floor = greatest(floor, revision - $1) RETURNING floor", retain
    )
    await _delete_all(connection, "changes", "revision <= $1", floor)
    await _delete_all(connection, "requests", "time < $1", now - REQUEST_MEMORY)
    await _delete_all(
        connection,
        "history",
        "create_time < $1 AND NOT EXISTS (SELECT 1 FROM boxes AS b "
        "WHERE b.tenant = history.tenant AND b.uid = history.box_uid)",
        now - HISTORY_OF_DELETED,
    )
    return Revision(floor + 1 if floor else 0)


async def _delete_all(connection: Connection, table: str, condition: str, value: int) -> None:
    deleted = f"DELETE {_AT_ONCE}"
    while deleted == f"DELETE {_AT_ONCE}":
        deleted = await connection.execute(
            f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("
            f"SELECT ctid FROM {table} WHERE {condition} LIMIT {_AT_ONCE}))",
            value,
        )
