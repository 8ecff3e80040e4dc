"""The client's side of a stream, moved by a test one message at a time, with the guarantees
checked on everything that comes.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from boxwall.v1 import box_service_pb2, enforcement_service_pb2, policy_pb2, stream_pb2
from boxwall_server.changes.revision import cursor_from_token
from boxwall_server.clock import Clock
from guarantees.checkers import Checkers
from guarantees.history import History, State

Request = enforcement_service_pb2.StreamPoliciesRequest
Response = enforcement_service_pb2.StreamPoliciesResponse

PATIENCE = 5.0
"""Real seconds that a test waits for what must come at once."""


class Watch:
    """Reads one stream, with the checkers on it."""

    def __init__(self, call: Any, checkers: Checkers, clock: Clock) -> None:
        self.call = call
        self.checkers = checkers
        self.messages: list[Any] = []
        self._clock = clock

    @property
    def cursor(self) -> str:
        """The last cursor that came."""
        return next((m.cursor for m in reversed(self.messages) if m.cursor), "")

    async def next(self) -> Any:
        """The next message. Raises AioRpcError if the stream failed, EOFError if it ended."""
        async with asyncio.timeout(PATIENCE):
            message: object = await self.call.read()
        if not isinstance(message, Response | box_service_pb2.WatchBoxesResponse):
            raise EOFError
        self.messages.append(message)
        self.checkers.take(self._clock.steady(), message)
        return message

    async def until(self, kind: str) -> Any:
        """The next message of a kind."""
        while True:
            message = await self.next()
            if message.HasField(kind):
                return message

    async def reaches(self, revision: int) -> None:
        """Read until the cursor is at a revision, then check that nothing is missing."""
        while self._revision < revision:
            await self.next()
        self.checkers.settle(self._clock.steady())

    async def ended(self) -> grpc.aio.AioRpcError:
        """Read until the stream ends with an error; return it."""
        try:
            while True:
                await self.next()
        except grpc.aio.AioRpcError as error:
            return error

    @property
    def _revision(self) -> int:

        return cursor_from_token(self.cursor, "default").revision if self.cursor else -1


class Agent(Watch):
    """A node's stream."""

    def __init__(self, call: Any, checkers: Checkers, clock: Clock, node_id: str) -> None:
        super().__init__(call, checkers, clock)
        self.node_id = node_id

    @property
    def entries(self) -> Mapping[str, stream_pb2.PolicyEntry]:
        """The last entry of each box."""
        found = {}
        for message in self.messages:
            for entry in (*message.reset.boxes, *message.changes.entries):
                found[entry.box_id] = entry
        return found

    async def send(self, **message: Any) -> None:
        """Send one message."""
        await self.call.write(Request(**message))

    async def attach(self, *box_ids: str) -> None:
        """Host more boxes."""
        self.checkers.attach(box_ids)
        await self.send(attach=stream_pb2.Attach(box_ids=box_ids))

    async def detach(self, *box_ids: str) -> None:
        """Host fewer boxes."""
        self.checkers.detach(box_ids)
        await self.send(detach=stream_pb2.Detach(box_ids=box_ids))

    async def acknowledge(self, *results: stream_pb2.AckResult, cursor: str | None = None) -> None:
        """Say that everything so far, or up to `cursor`, is in force."""
        at = self.cursor if cursor is None else cursor
        await self.send(ack=stream_pb2.Ack(cursor=at, results=results))

    async def refuse(self, *refusals: policy_pb2.Refusal, dropped: int = 0) -> None:
        """Report refused connections."""
        await self.send(refusals=stream_pb2.Refusals(refusals=refusals, dropped=dropped))

    def held(self) -> list[stream_pb2.HostedBox]:
        """What is in force, for the next subscription."""
        return [
            stream_pb2.HostedBox(box_id=e.box_id, uid=e.uid, policy_revision=e.policy_revision)
            for e in self.entries.values()
        ]


async def subscribed(
    stub: Any,
    history: History,
    clock: Clock,
    node_id: str = "n1",
    boxes: Iterable[str | stream_pb2.HostedBox] = (),
    *,
    cursor: str = "",
    trusted: bool = True,
    all_boxes: bool = False,
) -> Agent:
    """Open a stream and subscribe. `trusted` False: the cursor is not one of this history."""
    hosted = [stream_pb2.HostedBox(box_id=box) if isinstance(box, str) else box for box in boxes]
    held: dict[str, State] = {}
    if all_boxes and cursor and trusted:
        held.update(history.state_at(cursor_from_token(cursor, "default").revision))
    for box in hosted if trusted and cursor else ():
        if box.policy_revision:
            held[box.box_id] = history.latest(box.box_id, box.policy_revision).state
    checkers = Checkers(
        history,
        now=clock.steady(),
        scope=None if all_boxes else [box.box_id for box in hosted],
        held=held,
        cursor=cursor if trusted else "",
    )
    call = stub.StreamPolicies()
    agent = Agent(call, checkers, clock, node_id)
    subscribe = stream_pb2.Subscribe(
        node_id=node_id, boxes=hosted, cursor=cursor, all_boxes=all_boxes, agent_version="test/1"
    )
    await agent.send(subscribe=subscribe)
    return agent


def watch_request(cursor: str = "", **where: Any) -> box_service_pb2.WatchBoxesRequest:
    """A WatchBoxes request."""
    return box_service_pb2.WatchBoxesRequest(
        cursor=cursor, filter=box_service_pb2.BoxFilter(**where)
    )
