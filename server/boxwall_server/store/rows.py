"""Records as rows of a table, in whatever engine: which columns, in which order."""

import json
from typing import Any, Final

from boxwall_server.changes.change import BoxRecord, Change, ChangeKind, PolicyBytes, Timestamp
from boxwall_server.changes.revision import CommitId, Revision
from boxwall_server.store.answers import answer_from_text
from boxwall_server.store.batch_rows import Key, RememberedRequest
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

REQUEST_COLUMNS: Final = "tenant, id, fingerprint, time, answer"

HISTORY_OF_DELETED: Final = 90 * 24 * 3600 * 1_000_000
"""Microseconds for which the policies of a deleted box are kept."""


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
        labels=() if labels == "{}" else tuple(sorted(json.loads(labels).items())),
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


def snapshot_to_row(snapshot: SnapshotRecord) -> Row:
    """Return the values of SNAPSHOT_COLUMNS."""
    return (
        snapshot.tenant,
        snapshot.id,
        snapshot.box_id,
        snapshot.policy,
        snapshot.mode,
        snapshot.create_time,
    )


def node_to_row(node: NodeRecord) -> Row:
    """Return the values of NODE_COLUMNS."""
    return (
        node.tenant,
        node.id,
        node.agent_version,
        node.last_contact_time,
        node.applied_revision,
        node.fenced,
        node.fence_reason,
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


def request_from_row(row: Row) -> RememberedRequest:
    """Return a remembered request from the values of REQUEST_COLUMNS."""
    tenant, request_id, fingerprint, time, answer = row
    return RememberedRequest(
        key=Key(tenant, request_id),
        fingerprint=fingerprint,
        time=Timestamp(time),
        outcome=answer_from_text(answer),
    )
