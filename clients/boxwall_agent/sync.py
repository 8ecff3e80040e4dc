"""Keeps the node's stream to its control plane: connects, continues, acknowledges, connects again.

When to connect and where to continue is decided in `boxwall.sdk.resume`; what a message means, in
`agent`. What is in force stays in force while nobody answers.
"""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Final

import structlog

from boxwall.sdk.connection import Connection
from boxwall.sdk.errors import BoxwallError, InvalidRequest
from boxwall.sdk.resume import Phase, Resuming
from boxwall.wire.entries import GoAway, Result
from boxwall.wire.errors import ErrorReason
from boxwall.wire.node_stream import (
    Request,
    ack_request,
    attach_request,
    detach_request,
    incoming_from_proto,
    subscribe_request,
)
from boxwall_agent.agent import FENCED, Agent

_LONGEST_CHECK: Final = 60.0
"""Seconds until the time of contact is remembered anew, if not sooner."""

_STALENESS_CHECKS: Final = 4
"""So often in `max_stale` it is looked whether it is over."""

_log = structlog.get_logger()


def since_boot() -> float:
    """Seconds since the machine was started, those of its sleep too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


MOST_WAITING: Final = 1_000
"""Requests that wait for a control plane that does not read; then its stream is given up."""

ROOM_FOR_REPORTS: Final = 900
"""With so many waiting, nothing more is told that can be left out, or wait elsewhere."""


class Outbox:
    """What is to be sent on one stream, in order. One reader: gRPC."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Request] = asyncio.Queue()
        self._is_overfull = False

    @property
    def is_overfull(self) -> bool:
        """Whether something was left out that the control plane must hear: begin a new stream."""
        return self._is_overfull

    @property
    def has_room(self) -> bool:
        """Whether something can be sent that could be left out."""
        return self._queue.qsize() < ROOM_FOR_REPORTS

    def put(self, request: Request) -> None:
        """Send when the peer reads; one who does not makes this overfull."""
        if self._queue.qsize() >= MOST_WAITING:
            self._is_overfull = True
        else:
            self._queue.put_nowait(request)

    async def __aiter__(self) -> AsyncIterator[Request]:
        """Yield what to send, for as long as the stream lasts."""
        while True:
            yield await self._queue.get()


class Sync:
    """One node's place at its control plane."""

    def __init__(
        self,
        connection: Connection,
        agent: Agent,
        *,
        node_id: str,
        agent_version: str,
        cursor: str,
        max_stale: float | None,
        last_contact: float | None = None,
        clock: Callable[[], float] = since_boot,
    ) -> None:
        """`max_stale`: seconds out of contact after which everything is denied; None: never.

        `last_contact`: of the agent before, by `clock`; None: there was none since the last boot.
        """
        self._connection = connection
        self._agent = agent
        self._node_id = node_id
        self._agent_version = agent_version
        self._cursor = cursor
        self._max_stale = max_stale
        self._outbox: Outbox | None = None
        self._in_contact = False
        self._acknowledged = ""
        self._clock = clock
        self._last_contact = clock() if last_contact is None else min(last_contact, clock())
        self._must_start_over = False
        agent.on_hosting = self._hosting
        agent.on_failed = self.report

    @property
    def in_contact(self) -> bool:
        """Whether a stream is open and has said something."""
        return self._in_contact

    async def run(self) -> None:
        """Connect again and again, until cancelled."""
        clock = asyncio.get_running_loop().time
        stream = Resuming(now=clock(), random=random.random, cursor=self._cursor)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_staleness())
            while True:
                await asyncio.sleep(max(0.0, stream.retry_at - clock()))
                try:
                    await self._converse(stream)
                    if stream.phase is Phase.OPEN:
                        stream.lost(clock())
                except BoxwallError as exc:
                    self._survive(exc, stream, clock())
                finally:
                    self._outbox = None
                    self._in_contact = False

    def report(self, results: Iterable[Result]) -> None:
        """Say more of what was acknowledged on this stream. Lost if there is none, or no room."""
        if self._outbox is not None and self._acknowledged and self._outbox.has_room:
            self._outbox.put(ack_request(self._acknowledged, results))

    def send(self, request: Request) -> bool:
        """Send what needs no answer. False: there is no stream, or no room."""
        if self._outbox is None or not self._outbox.has_room:
            return False
        self._outbox.put(request)
        return True

    async def _converse(self, stream: Resuming) -> None:
        """Hold one stream until it ends. Raises BoxwallError."""
        clock = asyncio.get_running_loop().time
        if self._must_start_over:
            stream.forget_cursor()
            self._must_start_over = False
        cursor = stream.connect(clock())
        self._agent.stream_begins()
        self._acknowledged = ""
        outbox = Outbox()
        outbox.put(
            subscribe_request(self._node_id, self._agent_version, self._agent.held(), cursor)
        )
        self._outbox = outbox
        messages = self._connection.stream(
            self._connection.enforcement.StreamPolicies,
            aiter(outbox),
            dead_at=lambda: stream.dead_at,
        )
        async with aclosing(messages):
            async for message in messages:
                now = clock()
                stream.heard(now)
                self._heard()
                if self._must_start_over or outbox.is_overfull:
                    return
                incoming = incoming_from_proto(message)
                answer = self._agent.receive(incoming)
                if answer is not None:
                    outbox.put(ack_request(*answer))
                    stream.applied(answer[0])
                    self._acknowledged = answer[0]
                if isinstance(incoming, GoAway):
                    stream.go_away(now, incoming.reconnect_after)
                    return

    def _heard(self) -> None:
        if not self._in_contact:
            _log.info("in_contact", node=self._node_id)
        self._in_contact = True
        self._last_contact = self._clock()

    def _survive(self, exc: BoxwallError, stream: Resuming, now: float) -> None:
        """Prepare to connect again. What is in force stays, unless the node is shut out."""
        if exc.reason == ErrorReason.NODE_FENCED:
            self._agent.close_all(FENCED)
            stream.forget_cursor()
        elif isinstance(exc, InvalidRequest) and stream.cursor:
            stream.forget_cursor()
        stream.lost(now, getattr(exc, "retry_after", None))
        _log.warning("out_of_contact", error=str(exc), retry_in=round(stream.retry_at - now, 3))

    def _hosting(self, box_id: str, is_hosted: bool) -> None:
        if self._outbox is not None:
            make = attach_request if is_hosted else detach_request
            self._outbox.put(make([box_id]))

    async def _watch_staleness(self) -> None:
        """What is closed here comes back with the whole state only: a stream that lives on brings
        nothing but what is new.
        """
        limit = math.inf if self._max_stale is None else self._max_stale
        closed = False
        while True:
            is_stale = self._clock() - self._last_contact > limit
            if is_stale and not closed:
                self._must_start_over = True
                self._agent.close_all(
                    f"the control plane has not been heard for {limit:g} s (--max-stale)"
                )
            closed = is_stale
            self._agent.remember_contact(self._last_contact)
            await asyncio.sleep(min(limit / _STALENESS_CHECKS, _LONGEST_CHECK))
