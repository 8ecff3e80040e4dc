"""What is read of nodes in a PostgreSQL store, with what other servers know of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from boxwall_server.changes.revision import Revision
from boxwall_server.store.errors import NodeNotFound
from boxwall_server.store.postgres_connect import Connection
from boxwall_server.store.postgres_rows import LIVE_SESSIONS
from boxwall_server.store.records import NodeRecord
from boxwall_server.store.rows import NODE_COLUMNS, node_from_row, prefixed

_NODES: Final = f"""
SELECT {prefixed("n", NODE_COLUMNS)},
    (SELECT count(*) FROM attachments AS a WHERE a.tenant = n.tenant AND a.node_id = n.id),
    s.connect_time,
    (SELECT count(*) FROM attachments AS a WHERE a.tenant = n.tenant AND a.node_id = n.id
        AND a.session = s.id AND a.failure != ''),
    s.applied_revision
FROM nodes AS n LEFT JOIN ({LIVE_SESSIONS}) ON s.tenant = n.tenant AND s.node_id = n.id
"""


async def node(connection: Connection, tenant: str, node_id: str) -> NodeRecord:
    """Return one node."""
    row = await connection.fetchrow(f"{_NODES} WHERE n.tenant = $1 AND n.id = $2", tenant, node_id)
    if row is None:
        raise NodeNotFound(node_id)
    return _counted(tuple(row))


async def nodes(
    connection: Connection, tenant: str, after: str, limit: int
) -> Sequence[NodeRecord]:
    """Return a page of nodes."""
    rows = await connection.fetch(
        f"{_NODES} WHERE n.tenant = $1 AND n.id > $2 ORDER BY n.id LIMIT $3",
        tenant,
        after,
        limit,
    )
    return [_counted(tuple(row)) for row in rows]


def _counted(row: Sequence[Any]) -> NodeRecord:
    *columns, connect_time, failures, applied = row
    node = node_from_row(tuple(columns))
    return replace(
        node,
        connect_time=connect_time,
        failures=failures,
        applied_revision=max(node.applied_revision, Revision(applied or 0)),
    )


async def attached(connection: Connection, tenant: str, node_id: str) -> Sequence[str]:
    """Return the boxes attached to a node."""
    rows = await connection.fetch(
        "SELECT box_id FROM attachments WHERE tenant = $1 AND node_id = $2 ORDER BY box_id",
        tenant,
        node_id,
    )
    return [row[0] for row in rows]
