"""`python -m bench.baseline SOCKET [FILE]`: grpc.aio, when nobody keeps or checks anything.

Unary methods answer one canned message of the same type and size as Boxwall's, parsed and encoded
for every call as Boxwall must. An update with a canned frame goes as ready bytes to the streams it
concerns: to every observer; or, with wait_timeout, to the node that hosts the box, and the call
returns when that node has acknowledged. Nothing is durable, unless there is a FILE: see
`bench.floor`.
"""

import asyncio
import signal
import sys
from collections import deque
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message

from bench.floor import Floor, durable_handler
from bench.messages import CAN
from boxwall.v1 import box_pb2, box_service_pb2, box_service_pb2_grpc, enforcement_service_pb2
from boxwall.wire.frames import bookmark_frame

FRAME = b"frame"
"""The name under which the frame of streams is canned."""

# As the server's own: an unlike limit would make an unlike measurement.
OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.server_max_pending_requests", 10_000),
    ("grpc.server_max_pending_requests_hard_limit", 20_000),
]

_SERVICE = box_service_pb2.DESCRIPTOR.services_by_name["BoxService"]


class Node:
    """The stream of one node."""

    def __init__(self) -> None:
        self.outbox: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self.unacknowledged: deque[asyncio.Future[None]] = deque()


class Baseline:
    """Every handler."""

    def __init__(self) -> None:
        self.frame = b""
        self._nodes: dict[str, Node] = {}
        self._observers: set[asyncio.Event] = set()
        self.canned: dict[str, Message] = {}

    async def can(self, request: bytes, _: Any) -> bytes:
        """Take what a method is to answer."""
        method, _, response = request.partition(b"\0")
        if method == FRAME:
            self.frame = response
            return b""
        name = method.decode().rpartition("/")[2]
        output = _SERVICE.methods_by_name[name].output_type.name
        self.canned[name] = getattr(_message_module(output), output).FromString(response)
        return b""

    async def update(self, request: box_service_pb2.UpdateNetworkPolicyRequest, _: Any) -> Message:
        """Relay to whom it concerns."""
        if request.HasField("wait_timeout"):
            node = self._nodes.get(request.box_id)
            if node is not None:
                done = asyncio.get_running_loop().create_future()
                node.outbox.put_nowait(done)
                await done
        elif (node := self._nodes.get(request.box_id)) is not None:
            node.outbox.put_nowait(asyncio.get_running_loop().create_future())
        for observer in self._observers:
            observer.set()
        return self.canned["UpdateNetworkPolicy"]

    async def stream(self, requests: Any, context: Any) -> None:
        """Serve a stream, of a node or of an observer."""
        first = await anext(requests)
        await context.write(bookmark_frame("c"))
        if first.subscribe.all_boxes:
            await self._observe(context)
        else:
            await self._serve(first, requests, context)

    async def _observe(self, context: Any) -> None:
        changed = asyncio.Event()
        self._observers.add(changed)
        try:
            while True:
                await changed.wait()
                changed.clear()
                await context.write(self.frame)
        finally:
            self._observers.discard(changed)

    async def _serve(self, first: Any, requests: Any, context: Any) -> None:
        node = Node()
        for hosted in first.subscribe.boxes:
            self._nodes[hosted.box_id] = node
        reader = asyncio.create_task(self._acknowledge(node, requests))
        try:
            while True:
                done = await node.outbox.get()
                node.unacknowledged.append(done)
                await context.write(self.frame)
        finally:
            reader.cancel()

    async def _acknowledge(self, node: Node, requests: Any) -> None:
        async for request in requests:
            if request.HasField("ack") and node.unacknowledged:
                node.unacknowledged.popleft().set_result(None)

    def answer(self, name: str) -> Any:
        """Return the handler of an empty unary method."""

        async def handler(_request: Any, _context: Any) -> Message:
            return self.canned[name]

        return handler


def _message_module(name: str) -> Any:
    return box_pb2 if hasattr(box_pb2, name) else box_service_pb2


def _add(server: grpc.aio.Server, baseline: Baseline, file: str) -> None:
    handlers = {name: baseline.answer(name) for name in ("CreateBox", "GetBox", "ListBoxes")}
    handlers["UpdateNetworkPolicy"] = baseline.update
    servicer = type("Servicer", (box_service_pb2_grpc.BoxServiceServicer,), {})()
    for name, handler in handlers.items():
        setattr(servicer, name, handler)
    box_service_pb2_grpc.add_BoxServiceServicer_to_server(servicer, server)
    if file:
        update = durable_handler(Floor(Path(file)), baseline.update, box_pb2.Box.SerializeToString)
        # In place of the one that was added as generated code does.
        server.add_registered_method_handlers(_SERVICE.full_name, {"UpdateNetworkPolicy": update})
    stream: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        baseline.stream, enforcement_service_pb2.StreamPoliciesRequest.FromString, None
    )
    can: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(baseline.can)
    service, method = CAN[1:].split("/")
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "boxwall.v1.EnforcementService", {"StreamPolicies": stream}
            ),
            grpc.method_handlers_generic_handler(service, {method: can}),
        )
    )


async def serve(socket: str, file: str = "") -> None:
    """Serve on a unix socket until asked to end."""
    server = grpc.aio.server(options=OPTIONS)
    _add(server, Baseline(), file)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:3]))
