"""From what callers give to messages of the control plane."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from boxwall.policy import Mode
from boxwall.sdk.network_policy import PolicyLike, network_policy
from boxwall.sdk.values import BoxFilter
from boxwall.v1 import box_service_pb2, policy_pb2
from boxwall.wire.policies import mode_to_proto, policy_to_proto

Seconds: TypeAlias = float | timedelta
"""A length of time: seconds, or a timedelta."""

LabelFilter: TypeAlias = tuple[str, str] | Mapping[str, str]
"""One label as (key, value), or several as a mapping: the box must have them all."""

ModeLike: TypeAlias = Mode | Literal["allow-all", "deny-all", "custom"]


def seconds(length: Seconds) -> float:
    """Return a length of time in seconds."""
    return length.total_seconds() if isinstance(length, timedelta) else float(length)


def duration_to_proto(length: Seconds) -> Duration:
    """Return a length of time as a message. Raises ValueError for one that is out of range."""
    message = Duration()
    try:
        message.FromNanoseconds(round(seconds(length) * 1e9))
    except OverflowError as exc:
        raise ValueError("a length of time must be finite") from exc
    return message


def time_to_proto(time: datetime) -> Timestamp:
    """Return an instant as a message. Raises ValueError for a time without a zone."""
    if time.tzinfo is None:
        raise ValueError("a time needs a zone, such as datetime.UTC")
    message = Timestamp()
    message.FromDatetime(time)
    return message


def policy_message(given: PolicyLike) -> policy_pb2.NetworkPolicy:
    """Return a policy as a message, with `unlisted` always said. Raises InvalidPolicy."""
    return policy_to_proto(network_policy(given).value)


def labels_of(label: LabelFilter | None) -> dict[str, str]:
    """Return what is accepted as a filter by labels as a dict."""
    match label:
        case None:
            return {}
        case tuple():
            key, value = label
            return {key: value}
        case _:
            return dict(label)


def box_filter(
    label: LabelFilter | None, node: str, name_prefix: str, mode: ModeLike | None
) -> BoxFilter:
    """Return the filter that these arguments mean. Raises ValueError for a mode that is none."""
    return BoxFilter(
        labels=labels_of(label),
        node_id=node,
        name_prefix=name_prefix,
        mode=None if mode is None else Mode(mode),
    )


def box_filter_to_proto(where: BoxFilter) -> box_service_pb2.BoxFilter:
    """Return a filter as a message."""
    return box_service_pb2.BoxFilter(
        labels=dict(where.labels),
        node_id=where.node_id,
        name_prefix=where.name_prefix,
        mode=mode_to_proto(where.mode),
    )
