"""What the servers on one database tell each other of nodes.

A session is a row that says which server has the stream of a node. What the node says of a box is
kept beside the attachment, with the session in which it was said: it counts for as long as that
session is the node's newest and its server alive. So one row says all there is to know of a box on
a node, and no server has to remember what another has told it.
"""

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from boxwall_server.changes.change import Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.enforcement import NodeKey, Standing
from boxwall_server.store.base import PeerListener
from boxwall_server.store.batch_rows import Key
from boxwall_server.store.postgres_connect import Channel, Connection
from boxwall_server.store.postgres_pool import ReadPool
from boxwall_server.store.postgres_rows import LIVE_SESSIONS
from boxwall_server.store.postgres_together import columns_of
from boxwall_server.store.records import AnswerRecord, HostRecord, SessionId

MAX_PAYLOAD: Final = 7_000
"""Bytes of a notice; PostgreSQL takes 8,000."""

_SAVE: Final = """
WITH said AS (
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bigint[],
        $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::bigint[], $11::bigint[])
    AS u (session, tenant, node_id, box_id, answered, applied, apply_time, failure, note, kept, cut)
), saved AS (
    UPDATE attachments AS a SET session = u.session, answered = u.answered, applied = u.applied,
        apply_time = u.apply_time, failure = u.failure, note = u.note, kept = u.kept, cut = u.cut
    FROM said AS u JOIN sessions AS s ON s.id = u.session AND NOT s.ended
    WHERE a.tenant = u.tenant AND a.box_id = u.box_id AND a.node_id = u.node_id
), moved AS (
    UPDATE sessions AS s SET applied_revision = greatest(s.applied_revision, u.revision)
    FROM unnest($12::bytea[], $13::bigint[]) AS u (session, revision) WHERE s.id = u.session
)
SELECT pg_notify($14, $15)
"""

_HOSTS: Final = f"""
SELECT a.tenant, a.box_id, a.node_id, s.id = a.session,
    a.answered, a.applied, a.apply_time, a.failure, a.note, a.kept, a.cut
FROM unnest($1::text[], $2::text[]) AS wanted (tenant, id)
JOIN attachments AS a ON a.tenant = wanted.tenant AND a.box_id = wanted.id
LEFT JOIN ({LIVE_SESSIONS}) ON s.tenant = a.tenant AND s.node_id = a.node_id
ORDER BY a.node_id
"""


class PostgresSessions:
    """Keeps what the contract of `store.base` says of sessions."""

    is_shared = True

    def __init__(self, pool: ReadPool, replica: bytes) -> None:
        self.replica = replica
        self._pool = pool
        self._peers: PeerListener | None = None

    def listen_to_peers(self, peers: PeerListener) -> None:
        """Set who is told what other servers do."""
        self._peers = peers

    async def open_session(self, node: NodeKey, session: SessionId, now: Timestamp) -> None:
        """Make this the session of a node."""
        await self._pool.run(_open, self.replica, node, session, now)

    async def close_session(self, session: SessionId) -> None:
        """End a session of this server."""
        await self._pool.run(_close, session)

    async def save_answers(
        self, answers: Collection[AnswerRecord], applied: Mapping[SessionId, Revision]
    ) -> None:
        """Let all servers know what nodes have said."""
        if answers:
            await self._pool.run(_save, self.replica, answers, applied)

    async def sessions_to_end(self) -> Mapping[SessionId, bool]:
        """Return the sessions of this server that count no more."""
        return await self._pool.run(_to_end, self.replica)

    async def beat(self) -> bool:
        """Give a sign of life."""
        return await self._pool.run(beat, self.replica)

    async def tell_peers(self, notes: Sequence[bytes]) -> None:
        """Tell the other servers something."""
        await self._pool.run(_tell, self.replica, notes)

    async def hosts(self, boxes: Collection[Key]) -> Mapping[Key, Sequence[HostRecord]]:
        """Return the nodes attached to boxes, and what they have said at whatever server."""
        return await self._pool.run(_hosts, boxes)

    def heard(self, channel: str, payload: str) -> None:
        """Take in a notice of another server, or of this one."""
        if self._peers is None:
            return
        if channel == Channel.NODES:
            self._peers.nodes_changed()
            return
        sender, _, text = payload.partition(" ")
        if sender == self.replica.hex():
            return
        if channel == Channel.NOTES:
            self._peers.told(base64.b64decode(text.partition(" ")[2]))
        else:
            self._peers.answered_elsewhere([Key(*pair) for pair in json.loads(text or "[]")])


