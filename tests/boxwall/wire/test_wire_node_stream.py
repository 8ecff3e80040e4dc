"""What a control plane tells a node, read: whatever it is, it is a value."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from boxwall.v1 import enforcement_service_pb2, policy_pb2, stream_pb2
from boxwall.wire.entries import GoAway
from boxwall.wire.node_stream import incoming_from_proto

Response = enforcement_service_pb2.StreamPoliciesResponse
MANY = policy_pb2.CustomPolicy(
    allowed_domains=["a.example", "*.b.example"],
    allowed_cidrs=["1.0.0.0/8"],
    denied_cidrs=["::/0"],
)
ENTRY = stream_pb2.PolicyEntry(
    box_id="b1",
    uid="u1",
    policy_revision=4,
    network_policy=policy_pb2.NetworkPolicy(custom=MANY),
)
MESSAGES = [
    Response(cursor="c", changes=stream_pb2.Changes(entries=[ENTRY])),
    Response(cursor="c", reset=stream_pb2.Reset(boxes=[ENTRY], last=True)),
    Response(cursor="c", go_away=stream_pb2.GoAway(reconnect_after=Duration(seconds=3, nanos=5))),
    Response(cursor="c", bookmark=stream_pb2.Bookmark()),
]


@pytest.mark.parametrize("seconds", [-(1 << 63), -1, 0, 10**12, (1 << 63) - 1])
def test_a_time_to_come_back_is_a_number_whatever_it_is(seconds: int) -> None:
    """An agent must not end for it."""
    told = Response(go_away=stream_pb2.GoAway(reconnect_after=Duration(seconds=seconds)))
    assert incoming_from_proto(told) == GoAway(cursor="", reconnect_after=float(seconds))


@given(
    message=st.sampled_from(MESSAGES),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=5),
)
def test_a_message_with_any_octets_changed_is_read_or_is_no_message(
    message: Response, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(message.SerializeToString())
    for at, octet in changes:
        data[at % len(data)] = octet
    try:
        changed = Response.FromString(bytes(data))
    except DecodeError:  # what protobuf does not take never comes to us
        return
    assert incoming_from_proto(changed) is not None
