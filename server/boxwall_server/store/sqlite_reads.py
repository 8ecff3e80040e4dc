"""Every read of a SQLite store, as plain functions on a connection: they run in reader threads."""

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from boxwall_server.changes.change import (
    BoxRecord,
    Change,
    ChangeKind,
    Entry,
    PolicyBytes,
    Timestamp,
    entry_of,
    entry_of_record,
)
from boxwall_server.changes.revision import NO_COMMIT, CommitId, Cursor, Epoch, Revision
from boxwall_server.store.batch_rows import Key
from boxwall_server.store.errors import BoxNotFound, NodeNotFound, NotYetRead, SnapshotNotFound
from boxwall_server.store.records import (
    BoxFilter,
    ChangesAt,
    EntriesAt,
    HistoryRecord,
    HostedRecord,
    HostRecord,
    NodeRecord,
    SnapshotRecord,
)
from boxwall_server.store.rows import (
    BOX_COLUMNS,
    NODE_COLUMNS,
    SNAPSHOT_COLUMNS,
    box_from_row,
    node_from_row,
    prefixed,
    snapshot_from_row,
    tombstone_from_row,
)

T = TypeVar("T")

_BOX: Final = prefixed("b", BOX_COLUMNS)
_NODES_OF_BOX: Final = (
    "(SELECT group_concat(node_id, char(10)) FROM attachments AS a "
    "WHERE a.tenant = b.tenant AND a.box_id = b.id)"
)
_COUNTED_NODE: Final = (
    f"{prefixed('n', NODE_COLUMNS)}, (SELECT count(*) FROM attachments AS a "
    "WHERE a.tenant = n.tenant AND a.node_id = n.id)"
)
_DELETION: Final = "revision, commit_id, tenant, box_id, box_uid"


def at_one_revision(
    connection: sqlite3.Connection, read: Callable[..., T], *arguments: object, **named: object
) -> T:
    """Return what `read` returns, all of it as of one commit."""
    connection.execute("BEGIN")
    try:
        return read(connection, *arguments, **named)
    finally:
        connection.execute("ROLLBACK")


def head(connection: sqlite3.Connection) -> Cursor:
    """Return the cursor of the last commit."""
    (epoch,) = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    row = connection.execute(
        "SELECT revision, commit_id FROM changes ORDER BY revision DESC LIMIT 1"
    ).fetchone()
    revision, commit_id = row or (0, NO_COMMIT)
    return Cursor(epoch=Epoch(epoch), revision=Revision(revision), commit_id=CommitId(commit_id))


def box(
    connection: sqlite3.Connection, tenant: str, box_id: str, at_least: Revision
) -> HostedRecord:
    """Return one box."""
    _reached(connection, at_least)
    row = connection.execute(
        f"SELECT {_BOX}, {_NODES_OF_BOX} FROM boxes AS b WHERE tenant = ? AND id = ?",
        (tenant, box_id),
    ).fetchone()
    if row is None:
        raise BoxNotFound(box_id)
    return _hosted(row)


def boxes(
    connection: sqlite3.Connection,
    tenant: str,
    where: BoxFilter,
    after: str,
    limit: int,
    at_least: Revision,
) -> Sequence[HostedRecord]:
    """Return a page of boxes."""
    _reached(connection, at_least)
    condition, values = _condition(where)
    rows = connection.execute(
        f"SELECT {_BOX}, {_NODES_OF_BOX} FROM boxes AS b "
        f"WHERE b.tenant = ? AND b.id > ?{condition} ORDER BY b.id LIMIT ?",
        (tenant, after, *values, limit),
    )
    return [_hosted(row) for row in rows.fetchall()]


def _condition(where: BoxFilter) -> tuple[str, list[Any]]:
    """Return SQL that narrows to what a filter matches, and its values."""
    parts, values = [], list[Any]()
    for key, value in where.labels:
        parts.append(
            "b.id IN (SELECT box_id FROM box_labels AS l "
            "WHERE l.tenant = b.tenant AND l.key = ? AND l.value = ?)"
        )
        values += [key, value]
    if where.node_id:
        parts.append(
            "(b.node_id = ? OR b.id IN (SELECT box_id FROM attachments AS a "
            "WHERE a.tenant = b.tenant AND a.node_id = ?))"
        )
        values += [where.node_id, where.node_id]
    if where.name_prefix:
        # Not LIKE, which folds case and has wildcards.
        parts.append("substr(b.name, 1, ?) = ?")
        values += [len(where.name_prefix), where.name_prefix]
    if where.mode:
        parts.append("b.mode = ?")
        values.append(where.mode)
    return "".join(f" AND {part}" for part in parts), values


