"""Loading and saving what a batch of writes needs, in few statements however many there are."""

import json
import sqlite3
from collections.abc import Collection, Iterable
from typing import Final

from boxwall_server.changes.change import BoxRecord, ChangeKind, Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.store.answers import answer_to_text
from boxwall_server.store.batch import REQUEST_MEMORY
from boxwall_server.store.batch_rows import Key, Keys, Rows, Writes
from boxwall_server.store.recent import RecentBoxes
from boxwall_server.store.rows import (
    BOX_COLUMNS,
    HISTORY_OF_DELETED,
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

# Pairs [tenant, id] as a table; CROSS JOIN keeps SQLite from scanning the other table first.
_KEYS: Final = (
    "(SELECT value ->> 0 AS tenant, value ->> 1 AS id FROM json_each(?)) AS wanted CROSS JOIN"
)


_BOX, _SNAPSHOT, _REQUEST, _NODE = (
    prefixed("t", columns)
    for columns in (BOX_COLUMNS, SNAPSHOT_COLUMNS, REQUEST_COLUMNS, NODE_COLUMNS)
)
_ATTACHMENT: Final = "t.tenant, t.box_id, t.node_id"

_UPSERT_BOX: Final = (
    f"INSERT INTO boxes ({BOX_COLUMNS}) VALUES ({', '.join('?' * len(BOX_COLUMNS.split(', ')))}) "
    "ON CONFLICT (tenant, id) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in BOX_COLUMNS.split(", ")[2:])
)
# Names no column of an index: those stay as they are, and their pages need not be written.
_SET_POLICY: Final = (
    "UPDATE boxes SET policy = ?, mode = ?, policy_revision = ?, revision = ?, update_time = ? "
    "WHERE tenant = ? AND id = ?"
)


def load(connection: sqlite3.Connection, keys: Keys, recent: RecentBoxes) -> Rows:
    """Return the rows that exist of those that are wanted."""
    rows = Rows()
    boxes = recent.give(rows, keys.boxes)
    for row in _wanted(connection, "boxes", _BOX, boxes):
        box = box_from_row(row)
        rows.boxes[Key(box.tenant, box.id)] = box
    for row in _wanted(connection, "snapshots", _SNAPSHOT, keys.snapshots):
        snapshot = snapshot_from_row(row)
        rows.snapshots[Key(snapshot.tenant, snapshot.id)] = snapshot
    for row in _wanted(connection, "requests", _REQUEST, keys.requests):
        request = request_from_row(row)
        rows.requests[request.key] = request
    for row in _wanted(connection, "nodes", _NODE, keys.nodes):
        node = node_from_row(row)
        rows.nodes[Key(node.tenant, node.id)] = node
    for tenant, box_id, node_id in _wanted(
        connection, "attachments", _ATTACHMENT, boxes, column="box_id"
    ):
        rows.hosts.setdefault(Key(tenant, box_id), set()).add(node_id)
    for tenant, box_id, node_id in _wanted(
        connection, "attachments", _ATTACHMENT, keys.hosted_by, column="node_id"
    ):
        rows.hosted_by.setdefault(Key(tenant, node_id), set()).add(box_id)
    rows.box_counts.update(_box_counts(connection, keys.tenants))
    return rows


def save(connection: sqlite3.Connection, writes: Writes) -> None:
    """Write everything a plan says, in the transaction that is open."""
    _save_boxes(connection, writes)
    _many(
        connection,
        "INSERT INTO changes (revision, commit_id, kind, tenant, box_id, box_uid) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            (c.revision, c.commit_id, c.kind.value, c.box.tenant, c.box.id, c.box.uid)
            for c in writes.changes
        ),
    )
    _many(
        connection,
        "INSERT INTO history (tenant, box_uid, revision, policy, create_time, author, request_id) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
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
        ),
    )
    _save_snapshots(connection, writes)
    _many(
        connection,
        "INSERT OR REPLACE INTO requests (tenant, id, fingerprint, time, answer) "
        "VALUES (?, ?, ?, ?, ?)",
        ((*r.key, r.fingerprint, r.time, answer_to_text(r.outcome)) for r in writes.requests),
    )
    _save_nodes(connection, writes)
    _many(
        connection,
        "INSERT OR REPLACE INTO tenants (id, boxes) VALUES (?, ?)",
        writes.box_counts.items(),
    )


