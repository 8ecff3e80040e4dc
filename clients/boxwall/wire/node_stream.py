"""The stream between a node and its control plane: protobuf to values and back, the node's side."""

from collections.abc import Iterable

from boxwall.policy import InvalidPolicy, Limits
from boxwall.v1 import enforcement_service_pb2, policy_pb2, stream_pb2
from boxwall.wire.durations import seconds_of
from boxwall.wire.entries import (
    Bookmark,
    Changes,
    Entry,
    Fenced,
    GoAway,
    Held,
    Incoming,
    NotUnderstood,
    NotYours,
    PolicySet,
    Refused,
    Removed,
    Reset,
    Result,
    Unreadable,
)
from boxwall.wire.policies import destination_to_proto, policy_from_proto, rule_to_proto

Request = enforcement_service_pb2.StreamPoliciesRequest
Response = enforcement_service_pb2.StreamPoliciesResponse

_ANY_SIZE = Limits(entries_per_list=1 << 30)
"""How large a policy may be is the server's affair."""


def subscribe_request(
    node_id: str, agent_version: str, boxes: Iterable[Held], cursor: str
) -> Request:
    """Return the first message of a stream."""
    hosted = [
        stream_pb2.HostedBox(box_id=box.box_id, uid=box.uid, policy_revision=box.revision)
        for box in boxes
    ]
    return Request(
        subscribe=stream_pb2.Subscribe(
            node_id=node_id, agent_version=agent_version, boxes=hosted, cursor=cursor
        )
    )


def attach_request(box_ids: Iterable[str]) -> Request:
    """Return the message that more boxes are hosted."""
    return Request(attach=stream_pb2.Attach(box_ids=box_ids))


def detach_request(box_ids: Iterable[str]) -> Request:
    """Return the message that fewer boxes are hosted."""
    return Request(detach=stream_pb2.Detach(box_ids=box_ids))


def ack_request(cursor: str, results: Iterable[Result]) -> Request:
    """Return an acknowledgement."""
    return Request(
        ack=stream_pb2.Ack(
            cursor=cursor,
            results=[
                stream_pb2.AckResult(
                    box_id=result.box_id,
                    policy_revision=result.revision,
                    failure=result.failure,
                    note=result.note,
                    connections_kept=result.connections_kept,
                    connections_cut=result.connections_cut,
                )
                for result in results
            ],
        )
    )


def refusals_request(refused: Iterable[Refused], dropped: int) -> Request:
    """Return a report of refused connections; `dropped`: how many more there were."""
    return Request(refusals=stream_pb2.Refusals(refusals=map(_refusal, refused), dropped=dropped))


def incoming_from_proto(message: Response) -> Incoming:
    """Return what a control plane says."""
    match message.WhichOneof("message"):
        case "reset":
            entries = [_entry(entry) for entry in message.reset.boxes]
            return Reset(cursor=message.cursor, entries=entries, last=message.reset.last)
        case "changes":
            entries = [_entry(entry) for entry in message.changes.entries]
            return Changes(cursor=message.cursor, entries=entries)
        case "bookmark":
            return Bookmark(cursor=message.cursor)
        case "go_away":
            after = seconds_of(message.go_away.reconnect_after)
            return GoAway(cursor=message.cursor, reconnect_after=after)
        case "fenced":
            return Fenced(cursor=message.cursor)
        case _:
            return NotUnderstood(cursor=message.cursor)


def _entry(entry: stream_pb2.PolicyEntry) -> Entry:
    match entry.WhichOneof("state"):
        case "network_policy":
            try:
                policy = policy_from_proto(entry.network_policy, _ANY_SIZE).policy
            except InvalidPolicy as exc:
                return _unreadable(entry, f"the policy cannot be understood: {exc}")
            return PolicySet(
                box_id=entry.box_id,
                uid=entry.uid,
                revision=entry.policy_revision,
                policy=policy,
            )
        case "tombstone":
            return Removed(box_id=entry.box_id, revision=entry.policy_revision)
        case "refused":
            return NotYours(box_id=entry.box_id, message=entry.refused.message)
        case _:
            return _unreadable(entry, "the server is newer than this agent; update the agent")


def _unreadable(entry: stream_pb2.PolicyEntry, message: str) -> Unreadable:
    return Unreadable(
        box_id=entry.box_id, uid=entry.uid, revision=entry.policy_revision, message=message
    )


def _refusal(refused: Refused) -> policy_pb2.Refusal:
    message = policy_pb2.Refusal(
        box=refused.box_id,
        destination=destination_to_proto(refused.destination),
        reason=f"REASON_{refused.reason.name}",
        rule=None if refused.rule is None else rule_to_proto(refused.rule),
        policy_revision=refused.revision,
        count=refused.count,
    )
    message.first_time.FromMilliseconds(round(refused.first_time * 1000))
    message.last_time.FromMilliseconds(round(refused.last_time * 1000))
    return message