def history(
    connection: sqlite3.Connection, tenant: str, box_id: str, before: Revision, limit: int
) -> Sequence[HistoryRecord]:
    """Return a page of a living box's policies, newest first."""
    uid = box(connection, tenant, box_id, Revision(0)).box.uid
    rows = connection.execute(
        "SELECT revision, policy, create_time, author, request_id FROM history "
        "WHERE tenant = ? AND box_uid = ? AND revision < ? ORDER BY revision DESC LIMIT ?",
        (tenant, uid, before, limit),
    )
    return [
        HistoryRecord(
            revision=Revision(revision),
            policy=PolicyBytes(policy),
            create_time=Timestamp(create_time),
            author=author,
            request_id=request_id,
        )
        for revision, policy, create_time, author, request_id in rows.fetchall()
    ]


def snapshot(connection: sqlite3.Connection, tenant: str, snapshot_id: str) -> SnapshotRecord:
    """Return one snapshot."""
    row = connection.execute(
        f"SELECT {SNAPSHOT_COLUMNS} FROM snapshots WHERE tenant = ? AND id = ?",
        (tenant, snapshot_id),
    ).fetchone()
    if row is None:
        raise SnapshotNotFound(snapshot_id)
    return snapshot_from_row(row)


def snapshots(
    connection: sqlite3.Connection, tenant: str, box_id: str, after: str, limit: int
) -> Sequence[SnapshotRecord]:
    """Return a page of snapshots."""
    rows = connection.execute(
        f"SELECT {SNAPSHOT_COLUMNS} FROM snapshots "
        "WHERE tenant = ? AND id > ? AND ? IN ('', box_id) ORDER BY id LIMIT ?",
        (tenant, after, box_id, limit),
    )
    return [snapshot_from_row(row) for row in rows.fetchall()]


def node(connection: sqlite3.Connection, tenant: str, node_id: str) -> NodeRecord:
    """Return one node."""
    row = connection.execute(
        f"SELECT {_COUNTED_NODE} FROM nodes AS n WHERE tenant = ? AND id = ?", (tenant, node_id)
    ).fetchone()
    if row is None:
        raise NodeNotFound(node_id)
    return node_from_row(row)


def nodes(
    connection: sqlite3.Connection, tenant: str, after: str, limit: int
) -> Sequence[NodeRecord]:
    """Return a page of nodes."""
    rows = connection.execute(
        f"SELECT {_COUNTED_NODE} FROM nodes AS n WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?",
        (tenant, after, limit),
    )
    return [node_from_row(row) for row in rows.fetchall()]


def attached(connection: sqlite3.Connection, tenant: str, node_id: str) -> Sequence[str]:
    """Return the boxes attached to a node."""
    rows = connection.execute(
        "SELECT box_id FROM attachments WHERE tenant = ? AND node_id = ? ORDER BY box_id",
        (tenant, node_id),
    )
    return [box_id for (box_id,) in rows.fetchall()]


def hosts(
    connection: sqlite3.Connection, boxes: Collection[Key]
) -> Mapping[Key, Sequence[HostRecord]]:
    """Return the nodes attached to boxes."""
    found: dict[Key, list[HostRecord]] = {key: [] for key in boxes}
    for tenant, box_id, node_id in connection.execute(
        "SELECT a.tenant, a.box_id, a.node_id FROM "
        "(SELECT value ->> 0 AS tenant, value ->> 1 AS id FROM json_each(?)) AS wanted "
        "CROSS JOIN attachments AS a ON a.tenant = wanted.tenant AND a.box_id = wanted.id "
        "ORDER BY a.node_id",
        (json.dumps(list(boxes)),),
    ).fetchall():
        found[Key(tenant, box_id)].append(HostRecord(node_id=node_id))
    return found


def verify(connection: sqlite3.Connection, cursor: Cursor) -> bool:
    """Return whether a stream can continue from `cursor`."""
    if head(connection).epoch != cursor.epoch:
        return False
    if cursor.revision == 0:
        (first,) = connection.execute("SELECT min(revision) FROM changes").fetchone()
        return cursor.commit_id == NO_COMMIT and first in (None, 1)
    row = connection.execute(
        "SELECT 1 FROM changes WHERE revision = ? AND commit_id = ?",
        (cursor.revision, cursor.commit_id),
    ).fetchone()
    return row is not None