def forget_old(connection: sqlite3.Connection, floor: Revision, now: Timestamp) -> None:
    """Drop changes up to `floor`, old request ids, and the policies of boxes long gone.

    The transaction has begun; it has ended on return, and when this raises.
    """
    try:
        connection.execute("DELETE FROM changes WHERE revision <= ?", (floor,))
        connection.execute("DELETE FROM requests WHERE time < ?", (now - REQUEST_MEMORY,))
        connection.execute(
            "DELETE FROM history WHERE create_time < ? AND NOT EXISTS (SELECT 1 FROM boxes AS b "
            "WHERE b.tenant = history.tenant AND b.uid = history.box_uid)",
            (now - HISTORY_OF_DELETED,),
        )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _save_boxes(connection: sqlite3.Connection, writes: Writes) -> None:
    gone = [key for key, box in writes.boxes.items() if box is None]
    _many(connection, "DELETE FROM boxes WHERE tenant = ? AND id = ?", gone)
    more = {Key(c.box.tenant, c.box.id) for c in writes.changes if c.kind is not ChangeKind.POLICY}
    kept = [(key, box) for key, box in writes.boxes.items() if box is not None]
    _many(connection, _UPSERT_BOX, (box_to_row(box) for key, box in kept if key in more))
    _many(
        connection,
        _SET_POLICY,
        (
            (box.policy, box.mode, box.policy_revision, box.revision, box.update_time, *key)
            for key, box in kept
            if key not in more
        ),
    )
    living = [key for key in writes.relabelled if writes.boxes[key] is not None]
    _many(connection, "DELETE FROM box_labels WHERE tenant = ? AND box_id = ?", living)
    _many(
        connection,
        "INSERT INTO box_labels (tenant, key, value, box_id) VALUES (?, ?, ?, ?)",
        (
            (key.tenant, label, value, key.id)
            for key in living
            for label, value in _labels(writes.boxes[key])
        ),
    )


def _labels(box: BoxRecord | None) -> tuple[tuple[str, str], ...]:
    return () if box is None else box.labels


def _save_snapshots(connection: sqlite3.Connection, writes: Writes) -> None:
    gone = [key for key, snapshot in writes.snapshots.items() if snapshot is None]
    _many(connection, "DELETE FROM snapshots WHERE tenant = ? AND id = ?", gone)
    _many(
        connection,
        f"INSERT OR REPLACE INTO snapshots ({SNAPSHOT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
        (
            snapshot_to_row(snapshot)
            for snapshot in writes.snapshots.values()
            if snapshot is not None
        ),
    )


def _save_nodes(connection: sqlite3.Connection, writes: Writes) -> None:
    gone = [key for key, node in writes.nodes.items() if node is None]
    _many(connection, "DELETE FROM nodes WHERE tenant = ? AND id = ?", gone)
    _many(
        connection,
        f"INSERT OR REPLACE INTO nodes ({NODE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (node_to_row(node) for node in writes.nodes.values() if node is not None),
    )
    made = [attachment for attachment, is_made in writes.attachments.items() if is_made]
    ended = [attachment for attachment, is_made in writes.attachments.items() if not is_made]
    _many(
        connection,
        "INSERT OR IGNORE INTO attachments (tenant, box_id, node_id) VALUES (?, ?, ?)",
        made,
    )
    _many(
        connection,
        "DELETE FROM attachments WHERE tenant = ? AND box_id = ? AND node_id = ?",
        ended,
    )


def _box_counts(connection: sqlite3.Connection, tenants: Collection[str]) -> Iterable[Row]:
    if not tenants:
        return ()
    return connection.execute(
        "SELECT t.id, t.boxes FROM json_each(?) AS wanted CROSS JOIN tenants AS t "
        "ON t.id = wanted.value",
        (json.dumps(list(tenants)),),
    ).fetchall()


def _wanted(
    connection: sqlite3.Connection,
    table: str,
    columns: str,
    keys: Collection[Key],
    column: str = "id",
) -> Iterable[Row]:
    if not keys:
        return ()
    return connection.execute(
        f"SELECT {columns} FROM {_KEYS} {table} AS t "
        f"ON t.tenant = wanted.tenant AND t.{column} = wanted.id",
        (json.dumps(list(keys)),),
    ).fetchall()


def _many(connection: sqlite3.Connection, statement: str, rows: Iterable[Row]) -> None:
    values = list(rows)
    if values:
        connection.executemany(statement, values)
