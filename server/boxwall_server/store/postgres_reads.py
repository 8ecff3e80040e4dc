"""Every read of a PostgreSQL store, on a connection that sees one moment."""

from collections.abc import Sequence
from typing import Any, Final

from boxwall_server.changes.change import (
    BoxRecord,
    Entry,
    PolicyBytes,
    Timestamp,
    entry_of,
    entry_of_record,
)
from boxwall_server.changes.revision import NO_COMMIT, Cursor, Revision
from boxwall_server.store.errors import BoxNotFound, NotYetRead, SnapshotNotFound
from boxwall_server.store.postgres_connect import Connection
from boxwall_server.store.postgres_rows import BOX, CHANGE, change_from_row
from boxwall_server.store.postgres_tail import read_head
from boxwall_server.store.records import (
    BoxFilter,
    ChangesAt,
    EntriesAt,
    HistoryRecord,
    HostedRecord,
    SnapshotRecord,
)
from boxwall_server.store.rows import (
    SNAPSHOT_COLUMNS,
    box_from_row,
    snapshot_from_row,
    tombstone_from_row,
)

_NODES_OF_BOX: Final = (
    "(SELECT array_agg(a.node_id ORDER BY a.node_id) FROM attachments AS a "
    "WHERE a.tenant = b.tenant AND a.box_id = b.id)"
)


async def box(connection: Connection, tenant: str, box_id: str, at_least: Revision) -> HostedRecord:
    """Return one box. One statement, so it needs no transaction to see one moment."""
    row = await connection.fetchrow(
        f"SELECT h.revision, {BOX}, {_NODES_OF_BOX} "
        "FROM head AS h LEFT JOIN boxes AS b ON b.tenant = $1 AND b.id = $2",
        tenant,
        box_id,
    )
    assert row is not None, "the head has one row"
    if at_least > row[0]:
        raise NotYetRead(f"revision {at_least}")
    if row[1] is None:
        raise BoxNotFound(box_id)
    return _hosted(tuple(row[1:]))


async def boxes(
    connection: Connection,
    tenant: str,
    where: BoxFilter,
    after: str,
    limit: int,
    at_least: Revision,
) -> Sequence[HostedRecord]:
    """Return a page of boxes."""
    if at_least and at_least > (await read_head(connection)).revision:
        raise NotYetRead(f"revision {at_least}")
    condition, values = _condition(where)
    rows = await connection.fetch(
        f"SELECT {BOX}, {_NODES_OF_BOX} FROM boxes AS b "
        f"WHERE b.tenant = $1 AND b.id > $2{condition} ORDER BY b.id LIMIT $3",
        tenant,
        after,
        limit,
        *values,
    )
    return [_hosted(tuple(row)) for row in rows]


def _condition(where: BoxFilter) -> tuple[str, list[Any]]:
    """Return SQL that narrows to what a filter matches, and its values, from $4 on."""
    parts, values = list[str](), list[Any]()

    def bound(value: object) -> str:
        values.append(value)
        return f"${3 + len(values)}"

    for key, value in where.labels:
        parts.append(f"b.labels @> jsonb_build_object({bound(key)}::text, {bound(value)}::text)")
    if where.node_id:
        node = bound(where.node_id)
        parts.append(
            f"(b.node_id = {node} OR b.id IN (SELECT box_id FROM attachments AS a "
            f"WHERE a.tenant = b.tenant AND a.node_id = {node}))"
        )
    if where.name_prefix:
        parts.append(f"starts_with(b.name, {bound(where.name_prefix)})")
    if where.mode:
        parts.append(f"b.mode = {bound(where.mode)}")
    return "".join(f" AND {part}" for part in parts), values


async def history(
    connection: Connection, tenant: str, box_id: str, before: Revision, limit: int
) -> Sequence[HistoryRecord]:
    """Return a page of a living box's policies, newest first."""
    uid = (await box(connection, tenant, box_id, Revision(0))).box.uid
    rows = await connection.fetch(
        "SELECT revision, policy, create_time, author, request_id FROM history "
        "WHERE tenant = $1 AND box_uid = $2 AND revision < $3 ORDER BY revision DESC LIMIT $4",
        tenant,
        uid,
        before,
        limit,
    )
    return [
        HistoryRecord(
            revision=Revision(row[0]),
            policy=PolicyBytes(row[1]),
            create_time=Timestamp(row[2]),
            author=row[3],
            request_id=row[4],
        )
        for row in rows
    ]


async def snapshot(connection: Connection, tenant: str, snapshot_id: str) -> SnapshotRecord:
    """Return one snapshot."""
    row = await connection.fetchrow(
        f"SELECT {SNAPSHOT_COLUMNS} FROM snapshots WHERE tenant = $1 AND id = $2",
        tenant,
        snapshot_id,
    )
    if row is None:
        raise SnapshotNotFound(snapshot_id)
    return snapshot_from_row(tuple(row))