def entries(connection: sqlite3.Connection, tenant: str, box_ids: Sequence[str]) -> EntriesAt:
    """Return what nodes have to do for boxes."""
    wanted = json.dumps(list(box_ids))
    found: dict[str, Entry] = {}
    for row in connection.execute(
        f"SELECT {_BOX} FROM json_each(?) AS wanted CROSS JOIN boxes AS b "
        "ON b.tenant = ? AND b.id = wanted.value",
        (wanted, tenant),
    ).fetchall():
        entry = entry_of_record(box_from_row(row))
        found[entry.box_id] = entry
    for box_id in box_ids:
        if box_id not in found:
            found[box_id] = _tombstone(connection, tenant, box_id)
    return EntriesAt(cursor=head(connection), entries=[found[box_id] for box_id in box_ids])


def _tombstone(connection: sqlite3.Connection, tenant: str, box_id: str) -> Entry:
    row = connection.execute(
        f"SELECT {_DELETION} FROM changes WHERE tenant = ? AND box_id = ? "
        "ORDER BY revision DESC LIMIT 1",
        (tenant, box_id),
    ).fetchone()
    if row is None:
        return Entry(box_id=box_id, uid="", revision=Revision(0), policy=None)
    return entry_of(tombstone_from_row(row))


def since(
    connection: sqlite3.Connection, tenant: str, cursor: Cursor, limit: int, for_nodes: bool
) -> ChangesAt | None:
    """Return the newest change of each box after `cursor`."""
    if not verify(connection, cursor):
        return None
    rows = connection.execute(
        f"SELECT max(c.revision), c.commit_id, c.kind, c.tenant, c.box_id, c.box_uid, {_BOX} "
        "FROM changes AS c LEFT JOIN boxes AS b ON b.tenant = c.tenant AND b.id = c.box_id "
        "WHERE c.revision > ? AND c.tenant = ? AND (c.kind != 'updated' OR NOT ?) "
        "GROUP BY c.box_id ORDER BY 1 LIMIT ?",
        (cursor.revision, tenant, for_nodes, limit + 1),
    ).fetchall()
    if len(rows) > limit:
        return None
    return ChangesAt(cursor=head(connection), changes=[_change(row) for row in rows])


def _change(row: tuple[Any, ...]) -> Change:
    revision, commit_id, kind, tenant, box_id, uid = row[:6]
    if kind == ChangeKind.DELETED.value:
        return tombstone_from_row((revision, commit_id, tenant, box_id, uid))
    return Change(
        revision=Revision(revision),
        commit_id=CommitId(commit_id),
        kind=ChangeKind(kind),
        box=box_from_row(row[6:]),
    )


def page_of_boxes(
    connection: sqlite3.Connection, tenant: str, after: str, limit: int
) -> Sequence[BoxRecord]:
    """Return a page of a scan."""
    rows = connection.execute(
        f"SELECT {BOX_COLUMNS} FROM boxes WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?",
        (tenant, after, limit),
    )
    return [box_from_row(row) for row in rows.fetchall()]


def next_expiry(connection: sqlite3.Connection) -> Timestamp | None:
    """Return when the next box expires."""
    (time,) = connection.execute(
        "SELECT min(expire_time) FROM boxes WHERE expire_time IS NOT NULL"
    ).fetchone()
    return None if time is None else Timestamp(time)


def expired(connection: sqlite3.Connection, now: Timestamp, limit: int) -> Sequence[BoxRecord]:
    """Return boxes whose time is up."""
    rows = connection.execute(
        f"SELECT {BOX_COLUMNS} FROM boxes WHERE expire_time <= ? "
        "ORDER BY expire_time, tenant, id LIMIT ?",
        (now, limit),
    )
    return [box_from_row(row) for row in rows.fetchall()]


def _hosted(row: tuple[Any, ...]) -> HostedRecord:
    nodes_text = row[-1]
    hosts = tuple(sorted(nodes_text.split("\n"))) if nodes_text else ()
    return HostedRecord(box=box_from_row(row), nodes=hosts)


def _reached(connection: sqlite3.Connection, at_least: Revision) -> None:
    if at_least and at_least > head(connection).revision:
        raise NotYetRead(f"revision {at_least}")
