"""Loading and saving what a batch of writes needs: one statement a table, however many rows."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from boxwall_server.changes.change import Change, ChangeKind
from boxwall_server.changes.revision import CommitId, Revision
from boxwall_server.store.answers import answer_to_text
from boxwall_server.store.base import DEAD_AFTER
from boxwall_server.store.batch_rows import Key, Keys, Rows, Writes
from boxwall_server.store.postgres_connect import Connection
from boxwall_server.store.rows import (
    BOX_COLUMNS,
    NODE_COLUMNS,
    REQUEST_COLUMNS,
    SNAPSHOT_COLUMNS,
    Row,
    box_from_row,
    box_to_row,
    node_from_row,
    node_to_row,
    prefixed,
    request_from_row,
    snapshot_from_row,
    snapshot_to_row,
)

_KEYS: Final = "unnest($1::text[], $2::text[]) AS wanted (tenant, id)"
_ATTACHMENT: Final = "t.tenant, t.box_id, t.node_id"

_BOX_TYPES: Final = (
    "text text text text text jsonb text bytea text bigint bigint bigint text bigint bigint"
)
_CHANGE_COLUMNS: Final = "revision, commit_id, kind, " + BOX_COLUMNS.replace(
    "tenant, id,", "tenant, box_id,"
).replace(" revision,", " box_revision,")
_CHANGE_TYPES: Final = f"bigint bytea text {_BOX_TYPES}"
_SNAPSHOT_TYPES: Final = "text text text bytea text bigint"
_NODE_TYPES: Final = "text text text bigint bigint bool text"

CHANGE: Final = prefixed("c", _CHANGE_COLUMNS).replace("c.labels", "c.labels::text")
"""The columns that `change_from_row` reads, of a table named c."""

BOX: Final = prefixed("b", BOX_COLUMNS).replace("b.labels", "b.labels::text")
"""The columns that `box_from_row` reads, of a table named b."""


LIVE_SESSIONS: Final = (
    "sessions AS s JOIN replicas AS r ON r.id = s.replica AND NOT s.ended "
    # A sign of life of the future is one of before the database's clock was put back.
    f"AND r.beat_time > clock_timestamp() - interval '{DEAD_AFTER} s' "
    f"AND r.beat_time < clock_timestamp() + interval '{DEAD_AFTER} s' "
    "AND NOT EXISTS (SELECT 1 FROM nodes AS f "
    "WHERE f.tenant = s.tenant AND f.id = s.node_id AND f.fenced)"
)
"""Sessions that count, as s: the node's newest, of a server that lives, of a node not fenced."""


def _insert(table: str, columns: str, types: str, conflict: str = "") -> str:
    """Return a statement that inserts any number of rows, given as one array for each column."""
    arrays = ", ".join(f"${n}::{t}[]" for n, t in enumerate(types.split(), start=1))
    return f"INSERT INTO {table} ({columns}) SELECT * FROM unnest({arrays}) {conflict}"


def _upsert(table: str, columns: str, types: str) -> str:
    """Return a statement that inserts or replaces rows whose key is (tenant, id)."""
    sets = ", ".join(f"{column} = excluded.{column}" for column in columns.split(", ")[2:])
    return _insert(table, columns, types, f"ON CONFLICT (tenant, id) DO UPDATE SET {sets}")


_UPSERT_BOXES: Final = _upsert("boxes", BOX_COLUMNS, _BOX_TYPES)
_UPSERT_SNAPSHOTS: Final = _upsert("snapshots", SNAPSHOT_COLUMNS, _SNAPSHOT_TYPES)
_UPSERT_REQUESTS: Final = _upsert("requests", REQUEST_COLUMNS, "text text bytea bigint text")
_UPSERT_NODES: Final = _upsert("nodes", NODE_COLUMNS, _NODE_TYPES)
_UPSERT_COUNTS: Final = _insert(
    "tenants", "id, boxes", "text bigint", "ON CONFLICT (id) DO UPDATE SET boxes = excluded.boxes"
)
_INSERT_CHANGES: Final = _insert("changes", _CHANGE_COLUMNS, _CHANGE_TYPES)
_INSERT_HISTORY: Final = _insert(
    "history",
    "tenant, box_uid, revision, policy, create_time, author, request_id",
    "text text bigint bytea bigint text text",
)
_INSERT_ATTACHMENTS: Final = _insert(
    "attachments", "tenant, box_id, node_id", "text text text", "ON CONFLICT DO NOTHING"
)


_RENEW_ATTACHMENTS: Final = """
UPDATE attachments AS a SET session = u.session, answered = 0, applied = 0, apply_time = NULL,
    failure = '', note = '', kept = 0, cut = 0
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[])
    AS u (tenant, box_id, node_id, session)
WHERE a.tenant = u.tenant AND a.box_id = u.box_id AND a.node_id = u.node_id
"""


