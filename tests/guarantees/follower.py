"""A client of a real server that follows its stream over every loss, for the checkers.

While others write, nobody knows yet what has happened. So each stream is written down, and put
before the checkers once the history is complete.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import grpc

from boxwall.v1 import enforcement_service_pb2, stream_pb2
from boxwall_server.changes.revision import cursor_from_token
from boxwall_server.clock import Clock
from guarantees.checkers import Checkers
from guarantees.heard import Message, entry_state
from guarantees.history import History, State

Request = enforcement_service_pb2.StreamPoliciesRequest
Response = enforcement_service_pb2.StreamPoliciesResponse

RETRY: Final = 0.02
"""Seconds between tries while the server is down."""
PATIENCE: Final = 20.0
"""Seconds after which what has not come is called missing."""


class Transcript:
    """What one stream was asked for, and all that it brought."""

    def __init__(
        self, now: float, scope: Iterable[str] | None, held: Mapping[str, State], cursor: str
    ) -> None:
        """See `Checkers`."""
        self._begin = now
        self._scope = scope
        self._held = held
        self._cursor = cursor
        self._unchecked: list[tuple[float, Message]] = []
        self._checkers: Checkers | None = None

    def take(self, now: float, message: Message) -> None:
        """Write down the next message."""
        self._unchecked.append((now, message))

    def check(self, history: History) -> Checkers:
        """Put what is new before the checkers. Raises GuaranteeBroken.

        `history` must be complete up to the last message, and the same one each time.
        """
        checkers = self._checkers or Checkers(
            history, now=self._begin, scope=self._scope, held=self._held, cursor=self._cursor
        )
        self._checkers = checkers
        for now, message in self._unchecked:
            checkers.take(now, message)
        self._unchecked.clear()
        return checkers


class Follower:
    """An observer of every box, or a node that hosts `boxes` and acknowledges all it is told."""

    def __init__(self, clock: Clock, node_id: str, boxes: Iterable[str] | None = None) -> None:
        self._clock = clock
        self._node_id = node_id
        self._boxes = None if boxes is None else tuple(boxes)
        self.entries: dict[str, stream_pb2.PolicyEntry] = {}
        """The last of each box, tombstones among them."""
        self.applied: dict[str, set[int]] = defaultdict(set)
        """Every revision of each box that it has had in force: noted before it says so."""
        self.cursor = ""
        self.streams = 0
        """How many have brought it to a cursor."""
        self.resets = 0
        self.may_connect = asyncio.Event()
        self.may_connect.set()
        self._pages: dict[str, stream_pb2.PolicyEntry] = {}
        self._transcripts: list[Transcript] = []
        self._heard = asyncio.Event()

    def hosts(self, box_id: str) -> bool:
        """Whether it is a node that hosts a box."""
        return self._boxes is not None and box_id in self._boxes

    async def follow(self, stub: Any) -> None:
        """Follow for ever, from the last cursor after each loss. Raises what is no loss."""
        while True:
            await self.may_connect.wait()
            try:
                await self._stream(stub.StreamPolicies())
            except grpc.aio.AioRpcError as exc:
                if not _is_loss(exc):
                    raise
            await asyncio.sleep(RETRY)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; it is asked after each message."""
        while not holds():
            self._heard.clear()
            await self._heard.wait()

    async def settle(self, history: History, streams: int | None = None) -> None:
        """Check all streams so far, the last of which, number `streams` (None: whichever it is),
        should have come to the end of `history`. Raises GuaranteeBroken.
        """
        least = 1 if streams is None else streams
        with contextlib.suppress(TimeoutError):  # the checkers say what is missing
            async with asyncio.timeout(PATIENCE):
                await self.until(lambda: self.streams >= least and self._is_at_end_of(history))
        assert streams in (None, self.streams), f"{self._node_id} began {self.streams} streams"
        for transcript in self._transcripts:
            checkers = transcript.check(history)
        checkers.settle(self._clock.steady())
        del self._transcripts[:-1]

    def _is_at_end_of(self, history: History) -> bool:
        """A node need not have the last cursor, but the last entry of each of its boxes."""
        if self._boxes is None:
            return cursor_from_token(self.cursor, "default").revision >= history.head
        last = {box_id: history.latest(box_id, history.head).revision for box_id in self._boxes}
        return last == {box_id: e.policy_revision for box_id, e in self.entries.items()}

    async def _stream(self, call: Any) -> None:
        transcript = Transcript(
            self._clock.steady(),
            self._boxes,
            {box_id: entry_state(entry) for box_id, entry in self.entries.items()},
            self.cursor,
        )
        self._pages = {}
        await call.write(Request(subscribe=self._subscribe()))
        new = True
        async for message in call:
            if self._transcripts[-1:] != [transcript]:
                self._transcripts.append(transcript)
            transcript.take(self._clock.steady(), message)
            self._take(message)
            if message.cursor:
                await self._acknowledge(call)
                self.streams += new
                new = False
            self._heard.set()

    def _subscribe(self) -> stream_pb2.Subscribe:
        if self._boxes is None:
            return stream_pb2.Subscribe(node_id=self._node_id, all_boxes=True, cursor=self.cursor)
        nothing = stream_pb2.PolicyEntry()
        held = {box_id: self.entries.get(box_id, nothing) for box_id in self._boxes}
        boxes = [
            stream_pb2.HostedBox(box_id=box_id, uid=e.uid, policy_revision=e.policy_revision)
            for box_id, e in held.items()
        ]
        return stream_pb2.Subscribe(node_id=self._node_id, boxes=boxes, cursor=self.cursor)

    def _take(self, message: Response) -> None:
        self._pages.update({entry.box_id: entry for entry in message.reset.boxes})
        if message.reset.last:
            self.entries, self._pages = self._pages, {}
            self.resets += 1
        self.entries.update({entry.box_id: entry for entry in message.changes.entries})
        self.cursor = message.cursor or self.cursor
        for entry in (*message.changes.entries, *message.reset.boxes):
            self.applied[entry.box_id].add(entry.policy_revision)

    async def _acknowledge(self, call: Any) -> None:
        if self._boxes is None:
            return
        with contextlib.suppress(asyncio.InvalidStateError):  # it has ended: the next read says so
            await call.write(Request(ack=stream_pb2.Ack(cursor=self.cursor)))


def _is_loss(error: grpc.aio.AioRpcError) -> bool:
    """Whether the server has gone. gRPC itself answers INTERNAL when it goes during a write."""
    if error.code() is grpc.StatusCode.INTERNAL:
        return error.details() == "Internal error from Core"
    return error.code() is grpc.StatusCode.UNAVAILABLE
