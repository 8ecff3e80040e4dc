"""Messages of streams as ready bytes, so that a change is encoded once, not once per watcher.

Concatenated protobuf fields are valid protobuf: a frame is the cursor field, and a message field
whose body is put together from entries that were encoded before. The tests parse every frame made
here with the generated classes.
"""

from collections.abc import Iterable
from typing import Final

from google.protobuf.duration_pb2 import Duration

from boxwall.v1 import box_pb2, box_service_pb2, enforcement_service_pb2, policy_pb2, stream_pb2

MAX_FRAME_BYTES: Final = 1_000_000
"""A frame stays below 1 MiB with its header: gRPC refuses messages of more than 4 MiB by default.
"""

_LENGTH_DELIMITED: Final = 2
_REPEATED_TAG: Final = bytes([1 << 3 | _LENGTH_DELIMITED])
"""Field 1 of Reset, Changes, BoxReset and BoxChanges: what they carry."""


def _field_numbers(message: type, names: Iterable[str]) -> dict[str, bytes]:
    fields = message.DESCRIPTOR.fields_by_name  # type: ignore[attr-defined]  # on generated classes
    return {name: bytes([fields[name].number << 3 | _LENGTH_DELIMITED]) for name in names}


# Of StreamPoliciesResponse and of WatchBoxesResponse alike; a test compares the two.
_TAG: Final = _field_numbers(
    enforcement_service_pb2.StreamPoliciesResponse, ("cursor", "reset", "changes", "bookmark")
)
_LAST: Final = stream_pb2.Reset(last=True).SerializeToString()


def entry_to_bytes(
    box_id: str,
    uid: str,
    revision: int,
    *,
    policy: bytes | None = None,
    refused: str | None = None,
) -> bytes:
    """Return a PolicyEntry as an element of Reset and Changes. No choice given: a tombstone."""
    entry = stream_pb2.PolicyEntry(box_id=box_id, uid=uid, policy_revision=revision)
    if refused is not None:
        entry.refused.message = refused
    elif policy is not None:
        entry.network_policy.MergeFromString(policy)
    else:
        entry.tombstone.SetInParent()
    return element(entry.SerializeToString())


def box_to_element(box: box_pb2.Box) -> bytes:
    """Return a box as an element of BoxReset."""
    return element(box.SerializeToString())


def box_change_to_element(box_id: str, box: box_pb2.Box | None) -> bytes:
    """Return what became of a box as an element of BoxChanges. None: it is gone."""
    change = box_service_pb2.BoxChange(box_id=box_id)
    if box is None:
        change.gone.SetInParent()
    else:
        change.box.CopyFrom(box)
    return element(change.SerializeToString())


def element(body: bytes) -> bytes:
    """Return a message as one element of the repeated field that pages and changes carry."""
    return _REPEATED_TAG + _varint(len(body)) + body


def reset_frame(cursor: str, elements: Iterable[bytes], *, last: bool) -> bytes:
    """Return a Reset page."""
    return _frame(cursor, "reset", b"".join(elements) + (_LAST if last else b""))


def changes_frame(cursor: str, elements: Iterable[bytes]) -> bytes:
    """Return a Changes message."""
    return _frame(cursor, "changes", b"".join(elements))


def bookmark_frame(cursor: str) -> bytes:
    """Return a Bookmark."""
    return _frame(cursor, "bookmark", b"")


def go_away_frame(cursor: str, reconnect_after: float) -> bytes:
    """Return a GoAway; the delay is in seconds."""
    delay = Duration()
    delay.FromMilliseconds(round(reconnect_after * 1000))
    return enforcement_service_pb2.StreamPoliciesResponse(
        cursor=cursor, go_away=stream_pb2.GoAway(reconnect_after=delay)
    ).SerializeToString()


def fenced_frame(cursor: str) -> bytes:
    """Return a Fenced."""
    return enforcement_service_pb2.StreamPoliciesResponse(
        cursor=cursor, fenced=stream_pb2.Fenced()
    ).SerializeToString()


def policy_of_bytes(policy: bytes) -> policy_pb2.NetworkPolicy:
    """Return the message of a stored policy."""
    return policy_pb2.NetworkPolicy.FromString(policy)


def _frame(cursor: str, field: str, body: bytes) -> bytes:
    token = cursor.encode("ascii")
    return b"".join(
        (_TAG["cursor"], _varint(len(token)), token, _TAG[field], _varint(len(body)), body)
    )


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
