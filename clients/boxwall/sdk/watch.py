"""Streams that go on for ever: connect, hand on, connect again where it stopped.

When to connect and where to continue is decided in `resume`, what is news in `held`.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from boxwall.sdk.connection import Connection
from boxwall.sdk.decode import box_from_proto, refusal_from_proto
from boxwall.sdk.encode import box_filter_to_proto
from boxwall.sdk.errors import (
    BoxwallError,
    InternalError,
    InvalidRequest,
    Unavailable,
    UnexpectedAnswer,
)
from boxwall.sdk.held import Changed, Gone, Held, HeldChange
from boxwall.sdk.resume import Phase, Resuming
from boxwall.sdk.values import BoxFilter, BoxState, Refusal
from boxwall.v1 import box_service_pb2 as pb
from boxwall.wire.durations import seconds_of
from boxwall.wire.errors import ErrorReason

_log = logging.getLogger(__name__)
ItemT_co = TypeVar("ItemT_co", covariant=True)
ItemT = TypeVar("ItemT")


class Source(Protocol[ItemT_co]):
    """What one kind of stream asks for and how it is read."""

    def method(self, connection: Connection) -> Callable[..., Any]:
        """Return the call."""

    def request(self, cursor: str) -> object:
        """Return the request that continues after `cursor`. A new connection begins."""

    def items(self, message: Any) -> Sequence[ItemT_co]:
        """Return what a message has for the caller."""

    def cursor(self, message: Any) -> str:
        """Return where a stream that has handed on this message continues. Empty: as before."""

    def go_away(self, message: Any) -> float | None:
        """Return the delay if the message sends the client away."""


async def follow(connection: Connection, source: Source[ItemT]) -> AsyncGenerator[ItemT, None]:
    """Yield the items of a stream for ever. Raises BoxwallError only for what will not pass.

    A cursor is kept when everything up to it has been handed on: an item may come again after a
    reconnect, and none is left out.
    """
    clock = asyncio.get_running_loop().time
    stream = Resuming(now=clock(), random=random.random)
    while True:
        await asyncio.sleep(max(0.0, stream.retry_at - clock()))
        request = source.request(stream.connect(clock()))
        try:
            async with aclosing(
                connection.stream(
                    source.method(connection), request, dead_at=lambda: stream.dead_at
                )
            ) as messages:
                async for message in messages:
                    stream.heard(clock())
                    for item in source.items(message):
                        yield item
                    # Time that the caller took is not the server's silence.
                    stream.heard(clock())
                    stream.applied(source.cursor(message))
                    delay = source.go_away(message)
                    if delay is not None:
                        stream.go_away(clock(), delay)
                        break
            if stream.phase is Phase.OPEN:
                stream.lost(clock())
        except BoxwallError as exc:
            _survive(exc, stream, clock())


def _survive(exc: BoxwallError, stream: Resuming, now: float) -> None:
    """Prepare to connect again after an error, or raise it."""
    if stream.cursor and _is_about_the_cursor(exc):
        stream.forget_cursor()
    elif not isinstance(exc, Unavailable | InternalError):
        raise exc
    stream.lost(now, getattr(exc, "retry_after", None))
    _log.info("stream_interrupted", extra={"error": str(exc), "retry_in": stream.retry_at - now})


def _is_about_the_cursor(exc: BoxwallError) -> bool:
    return isinstance(exc, InvalidRequest) and (
        exc.reason == ErrorReason.INVALID_CURSOR
        or any(violation.field == "cursor" for violation in exc.violations)
    )


class BoxSource:
    """WatchBoxes: changes of boxes, with resets turned into changes."""

    def __init__(self, where: BoxFilter) -> None:
        self._filter = box_filter_to_proto(where)
        self._held = Held()

    def method(self, connection: Connection) -> Callable[..., Any]:
        """Return the call."""
        method: Callable[..., Any] = connection.boxes.WatchBoxes
        return method

    def request(self, cursor: str) -> pb.WatchBoxesRequest:
        """Return the request that continues after `cursor`."""
        self._held.connected()
        return pb.WatchBoxesRequest(filter=self._filter, cursor=cursor)

    def items(self, message: pb.WatchBoxesResponse) -> list[HeldChange]:
        """Return what changed."""
        match message.WhichOneof("event"):
            case "reset":
                boxes = [box_from_proto(box) for box in message.reset.boxes]
                return self._held.page(boxes, last=message.reset.last)
            case "changes":
                return self._held.changed(map(_change_from_proto, message.changes.changes))
            case "bookmark" | "go_away":
                return []
            case _:
                raise UnexpectedAnswer(
                    "the server streams something this client does not know; update the client"
                )

    def cursor(self, message: pb.WatchBoxesResponse) -> str:
        """Return where to continue."""
        return message.cursor

    def go_away(self, message: pb.WatchBoxesResponse) -> float | None:
        """Return the delay if the server is about to stop."""
        if message.WhichOneof("event") != "go_away":
            return None
        return seconds_of(message.go_away.reconnect_after)


class RefusalSource:
    """WatchRefusals: there are no cursors, so what happens between two connections is missed."""

    def __init__(self, box_id: str, labels: dict[str, str], recent: int) -> None:
        self._box_id = box_id
        self._labels = labels
        self._recent = recent
        self._dropped = 0

    def method(self, connection: Connection) -> Callable[..., Any]:
        """Return the call."""
        method: Callable[..., Any] = connection.boxes.WatchRefusals
        return method

    def request(self, cursor: str) -> pb.WatchRefusalsRequest:
        """Return the request; only the first asks for what is remembered: not twice."""
        recent, self._recent = self._recent, 0
        return pb.WatchRefusalsRequest(box_id=self._box_id, labels=self._labels, recent=recent)

    def items(self, message: pb.WatchRefusalsResponse) -> list[Refusal]:
        """Return the refusals; the first says how many were dropped before it."""
        self._dropped += message.dropped
        refusals = []
        for refusal in message.refusals:
            refusals.append(refusal_from_proto(refusal, self._dropped))
            self._dropped = 0
        return refusals

    def cursor(self, message: pb.WatchRefusalsResponse) -> str:
        """Return nothing: there are no cursors."""
        return ""

    def go_away(self, message: pb.WatchRefusalsResponse) -> None:
        """Return nothing: the stream just ends."""
        return


def _change_from_proto(message: pb.BoxChange) -> HeldChange:
    match message.WhichOneof("state"):
        case "box":
            box: BoxState = box_from_proto(message.box)
            return Changed(box)
        case "gone":
            return Gone(message.box_id)
        case _:
            raise UnexpectedAnswer(
                f"something became of box {message.box_id} that this client does not know; "
                "update the client"
            )