async def load(connection: Connection, keys: Keys) -> Rows:
    """Return the rows that exist of those that are wanted."""
    rows = Rows()
    for row in await _wanted(connection, "boxes", BOX.replace("b.", "t."), keys.boxes):
        box = box_from_row(tuple(row))
        rows.boxes[Key(box.tenant, box.id)] = box
    for row in await _wanted(
        connection, "snapshots", prefixed("t", SNAPSHOT_COLUMNS), keys.snapshots
    ):
        snapshot = snapshot_from_row(tuple(row))
        rows.snapshots[Key(snapshot.tenant, snapshot.id)] = snapshot
    for row in await _wanted(connection, "requests", prefixed("t", REQUEST_COLUMNS), keys.requests):
        request = request_from_row(tuple(row))
        rows.requests[request.key] = request
    for row in await _wanted(connection, "nodes", prefixed("t", NODE_COLUMNS), keys.nodes):
        node = node_from_row(tuple(row))
        rows.nodes[Key(node.tenant, node.id)] = node
    for tenant, box_id, node_id in await _wanted(
        connection, "attachments", _ATTACHMENT, keys.boxes, column="box_id"
    ):
        rows.hosts.setdefault(Key(tenant, box_id), set()).add(node_id)
    for tenant, box_id, node_id in await _wanted(
        connection, "attachments", _ATTACHMENT, keys.hosted_by, column="node_id"
    ):
        rows.hosted_by.setdefault(Key(tenant, node_id), set()).add(box_id)
    if keys.tenants:
        counts = "SELECT id, boxes FROM tenants WHERE id = ANY($1::text[])"
        for row in await connection.fetch(counts, list(keys.tenants)):
            rows.box_counts[row["id"]] = row["boxes"]
    if keys.sessions:
        living = "SELECT id FROM sessions WHERE id = ANY($1::bytea[]) AND NOT ended"
        rows.sessions = {row["id"] for row in await connection.fetch(living, list(keys.sessions))}
    return rows


async def save(connection: Connection, writes: Writes) -> None:
    """Write everything a plan says, in the transaction that is open."""
    boxes = writes.boxes
    await _delete(connection, "boxes", (key for key, box in boxes.items() if box is None))
    await _many(
        connection, _UPSERT_BOXES, [box_to_row(box) for box in boxes.values() if box is not None]
    )
    await _many(connection, _INSERT_CHANGES, [_change_to_row(c) for c in writes.changes])
    await _many(
        connection,
        _INSERT_HISTORY,
        [
            (
                row.tenant,
                row.box_uid,
                row.record.revision,
                row.record.policy,
                row.record.create_time,
                row.record.author,
                row.record.request_id,
            )
            for row in writes.history
        ],
    )
    await _save_snapshots(connection, writes)
    latest = {request.key: request for request in writes.requests}
    await _many(
        connection,
        _UPSERT_REQUESTS,
        [(*r.key, r.fingerprint, r.time, answer_to_text(r.outcome)) for r in latest.values()],
    )
    await _save_nodes(connection, writes)
    await _many(connection, _UPSERT_COUNTS, list(writes.box_counts.items()))


def change_from_row(row: Sequence[Any]) -> Change:
    """Return a change from the values of CHANGE."""
    return Change(
        revision=Revision(row[0]),
        commit_id=CommitId(row[1]),
        kind=ChangeKind(row[2]),
        box=box_from_row(tuple(row[3:])),
    )


def _change_to_row(change: Change) -> Row:
    return (change.revision, change.commit_id, change.kind.value, *box_to_row(change.box))


async def _save_snapshots(connection: Connection, writes: Writes) -> None:
    snapshots = writes.snapshots
    await _delete(connection, "snapshots", (key for key, s in snapshots.items() if s is None))
    await _many(
        connection,
        _UPSERT_SNAPSHOTS,
        [snapshot_to_row(snapshot) for snapshot in snapshots.values() if snapshot is not None],
    )


async def _save_nodes(connection: Connection, writes: Writes) -> None:
    nodes = writes.nodes
    await _delete(connection, "nodes", (key for key, node in nodes.items() if node is None))
    await _many(
        connection,
        _UPSERT_NODES,
        [node_to_row(node) for node in nodes.values() if node is not None],
    )
    attachments = writes.attachments
    await _many(
        connection,
        "DELETE FROM attachments AS t USING "
        "unnest($1::text[], $2::text[], $3::text[]) AS gone (tenant, box_id, node_id) "
        "WHERE t.tenant = gone.tenant AND t.box_id = gone.box_id AND t.node_id = gone.node_id",
        [attachment for attachment, is_made in attachments.items() if not is_made],
    )
    await _many(
        connection,
        _INSERT_ATTACHMENTS,
        [attachment for attachment, is_made in attachments.items() if is_made],
    )
    await _many(
        connection,
        _RENEW_ATTACHMENTS,
        [(*attachment, session) for attachment, session in writes.sessions.items()],
    )


async def _wanted(
    connection: Connection, table: str, columns: str, keys: Collection[Key], column: str = "id"
) -> Sequence[Any]:
    if not keys:
        return ()
    return await connection.fetch(
        f"SELECT {columns} FROM {_KEYS} JOIN {table} AS t "
        f"ON t.tenant = wanted.tenant AND t.{column} = wanted.id",
        *columns_of(keys),
    )


async def _delete(connection: Connection, table: str, keys: Iterable[Key]) -> None:
    await _many(
        connection,
        f"DELETE FROM {table} AS t USING {_KEYS} "
        "WHERE t.tenant = wanted.tenant AND t.id = wanted.id",
        list(keys),
    )


async def _many(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    if rows:
        await connection.execute(statement, *columns_of(rows))


def columns_of(rows: Iterable[Row]) -> list[list[Any]]:
    """Return rows as an array for each column, as `unnest` wants them."""
    return [list(column) for column in zip(*rows, strict=True)]