async def register(connection: Connection, replica: bytes) -> None:
    """Let there be a row for a server."""
    await connection.execute(
        "INSERT INTO replicas (id, beat_time) VALUES ($1, clock_timestamp()) "
        "ON CONFLICT (id) DO UPDATE SET beat_time = excluded.beat_time",
        replica,
    )


async def deregister(connection: Connection, replica: bytes) -> None:
    """Forget a server that stops, and its sessions."""
    await connection.execute("DELETE FROM replicas WHERE id = $1", replica)
    await connection.execute("DELETE FROM batches WHERE replica = $1", replica)


async def beat(connection: Connection, replica: bytes) -> bool:
    """Give a sign of life. False: the server had no row any more; it has again."""
    async with connection.transaction():
        # A slow disk must not make servers seem dead, and one that is lost says nothing anyway.
        await connection.execute("SET LOCAL synchronous_commit = off")
        known = await connection.fetchval(
            "UPDATE replicas SET beat_time = clock_timestamp() WHERE id = $1 RETURNING true",
            replica,
        )
    if known is None:
        await register(connection, replica)
    return bool(known)


async def _open(
    connection: Connection, replica: bytes, node: NodeKey, session: SessionId, now: Timestamp
) -> None:
    async with connection.transaction():
        # Two servers that open a session of one node take turns; the later is the newer.
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", json.dumps(node)
        )
        await connection.execute(
            "UPDATE sessions SET ended = true WHERE tenant = $1 AND node_id = $2 AND NOT ended",
            node.tenant,
            node.id,
        )
        await connection.execute(
            "INSERT INTO sessions (id, tenant, node_id, replica, connect_time) "
            "VALUES ($1, $2, $3, $4, $5)",
            session,
            node.tenant,
            node.id,
            replica,
            now,
        )
        await connection.execute("SELECT pg_notify($1, '')", Channel.NODES)


async def _tell(connection: Connection, replica: bytes, notes: Sequence[bytes]) -> None:
    # Numbered: of equal payloads in one transaction only one would be delivered.
    payloads = [
        f"{replica.hex()} {number} {base64.b64encode(note).decode()}"
        for number, note in enumerate(notes)
    ]
    await connection.execute(
        "SELECT count(pg_notify($1, payload)) FROM unnest($2::text[]) AS payload",
        Channel.NOTES,
        payloads,
    )


async def _close(connection: Connection, session: SessionId) -> None:
    await connection.execute("DELETE FROM sessions WHERE id = $1", session)


async def _save(
    connection: Connection,
    replica: bytes,
    answers: Collection[AnswerRecord],
    applied: Mapping[SessionId, Revision],
) -> None:
    boxes = json.dumps(sorted({(a.node.tenant, a.box_id) for a in answers}))
    payload = f"{replica.hex()} {boxes if len(boxes) < MAX_PAYLOAD else ''}"
    rows = [_answer_to_row(answer) for answer in answers]
    await connection.execute(
        _SAVE,
        *columns_of(rows),
        list(applied),
        list(applied.values()),
        Channel.ANSWERS,
        payload,
    )


def _answer_to_row(answer: AnswerRecord) -> tuple[Any, ...]:
    said = answer.standing
    return (
        answer.session,
        answer.node.tenant,
        answer.node.id,
        answer.box_id,
        said.answered,
        said.applied,
        said.apply_time,
        said.failure,
        said.note,
        said.kept,
        said.cut,
    )


async def _to_end(connection: Connection, replica: bytes) -> Mapping[SessionId, bool]:
    rows = await connection.fetch(
        "SELECT id, false FROM sessions WHERE replica = $1 AND ended UNION ALL "
        "SELECT s.id, true FROM nodes AS n JOIN sessions AS s "
        "ON s.tenant = n.tenant AND s.node_id = n.id AND NOT s.ended "
        "WHERE n.fenced AND s.replica = $1",
        replica,
    )
    return {SessionId(session): fenced for session, fenced in rows}


async def _hosts(
    connection: Connection, boxes: Collection[Key]
) -> Mapping[Key, Sequence[HostRecord]]:
    found: dict[Key, list[HostRecord]] = {key: [] for key in boxes}
    if not boxes:
        return found
    for row in await connection.fetch(_HOSTS, *columns_of(boxes)):
        tenant, box_id, node_id, counts, *said = row
        standing = _standing(said) if counts else None
        found[Key(tenant, box_id)].append(HostRecord(node_id=node_id, standing=standing))
    return found


def _standing(said: Sequence[Any]) -> Standing:
    answered, applied, apply_time, failure, note, kept, cut = said
    return Standing(
        answered=Revision(answered),
        applied=Revision(applied),
        apply_time=None if apply_time is None else Timestamp(apply_time),
        failure=failure,
        note=note,
        kept=kept,
        cut=cut,
    )
