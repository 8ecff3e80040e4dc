"""From records to messages."""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp as TimestampMessage

from boxwall.policy import PolicyWarning
from boxwall.v1 import box_pb2, node_pb2
from boxwall.wire.policies import warnings_to_proto
from boxwall_server.changes.change import BoxRecord, Timestamp
from boxwall_server.enforcement import Enforcement, NodeEnforcement
from boxwall_server.store.records import HistoryRecord, NodeRecord, SnapshotRecord


def box_to_proto(
    box: BoxRecord,
    enforcement: Enforcement | None = None,
    warnings: Sequence[PolicyWarning] = (),
) -> box_pb2.Box:
    """Return a box. Without `enforcement` (in watches) the field is unset."""
    message = box_pb2.Box(
        id=box.id,
        uid=box.uid,
        name=box.name,
        node_id=box.node_id,
        runtime=box.runtime,
        policy_revision=box.policy_revision,
        source_snapshot=box.source_snapshot,
        etag=box.etag,
    )
    for key, value in box.labels:
        message.labels[key] = value
    _set_time(message.create_time, box.create_time)
    _set_time(message.update_time, box.update_time)
    message.network_policy.MergeFromString(box.policy)
    if box.expire_time is not None:
        _set_time(message.expire_time, box.expire_time)
    if enforcement is not None:
        _set_enforcement(message.enforcement, enforcement)
    if warnings:
        message.warnings.extend(warnings_to_proto(warnings))
    return message


def enforcement_to_proto(enforcement: Enforcement) -> box_pb2.Enforcement:
    """Return how far a policy has come."""
    message = box_pb2.Enforcement()
    _set_enforcement(message, enforcement)
    return message


def _set_enforcement(message: box_pb2.Enforcement, enforcement: Enforcement) -> None:
    # States have the numbers of the wire; by name, protobuf would look each up.
    message.state = int(enforcement.state)  # type: ignore[assignment]  # an enum of protobuf is an int
    message.applied_revision = enforcement.applied_revision
    if enforcement.nodes:
        message.nodes.extend([_node_enforcement_to_proto(node) for node in enforcement.nodes])


def _node_enforcement_to_proto(node: NodeEnforcement) -> box_pb2.NodeEnforcement:
    return box_pb2.NodeEnforcement(
        node_id=node.node_id,
        state=f"STATE_{node.state.name}",
        applied_revision=node.applied_revision,
        apply_time=None if node.apply_time is None else time_to_proto(node.apply_time),
        message=node.message,
        connections_kept=node.connections_kept,
        connections_cut=node.connections_cut,
    )


def snapshot_to_proto(snapshot: SnapshotRecord) -> box_pb2.Snapshot:
    """Return a snapshot."""
    message = box_pb2.Snapshot(
        id=snapshot.id, box_id=snapshot.box_id, create_time=time_to_proto(snapshot.create_time)
    )
    message.network_policy.MergeFromString(snapshot.policy)
    return message


def history_to_proto(record: HistoryRecord) -> box_pb2.PolicyRevision:
    """Return one policy of a box's past."""
    message = box_pb2.PolicyRevision(
        revision=record.revision,
        create_time=time_to_proto(record.create_time),
        author=record.author,
        request_id=record.request_id,
    )
    message.network_policy.MergeFromString(record.policy)
    return message


def node_to_proto(
    node: NodeRecord,
    *,
    connect_time: Timestamp | None,
    head: int,
    rejections: int,
) -> node_pb2.Node:
    """Return a node. `connect_time` None: it is not connected."""
    connected = connect_time is not None
    state = node_pb2.Node.STATE_CONNECTED if connected else node_pb2.Node.STATE_DISCONNECTED
    return node_pb2.Node(
        id=node.id,
        state=node_pb2.Node.STATE_FENCED if node.fenced else state,
        connect_time=None if connect_time is None else time_to_proto(connect_time),
        last_contact_time=(
            None if node.last_contact_time is None else time_to_proto(node.last_contact_time)
        ),
        agent_version=node.agent_version,
        attached_boxes=node.attached_boxes,
        applied_revision=node.applied_revision,
        lag=max(0, head - node.applied_revision),
        rejections=rejections,
        fence_reason=node.fence_reason,
    )


def time_to_proto(time: Timestamp) -> TimestampMessage:
    """Return microseconds since 1970 as the well-known type."""
    return TimestampMessage(seconds=time // 1_000_000, nanos=time % 1_000_000 * 1000)


def _set_time(message: TimestampMessage, time: Timestamp) -> None:
    """Set a field in place: a message of its own would be made, and copied."""
    message.seconds, message.nanos = time // 1_000_000, time % 1_000_000 * 1000