async def snapshots(
    connection: Connection, tenant: str, box_id: str, after: str, limit: int
) -> Sequence[SnapshotRecord]:
    """Return a page of snapshots."""
    rows = await connection.fetch(
        f"SELECT {SNAPSHOT_COLUMNS} FROM snapshots "
        "WHERE tenant = $1 AND id > $2 AND $3 IN ('', box_id) ORDER BY id LIMIT $4",
        tenant,
        after,
        box_id,
        limit,
    )
    return [snapshot_from_row(tuple(row)) for row in rows]


async def verify(connection: Connection, cursor: Cursor) -> bool:
    """Return whether a stream can continue from `cursor`."""
    row = await connection.fetchrow(
        "SELECT h.epoch, h.floor, c.commit_id FROM head AS h "
        "LEFT JOIN changes AS c ON c.revision = $1 AND c.revision > h.floor",
        cursor.revision,
    )
    assert row is not None, "the head has one row"
    epoch, floor, commit_id = row
    if epoch != cursor.epoch:
        return False
    if cursor.revision == 0:
        return bool(floor == 0 and cursor.commit_id == NO_COMMIT)
    return bool(commit_id == cursor.commit_id)


async def entries(connection: Connection, tenant: str, box_ids: Sequence[str]) -> EntriesAt:
    """Return what nodes have to do for boxes."""
    cursor = await read_head(connection)
    found = {
        row["id"]: entry_of_record(box_from_row(tuple(row)))
        for row in await connection.fetch(
            f"SELECT {BOX} FROM unnest($2::text[]) AS wanted (id) "
            "JOIN boxes AS b ON b.tenant = $1 AND b.id = wanted.id",
            tenant,
            box_ids,
        )
    }
    missing = [box_id for box_id in box_ids if box_id not in found]
    if missing:
        found |= {entry.box_id: entry for entry in await _tombstones(connection, tenant, missing)}
    return EntriesAt(cursor=cursor, entries=[found[box_id] for box_id in box_ids])


async def _tombstones(connection: Connection, tenant: str, box_ids: list[str]) -> list[Entry]:
    rows = await connection.fetch(
        "SELECT wanted.id, c.revision, c.commit_id, c.uid FROM unnest($2::text[]) AS wanted (id) "
        "LEFT JOIN LATERAL (SELECT revision, commit_id, uid FROM changes "
        "WHERE tenant = $1 AND box_id = wanted.id ORDER BY revision DESC LIMIT 1) AS c ON true",
        tenant,
        box_ids,
    )
    return [
        Entry(box_id=box_id, uid="", revision=Revision(0), policy=None)
        if revision is None
        else entry_of(tombstone_from_row((revision, commit_id, tenant, box_id, uid)))
        for box_id, revision, commit_id, uid in rows
    ]


async def since(
    connection: Connection, tenant: str, cursor: Cursor, limit: int, for_nodes: bool
) -> ChangesAt | None:
    """Return the newest change of each box after `cursor`."""
    if not await verify(connection, cursor):
        return None
    rows = await connection.fetch(
        f"SELECT {CHANGE} FROM (SELECT DISTINCT ON (box_id) * FROM changes "
        "WHERE revision > $1 AND tenant = $2 AND (kind != 'updated' OR NOT $3) "
        "ORDER BY box_id, revision DESC) AS c ORDER BY c.revision LIMIT $4",
        cursor.revision,
        tenant,
        for_nodes,
        limit + 1,
    )
    if len(rows) > limit:
        return None
    return ChangesAt(
        cursor=await read_head(connection),
        changes=[change_from_row(tuple(row)) for row in rows],
    )


async def page_of_boxes(
    connection: Connection, tenant: str, after: str, limit: int
) -> Sequence[BoxRecord]:
    """Return a page of a scan."""
    rows = await connection.fetch(
        f"SELECT {BOX} FROM boxes AS b WHERE b.tenant = $1 AND b.id > $2 ORDER BY b.id LIMIT $3",
        tenant,
        after,
        limit,
    )
    return [box_from_row(tuple(row)) for row in rows]


async def next_expiry(connection: Connection) -> Timestamp | None:
    """Return when the next box expires."""
    time = await connection.fetchval(
        "SELECT min(expire_time) FROM boxes WHERE expire_time IS NOT NULL"
    )
    return None if time is None else Timestamp(time)


async def expired(connection: Connection, now: Timestamp, limit: int) -> Sequence[BoxRecord]:
    """Return boxes whose time is up."""
    rows = await connection.fetch(
        f"SELECT {BOX} FROM boxes AS b WHERE expire_time <= $1 "
        "ORDER BY expire_time, tenant, id LIMIT $2",
        now,
        limit,
    )
    return [box_from_row(tuple(row)) for row in rows]


def _hosted(row: tuple[Any, ...]) -> HostedRecord:
    return HostedRecord(box=box_from_row(row), nodes=tuple(row[-1] or ()))
