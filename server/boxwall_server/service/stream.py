"""One open stream, as the server sees it: a wake-up, a way to write, and a way to end it.

Only the stream's own handler task writes (two writes at a time on one call lose messages). Others
change what it has to say and wake it, or end it with a reason; `Streams.tick` ends those whose peer
does not take what is written.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

import grpc

from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.clock import Clock
from boxwall_server.service.call import Call

BOOKMARK_AFTER: Final = 8.0
"""Seconds of silence after which a stream says that nothing is new; 10 s are promised."""

WRITE_TIMEOUT: Final = 20.0
"""Seconds that a peer may take for one frame."""


class Stream:
    """A stream in progress. Used as an async context by the handler task that owns it.

    `end(reason)` makes the `async with` raise that reason, wherever the handler is waiting.
    """

    def __init__(self, call: Call, clock: Clock) -> None:
        self.call = call
        self._clock = clock
        self._wakeup = asyncio.Event()
        self._owner: asyncio.Task[object] | None = None
        self._reason: ApiError | None = None
        self._writing_since: float | None = None
        self.last_sent = float("-inf")
        """When something was last sent; never yet, so a client hears at once that it is served."""
        self.go_away_after: float | None = None
        """Seconds, once the server is about to stop."""

    async def __aenter__(self) -> Self:
        self._owner = asyncio.current_task()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        owner, self._owner = self._owner, None
        if self._reason is not None and isinstance(exc, asyncio.CancelledError) and owner:
            owner.uncancel()
            raise self._reason from None

    @property
    def ended_by(self) -> ApiError | None:
        """What the server ended the stream with. None: it did not."""
        return self._reason

    def wake(self) -> None:
        """There may be something to send: let the handler look."""
        self._wakeup.set()

    def end(self, reason: ApiError) -> None:
        """End the stream with an error. The first reason stands."""
        if self._owner is not None and self._reason is None:
            self._reason = reason
            self._owner.cancel()

    async def woken(self) -> None:
        """Wait until there may be something to send. Level-triggered: a wake is never lost."""
        await self._wakeup.wait()
        self._wakeup.clear()

    async def send(self, frame: bytes) -> None:
        """Write one frame; returns when flow control has taken it."""
        self._writing_since = self._clock.steady()
        try:
            await self.call.context.write(frame)
        except grpc.aio.InternalError as exc:
            # What a write that is blocked raises when the client leaves, instead of cancelling us.
            raise asyncio.CancelledError from exc
        self._writing_since = None
        self.last_sent = self._clock.steady()

    def bookmark_due(self, now: float) -> bool:
        """Return whether the peer must hear something."""
        return now - self.last_sent >= BOOKMARK_AFTER

    def check(self, now: float) -> None:
        """Do what time demands: called about once a second."""
        if self._writing_since is not None and now - self._writing_since > WRITE_TIMEOUT:
            self.end(
                ApiError(
                    ErrorReason.STREAM_TOO_SLOW,
                    f"a message was not taken within {WRITE_TIMEOUT:.0f} s; "
                    "connect again and continue from the last cursor",
                )
            )
        elif self.bookmark_due(now):
            self.wake()
