"""Keeps the node's stream to its control plane: connects, continues, acknowledges, connects again.

When to connect and where to continue is decided in `boxwall.sdk.resume`; what a message means, in
`agent`. What is in force stays in force while nobody answers.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
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

_STALENESS_CHECKS: Final = 4
"""So often in `max_stale` it is looked whether it is over."""

_log = structlog.get_logger()


class Outbox:
    """What is to be sent on one stream, in order. One reader: gRPC."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Request] = asyncio.Queue()

    def put(self, request: Request) -> None:
        """Send when there is room. The control plane paces what is answered with one."""
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
    ) -> None:
        """`max_stale`: seconds out of contact after which everything is denied; None: never."""
        self._connection = connection
        self._agent = agent
        self._node_id = node_id
        self._agent_version = agent_version
        self._cursor = cursor
        self._max_stale = max_stale
        self._outbox: Outbox | None = None
        self._in_contact = False
        self._acknowledged = ""
        self._last_contact = 0.0
        agent.on_hosting = self._hosting
        agent.on_failed = self.report

    @property
    def in_contact(self) -> bool:
        """Whether a stream is open and has said something."""
        return self._in_contact

    async def run(self) -> None:
        """Connect again and again, until cancelled."""
        clock = asyncio.get_running_loop().time
        self._last_contact = clock()
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
        """Say more of what was acknowledged on this stream. Lost if there is none."""
        if self._outbox is not None and self._acknowledged:
            self._outbox.put(ack_request(self._acknowledged, results))

    def send(self, request: Request) -> bool:
        """Send what needs no answer. False: there is no stream."""
        if self._outbox is None:
            return False
        self._outbox.put(request)
        return True

    async def _converse(self, stream: Resuming) -> None:
        """Hold one stream until it ends. Raises BoxwallError."""
        clock = asyncio.get_running_loop().time
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
                self._heard(now)
                incoming = incoming_from_proto(message)
                answer = self._agent.receive(incoming)
                if answer is not None:
                    outbox.put(ack_request(*answer))
                    stream.applied(answer[0])
                    self._acknowledged = answer[0]
                if isinstance(incoming, GoAway):
                    stream.go_away(now, incoming.reconnect_after)
                    return

    def _heard(self, now: float) -> None:
        if not self._in_contact:
            _log.info("in_contact", node=self._node_id)
        self._in_contact = True
        self._last_contact = now

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
        if self._max_stale is None:
            return
        clock = asyncio.get_running_loop().time
        closed = False
        while True:
            await asyncio.sleep(self._max_stale / _STALENESS_CHECKS)
            is_stale = clock() - self._last_contact > self._max_stale
            if is_stale and not closed:
                self._agent.close_all(
                    f"the control plane has not been heard for {self._max_stale:g} s (--max-stale)"
                )
            closed = is_stale
