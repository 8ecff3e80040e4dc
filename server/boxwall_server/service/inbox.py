"""What a node says on its stream, read and checked."""

from collections.abc import AsyncIterator, Iterable
from typing import Final

from boxwall.v1 import enforcement_service_pb2, stream_pb2
from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.changes.change import Entry
from boxwall_server.changes.revision import BadCursor, Cursor, cursor_from_token
from boxwall_server.service.decode import Problems

MAX_AT_ONCE: Final = 10_000
"""Boxes in one Subscribe, Attach or Detach."""


class Inbox:
    """What a client says, one message at a time."""

    def __init__(
        self, requests: AsyncIterator[enforcement_service_pb2.StreamPoliciesRequest]
    ) -> None:
        self._requests = requests

    def __aiter__(self) -> AsyncIterator[enforcement_service_pb2.StreamPoliciesRequest]:
        return self._requests

    async def subscribe(self) -> stream_pb2.Subscribe:
        """Return the first message, or raise ApiError if it is anything but a Subscribe."""
        async for request in self._requests:
            if request.WhichOneof("message") != "subscribe":
                raise misused("the first message must be subscribe")
            return request.subscribe
        raise misused("the stream was closed before it said subscribe")


def start_of(token: str, tenant: str, problems: Problems, field: str) -> Cursor | None:
    """Return where a client wants to continue. None: nowhere, or a problem was noted."""
    if not token:
        return None
    try:
        return cursor_from_token(token, tenant)
    except BadCursor as exc:
        problems.add(field, str(exc))
        return None


def holds(claim: stream_pb2.HostedBox, entry: Entry) -> bool:
    """Return whether what a node says it holds is this entry."""
    return (claim.uid, claim.policy_revision) == (entry.uid, entry.revision) and entry.revision > 0


def box_ids_of(box_ids: Iterable[str], field: str) -> tuple[str, ...]:
    """Return the boxes of an Attach or Detach, each once. Raises ApiError."""
    ids = tuple(box_ids)
    problems = Problems()
    if len(ids) > MAX_AT_ONCE:
        problems.add(f"{field}.box_ids", f"more than {MAX_AT_ONCE} at once")
    for index, box_id in enumerate(ids):
        problems.required_id(box_id, f"{field}.box_ids[{index}]")
    problems.raise_if_any()
    return tuple(dict.fromkeys(ids))


def misused(text: str) -> ApiError:
    """Return the refusal of a message that does not fit the stream."""
    return ApiError(ErrorReason.STREAM_MISUSED, text)
