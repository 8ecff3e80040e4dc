"""From messages of the control plane to values.

A server may be newer than this client. What it adds to a closed set is shown as UNKNOWN where that
is harmless; a policy or a verdict that is not fully understood raises UnexpectedAnswer instead,
because whoever reads it would take it for less than it says.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from types import MappingProxyType

from google.protobuf.timestamp_pb2 import Timestamp

from boxwall.policy import Destination, Limits, PolicyWarning, Verdict
from boxwall.policy import errors as policy_errors
from boxwall.sdk.errors import UnexpectedAnswer
from boxwall.sdk.network_policy import NetworkPolicy
from boxwall.sdk.values import (
    BoxState,
    Enforcement,
    EnforcementState,
    Node,
    NodeEnforcement,
    NodeState,
    PolicyRevision,
    Refusal,
    SnapshotState,
)
from boxwall.v1 import box_pb2, node_pb2, policy_pb2
from boxwall.wire.policies import (
    policy_from_proto,
    reason_from_proto,
    rule_from_proto,
    warning_from_proto,
)

_UNLIMITED = Limits(entries_per_list=10_000_000)


def policy_from_answer(message: policy_pb2.NetworkPolicy) -> NetworkPolicy:
    """Return a stored policy. Raises UnexpectedAnswer unless all of it is understood."""
    try:
        return NetworkPolicy(policy_from_proto(message, _UNLIMITED).policy)
    except policy_errors.InvalidPolicy as exc:
        raise UnexpectedAnswer(
            f"the server sent a policy that this client does not understand ({exc}); "
            "update the client"
        ) from exc


def box_from_proto(message: box_pb2.Box) -> BoxState:
    """Return a box. Raises UnexpectedAnswer."""
    return BoxState(
        id=message.id,
        uid=message.uid,
        name=message.name,
        node_id=message.node_id,
        labels=MappingProxyType(dict(sorted(message.labels.items()))),
        runtime=message.runtime,
        network_policy=policy_from_answer(message.network_policy),
        policy_revision=message.policy_revision,
        enforcement=enforcement_from_proto(message.enforcement),
        expire_time=time_from_proto(message.expire_time)
        if message.HasField("expire_time")
        else None,
        source_snapshot=message.source_snapshot,
        create_time=time_from_proto(message.create_time)
        if message.HasField("create_time")
        else None,
        update_time=time_from_proto(message.update_time)
        if message.HasField("update_time")
        else None,
        etag=message.etag,
        warnings=warnings_from_proto(message.warnings),
    )


def enforcement_from_proto(message: box_pb2.Enforcement) -> Enforcement:
    """Return how far a policy has come."""
    return Enforcement(
        state=_enforcement_state(message.state),
        applied_revision=message.applied_revision,
        nodes=tuple(map(_node_enforcement, message.nodes)),
    )


def warnings_from_proto(messages: Iterable[policy_pb2.PolicyWarning]) -> tuple[PolicyWarning, ...]:
    """Return the warnings; those of newer versions are left out."""
    warnings = map(warning_from_proto, messages)
    return tuple(warning for warning in warnings if warning is not None)


def verdict_from_proto(message: policy_pb2.Verdict, asked: Destination) -> Verdict:
    """Return the judgement on `asked`. Raises UnexpectedAnswer if its reason is not known."""
    reason = reason_from_proto(message.reason)
    if reason is None:
        raise UnexpectedAnswer(
            f"the server judged {asked} for a reason that this client does not know; "
            "update the client"
        )
    return Verdict(
        allowed=message.allowed,
        reason=reason,
        rule=rule_from_proto(message.rule) if message.HasField("rule") else None,
        policy_revision=message.policy_revision,
        address_known=asked.address is not None,
    )


def snapshot_from_proto(message: box_pb2.Snapshot) -> SnapshotState:
    """Return a snapshot. Raises UnexpectedAnswer."""
    return SnapshotState(
        id=message.id,
        box_id=message.box_id,
        network_policy=policy_from_answer(message.network_policy),
        create_time=time_from_proto(message.create_time)
        if message.HasField("create_time")
        else None,
    )


def policy_revision_from_proto(message: box_pb2.PolicyRevision) -> PolicyRevision:
    """Return one policy of a box's past. Raises UnexpectedAnswer."""
    return PolicyRevision(
        revision=message.revision,
        network_policy=policy_from_answer(message.network_policy),
        create_time=time_from_proto(message.create_time)
        if message.HasField("create_time")
        else None,
        author=message.author,
        request_id=message.request_id,
    )


def refusal_from_proto(message: policy_pb2.Refusal, dropped_before: int = 0) -> Refusal:
    """Return what a node refused. Its texts are the node's, and may come from inside the box."""
    destination = message.destination
    return Refusal(
        box_id=message.box,
        domain=destination.domain,
        address=destination.address,
        port=destination.port,
        protocol=_protocol(destination.protocol),
        reason=reason_from_proto(message.reason),
        rule=rule_from_proto(message.rule) if message.HasField("rule") else None,
        policy_revision=message.policy_revision,
        first_time=time_from_proto(message.first_time) if message.HasField("first_time") else None,
        last_time=time_from_proto(message.last_time) if message.HasField("last_time") else None,
        count=message.count,
        dropped_before=dropped_before,
    )


def node_from_proto(message: node_pb2.Node) -> Node:
    """Return a node."""
    return Node(
        id=message.id,
        state=_node_state(message.state),
        connect_time=time_from_proto(message.connect_time)
        if message.HasField("connect_time")
        else None,
        last_contact_time=(
            time_from_proto(message.last_contact_time)
            if message.HasField("last_contact_time")
            else None
        ),
        agent_version=message.agent_version,
        attached_boxes=message.attached_boxes,
        applied_revision=message.applied_revision,
        lag=message.lag,
        rejections=message.rejections,
        fence_reason=message.fence_reason,
    )


def _node_enforcement(message: box_pb2.NodeEnforcement) -> NodeEnforcement:
    return NodeEnforcement(
        node_id=message.node_id,
        state=_enforcement_state(message.state),
        applied_revision=message.applied_revision,
        apply_time=time_from_proto(message.apply_time) if message.HasField("apply_time") else None,
        message=message.message,
        connections_kept=message.connections_kept,
        connections_cut=message.connections_cut,
    )


def _enforcement_state(number: int) -> EnforcementState:
    if number not in box_pb2.Enforcement.State.values():
        return EnforcementState.UNKNOWN
    name = box_pb2.Enforcement.State.Name(number).removeprefix("STATE_")
    return EnforcementState.__members__.get(name, EnforcementState.UNKNOWN)


def _node_state(number: int) -> NodeState:
    if number not in node_pb2.Node.State.values():
        return NodeState.UNKNOWN
    name = node_pb2.Node.State.Name(number).removeprefix("STATE_")
    return NodeState.__members__.get(name, NodeState.UNKNOWN)


def _protocol(number: int) -> str:
    if not number or number not in policy_pb2.Protocol.values():
        return ""
    return policy_pb2.Protocol.Name(number).removeprefix("PROTOCOL_").lower()


def time_from_proto(message: Timestamp) -> datetime:
    """Return an instant. Raises UnexpectedAnswer."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except ValueError as exc:
        raise UnexpectedAnswer("the server sent a time that is none") from exc
