"""The actors that keep streams open: watchers of everything, and nodes that acknowledge."""

import asyncio
import random
import time
from typing import Any, TypeAlias

import grpc

from bench.connections import connect, retry_after
from bench.figures import thinned
from bench.messages import STREAM, STREAMS_PER_CONNECTION, box_id
from boxwall.v1 import enforcement_service_pb2, stream_pb2

Request = enforcement_service_pb2.StreamPoliciesRequest
Response = enforcement_service_pb2.StreamPoliciesResponse
Opened: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"

AT_ONCE = 250
"""Streams that begin together where a storm is not what is measured."""


class Streams:
    """Many streams to one server, over connections that they share."""

    method = STREAM

    def __init__(self) -> None:
        self._channels: list[grpc.aio.Channel] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused = 0

    def _connect(self, path: str, streams: int, per_connection: int) -> None:
        count = -(-streams // per_connection)
        self._channels = [connect(path) for _ in range(count)]

    def _open(self, number: int) -> Opened:
        channel = self._channels[number % len(self._channels)]
        method = self.method
        return channel.stream_stream(method, request_serializer=None, response_deserializer=None)()

    def _start(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _after(self, error: grpc.aio.AioRpcError) -> None:
        """Wait before the next try: as long as the server asks, else a little."""
        self.refused += 1
        delay = retry_after(error)
        await asyncio.sleep(random.uniform(0.05, 0.3) if delay is None else delay)

    async def close(self) -> None:
        """End every stream."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close()
        self._channels = []


class Watchers(Streams):
    """Observers: each notes when a change arrives."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._open_now = 0
        self._arrivals: list[float] = []
        self._all_open = asyncio.Event()
        self._all_told = asyncio.Event()

    async def open(
        self, path: str, count: int, per_connection: int = STREAMS_PER_CONNECTION
    ) -> None:
        """Open streams; returns when each has heard something."""
        await self.close()
        self._connect(path, count, per_connection)
        self._count, self._open_now = count, 0
        self._all_open.clear()
        gate = asyncio.Semaphore(AT_ONCE)
        for number in range(count):
            self._start(self._watch(number, gate))
        async with asyncio.timeout(110):
            await self._all_open.wait()

    async def expect(self) -> None:
        """Forget what has arrived: the next change is the one that counts."""
        self._arrivals = []
        self._all_told.clear()

    async def told(self) -> dict[str, Any]:
        """Wait until every watcher has the change; return when (monotonic clock)."""
        async with asyncio.timeout(60):
            await self._all_told.wait()
        return {"last": max(self._arrivals), "sample": thinned(self._arrivals)}

    def _subscribe(self, number: int) -> bytes:
        subscribe = stream_pb2.Subscribe(node_id=f"watcher-{number}", all_boxes=True)
        return Request(subscribe=subscribe).SerializeToString()

    def _has_change(self, frame: bytes) -> bool:
        return Response.FromString(frame).HasField("changes")

    async def _watch(self, number: int, gate: asyncio.Semaphore) -> None:
        while True:
            try:
                async with gate:
                    call = self._open(number)
                    await call.write(self._subscribe(number))
                    await call.read()
                break
            except grpc.aio.AioRpcError as error:
                await self._after(error)
        self._open_now += 1
        if self._open_now == self._count:
            self._all_open.set()
        while isinstance(frame := await call.read(), bytes):
            if self._has_change(frame):
                self._arrivals.append(time.monotonic())
                if len(self._arrivals) == self._count:
                    self._all_told.set()


class Nodes(Streams):
    """Nodes that host boxes, acknowledge at once, and come back when they are cut off."""

    def __init__(self) -> None:
        super().__init__()
        self._nodes: list[Node] = []
        self._connected = asyncio.Event()
        self._times = 1
        self._missing = 0

    async def open(
        self, path: str, nodes: int, boxes_per_node: int, at_once: int = AT_ONCE, first: int = 0
    ) -> float:
        """Open a stream for each node; returns the seconds until each has its first message.

        They host the boxes from `first` on.
        """
        await self.close()
        self._connect(path, nodes, STREAMS_PER_CONNECTION)
        self._nodes = [Node(number, boxes_per_node, first) for number in range(nodes)]
        begin = time.monotonic()
        gate = asyncio.Semaphore(at_once)
        for node in self._nodes:
            self._start(self._keep(node, gate))
        await self.connected(times=1)
        return time.monotonic() - begin

    async def connected(self, times: int, timeout: float = 100.0) -> float:
        """Wait until each node has begun that many streams; return when (monotonic clock)."""
        self._times = times
        self._missing = sum(node.streams < times for node in self._nodes)
        async with asyncio.timeout(timeout):
            while self._missing > 0:
                await self._connected.wait()
                self._connected.clear()
        return time.monotonic()

    async def held(self) -> dict[str, int]:
        """Return the revision that nodes hold, by box."""
        return {box: at for node in self._nodes for box, (_, at) in node.held.items()}

    async def cut(self, count: int) -> None:
        """Cut the streams of some nodes off; returns when each of them has begun another."""
        chosen = random.sample(self._nodes, count)
        for node in chosen:
            node.began.clear()
            if node.call is not None:
                node.call.cancel()
        async with asyncio.timeout(30):
            await asyncio.gather(*(node.began.wait() for node in chosen))

    async def tries(self) -> int:
        """Return how often a stream was refused or cut."""
        return self.refused

    async def _keep(self, node: "Node", gate: asyncio.Semaphore) -> None:
        while True:
            try:
                async with gate:
                    node.call = call = self._open(node.number)
                    await call.write(node.subscribe())
                    await self._take(node, call)
                    self._began(node)
                while await self._take(node, call):
                    pass
            except asyncio.CancelledError:
                # gRPC raises it for a call that `cut` cancelled: the task itself goes on.
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
            except asyncio.InvalidStateError:
                continue  # it ended between a message and its acknowledgement
            except grpc.aio.AioRpcError as error:
                await self._after(error)

    def _began(self, node: "Node") -> None:
        node.streams += 1
        node.began.set()
        if node.streams == self._times:
            self._missing -= 1
            self._connected.set()

    async def _take(self, node: "Node", call: Opened) -> bool:
        """Take in one message and acknowledge it. Returns False at the end."""
        frame = await call.read()
        if not isinstance(frame, bytes):
            return False  # grpc.aio.EOF
        acknowledgement = node.take(Response.FromString(frame))
        if acknowledgement:
            await call.write(acknowledgement)
        return True


class Node:
    """One node: what it hosts, and what it has in force."""

    def __init__(self, number: int, boxes: int, first_of_all: int = 0) -> None:
        self.number = number
        self.streams = 0
        self.cursor = ""
        self.call: Opened | None = None
        self.began = asyncio.Event()
        first = first_of_all + number * boxes
        self.held = {box_id(box): ("", 0) for box in range(first, first + boxes)}

    def subscribe(self) -> bytes:
        """Return the first message: what is hosted, and what is held of it."""
        boxes = [
            stream_pb2.HostedBox(box_id=box, uid=uid, policy_revision=at)
            for box, (uid, at) in self.held.items()
        ]
        subscribe = stream_pb2.Subscribe(
            node_id=f"node-{self.number}", agent_version="bench", boxes=boxes, cursor=self.cursor
        )
        return Request(subscribe=subscribe).SerializeToString()

    def take(self, message: Response) -> bytes:
        """Put what came in force; return the acknowledgement, if one is due."""
        kind = message.WhichOneof("message")
        entries = {"reset": message.reset.boxes, "changes": message.changes.entries}.get(kind, ())
        for entry in entries:
            self.held[entry.box_id] = entry.uid, entry.policy_revision
        if not message.cursor:
            return b""
        self.cursor = message.cursor
        return Request(ack=stream_pb2.Ack(cursor=message.cursor)).SerializeToString()
