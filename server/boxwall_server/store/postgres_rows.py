"""Loading and saving what a batch of writes needs: one statement a table, however many rows."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from boxwall_server.changes.change import Change, ChangeKind
from boxwall_server.changes.revision import CommitId, Revision
from boxwall_server.store.answers import answer_to_text
from boxwall_server.store.base import DEAD_AFTER
from boxwall_server.store.batch_rows import Key, Keys, Rows, Writes
from boxwall_server.store.postgres_connect import Connection
from boxwall_server.store.postgres_together import Together, columns_of
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


_ATTACHMENT: Final = "t.tenant, t.box_id, t.node_id"

_BOXES_AND_HOSTS: Final = f"""
SELECT wanted.tenant, wanted.id, (
    SELECT array_agg(a.node_id) FROM attachments AS a
    WHERE a.tenant = wanted.tenant AND a.box_id = wanted.id
), {BOX}
FROM {_KEYS} LEFT JOIN boxes AS b ON b.tenant = wanted.tenant AND b.id = wanted.id
"""


async def load(connection: Connection, keys: Keys) -> Rows:
    """Return the rows that exist of those that are wanted."""
    rows = Rows()
    await _load_boxes(connection, keys.boxes, rows)
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


async def _load_boxes(connection: Connection, keys: Collection[Key], rows: Rows) -> None:
    """Load boxes and, whether they exist or not, their hosts: one statement for most batches."""
    if not keys:
        return
    for row in await connection.fetch(_BOXES_AND_HOSTS, *columns_of(keys)):
        tenant, box_id, hosts, *columns = row
        key = Key(tenant, box_id)
        if hosts:
            rows.hosts[key] = set(hosts)
        if columns[0] is not None:
            rows.boxes[key] = box_from_row(tuple(columns))


def save(together: Together, writes: Writes) -> None:
    """Add everything that a plan says but for attachments, which `save_attachments` writes."""
    boxes = writes.boxes
    _delete(together, "boxes", (key for key, box in boxes.items() if box is None))
    together.add_rows(_UPSERT_BOXES, [box_to_row(box) for box in boxes.values() if box is not None])
    together.add_rows(_INSERT_CHANGES, [_change_to_row(c) for c in writes.changes])
    together.add_rows(
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
    _save_snapshots(together, writes)
    latest = {request.key: request for request in writes.requests}
    together.add_rows(
        _UPSERT_REQUESTS,
        [(*r.key, r.fingerprint, r.time, answer_to_text(r.outcome)) for r in latest.values()],
    )
    _save_nodes(together, writes)
    together.add_rows(_UPSERT_COUNTS, list(writes.box_counts.items()))


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


def _save_snapshots(together: Together, writes: Writes) -> None:
    snapshots = writes.snapshots
    _delete(together, "snapshots", (key for key, s in snapshots.items() if s is None))
    together.add_rows(
        _UPSERT_SNAPSHOTS,
        [snapshot_to_row(snapshot) for snapshot in snapshots.values() if snapshot is not None],
    )


def _save_nodes(together: Together, writes: Writes) -> None:
    nodes = writes.nodes
    _delete(together, "nodes", (key for key, node in nodes.items() if node is None))
    together.add_rows(
        _UPSERT_NODES, [node_to_row(node) for node in nodes.values() if node is not None]
    )


async def save_attachments(connection: Connection, writes: Writes) -> None:
    """Write what a plan says of attachments: statement by statement, since the last is about rows
    that the one before may have made.
    """
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


def _delete(together: Together, table: str, keys: Iterable[Key]) -> None:
    together.add_rows(
        f"DELETE FROM {table} AS t USING {_KEYS} "
        "WHERE t.tenant = wanted.tenant AND t.id = wanted.id",
        list(keys),
    )


async def _many(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    if rows:
        await connection.execute(statement, *columns_of(rows))
