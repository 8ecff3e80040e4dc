"""Loading and saving what a batch of writes needs, in few statements however many there are."""

import json
import sqlite3
from collections.abc import Collection, Iterable
from typing import Any, Final

from boxwall_server.changes.change import BoxRecord, Change, ChangeKind, PolicyBytes, Timestamp
from boxwall_server.changes.revision import CommitId, Revision
from boxwall_server.store.answers import answer_from_text, answer_to_text
from boxwall_server.store.batch import REQUEST_MEMORY
from boxwall_server.store.batch_rows import Key, Keys, RememberedRequest, Rows, Writes
from boxwall_server.store.records import NodeRecord, SnapshotRecord

Row = tuple[Any, ...]

BOX_COLUMNS: Final = (
    "tenant, id, uid, name, node_id, labels, runtime, policy, mode, policy_revision, revision, "
    "expire_time, source_snapshot, create_time, update_time"
)
SNAPSHOT_COLUMNS: Final = "tenant, id, box_id, policy, mode, create_time"
NODE_COLUMNS: Final = (
    "tenant, id, agent_version, last_contact_time, applied_revision, fenced, fence_reason"
)

HISTORY_OF_DELETED: Final = 90 * 24 * 3600 * 1_000_000
"""Microseconds for which the policies of a deleted box are kept."""

# Pairs [tenant, id] as a table; CROSS JOIN keeps SQLite from scanning the other table first.
_KEYS: Final = (
    "(SELECT value ->> 0 AS tenant, value ->> 1 AS id FROM json_each(?)) AS wanted CROSS JOIN"
)


_UPSERT_BOX: Final = (
    f"INSERT INTO boxes ({BOX_COLUMNS}) VALUES ({', '.join('?' * len(BOX_COLUMNS.split(', ')))}) "
    "ON CONFLICT (tenant, id) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in BOX_COLUMNS.split(", ")[2:])
)


def load(connection: sqlite3.Connection, keys: Keys) -> Rows:
    """Return the rows that exist of those that are wanted."""
    rows = Rows()
    for row in _wanted(connection, "boxes", prefixed("t", BOX_COLUMNS), keys.boxes):
        box = box_from_row(row)
        rows.boxes[Key(box.tenant, box.id)] = box
    for row in _wanted(connection, "snapshots", prefixed("t", SNAPSHOT_COLUMNS), keys.snapshots):
        snapshot = snapshot_from_row(row)
        rows.snapshots[Key(snapshot.tenant, snapshot.id)] = snapshot
    for row in _wanted(
        connection, "requests", "t.tenant, t.id, t.fingerprint, t.time, t.answer", keys.requests
    ):
        request = _request_from_row(row)
        rows.requests[request.key] = request
    for row in _wanted(connection, "nodes", prefixed("t", NODE_COLUMNS), keys.nodes):
        node = node_from_row(row)
        rows.nodes[Key(node.tenant, node.id)] = node
    for tenant, box_id, node_id in _wanted(
        connection, "attachments", "t.tenant, t.box_id, t.node_id", keys.boxes, column="box_id"
    ):
        rows.hosts.setdefault(Key(tenant, box_id), set()).add(node_id)
    for tenant, box_id, node_id in _wanted(
        connection, "attachments", "t.tenant, t.box_id, t.node_id", keys.hosted_by, column="node_id"
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
    _many(
        connection,
        _UPSERT_BOX,
        (box_to_row(box) for box in writes.boxes.values() if box is not None),
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
            (s.tenant, s.id, s.box_id, s.policy, s.mode, s.create_time)
            for s in writes.snapshots.values()
            if s is not None
        ),
    )


def _save_nodes(connection: sqlite3.Connection, writes: Writes) -> None:
    gone = [key for key, node in writes.nodes.items() if node is None]
    _many(connection, "DELETE FROM nodes WHERE tenant = ? AND id = ?", gone)
    _many(
        connection,
        f"INSERT OR REPLACE INTO nodes ({NODE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (
                node.tenant,
                node.id,
                node.agent_version,
                node.last_contact_time,
                node.applied_revision,
                node.fenced,
                node.fence_reason,
            )
            for node in writes.nodes.values()
            if node is not None
        ),
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


def box_to_row(box: BoxRecord) -> Row:
    """Return the values of BOX_COLUMNS."""
    return (
        box.tenant,
        box.id,
        box.uid,
        box.name,
        box.node_id,
        json.dumps(dict(box.labels)) if box.labels else "{}",
        box.runtime,
        box.policy,
        box.mode,
        box.policy_revision,
        box.revision,
        box.expire_time,
        box.source_snapshot,
        box.create_time,
        box.update_time,
    )


def box_from_row(row: Row) -> BoxRecord:
    """Return a box from the values of BOX_COLUMNS."""
    labels = row[5]
    return BoxRecord(
        tenant=row[0],
        id=row[1],
        uid=row[2],
        name=row[3],
        node_id=row[4],
        labels=() if labels == "{}" else tuple(json.loads(labels).items()),
        runtime=row[6],
        policy=PolicyBytes(row[7]),
        mode=row[8],
        policy_revision=Revision(row[9]),
        revision=Revision(row[10]),
        expire_time=row[11],
        source_snapshot=row[12],
        create_time=Timestamp(row[13]),
        update_time=Timestamp(row[14]),
    )


def snapshot_from_row(row: Row) -> SnapshotRecord:
    """Return a snapshot from the values of SNAPSHOT_COLUMNS."""
    tenant, snapshot_id, box_id, policy, mode, create_time = row
    return SnapshotRecord(
        tenant=tenant,
        id=snapshot_id,
        box_id=box_id,
        policy=PolicyBytes(policy),
        mode=mode,
        create_time=Timestamp(create_time),
    )


def node_from_row(row: Row) -> NodeRecord:
    """Return a node from the values of NODE_COLUMNS, and perhaps its number of boxes."""
    return NodeRecord(
        tenant=row[0],
        id=row[1],
        agent_version=row[2],
        last_contact_time=row[3],
        applied_revision=Revision(row[4]),
        fenced=bool(row[5]),
        fence_reason=row[6],
        attached_boxes=row[7] if len(row) > 7 else 0,
    )


def tombstone_from_row(row: Row) -> Change:
    """Return a deletion from (revision, commit_id, tenant, box_id, box_uid).

    Of the box only the tenant, the id and the uid are known any more.
    """
    revision, commit_id, tenant, box_id, uid = row
    nothing = BoxRecord(
        tenant=tenant,
        id=box_id,
        uid=uid,
        name="",
        node_id="",
        labels=(),
        runtime="",
        policy=PolicyBytes(b""),
        mode="",
        policy_revision=Revision(0),
        revision=Revision(revision),
        expire_time=None,
        source_snapshot="",
        create_time=Timestamp(0),
        update_time=Timestamp(0),
    )
    return Change(
        revision=Revision(revision),
        commit_id=CommitId(commit_id),
        kind=ChangeKind.DELETED,
        box=nothing,
    )


def prefixed(table: str, columns: str) -> str:
    """Return "a, b" as "t.a, t.b"."""
    return ", ".join(f"{table}.{column}" for column in columns.split(", "))


def _request_from_row(row: Row) -> RememberedRequest:
    tenant, request_id, fingerprint, time, answer = row
    return RememberedRequest(
        key=Key(tenant, request_id),
        fingerprint=fingerprint,
        time=Timestamp(time),
        outcome=answer_from_text(answer),
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
