"""A node that hosts boxes on a real stream, and acknowledges as told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import grpc

from boxwall.v1 import enforcement_service_pb2, enforcement_service_pb2_grpc, stream_pb2

Request = enforcement_service_pb2.StreamPoliciesRequest
Response = enforcement_service_pb2.StreamPoliciesResponse


def acknowledged(message: Response) -> list[stream_pb2.AckResult] | None:
    """Answer everything with "it is in force"."""
    return []


class FakeNode:
    """What a node has been told, by box, and every message in order."""

    def __init__(self) -> None:
        self.messages: list[Response] = []
        self.entries: dict[str, stream_pb2.PolicyEntry] = {}
        self.in_sync = asyncio.Event()
        """Set once a first message has brought it to a cursor, and was answered."""

    def take(self, message: Response) -> None:
        self.messages.append(message)
        if message.WhichOneof("message") == "reset":
            self.entries.update({entry.box_id: entry for entry in message.reset.boxes})
        self.entries.update({entry.box_id: entry for entry in message.changes.entries})


@asynccontextmanager
async def hosting(
    target: str,
    node_id: str,
    box_ids: Sequence[str],
    answer: Callable[[Response], list[stream_pb2.AckResult] | None] = acknowledged,
) -> AsyncIterator[FakeNode]:
    """Host boxes for as long as the context lasts; begins once the node is in sync.

    `answer` gives the results to acknowledge a message with; None: do not acknowledge it.
    """
    node = FakeNode()
    async with grpc.aio.insecure_channel(target) as channel, asyncio.TaskGroup() as tasks:
        call = enforcement_service_pb2_grpc.EnforcementServiceStub(channel).StreamPolicies()
        boxes = [stream_pb2.HostedBox(box_id=box_id) for box_id in box_ids]
        await call.write(Request(subscribe=stream_pb2.Subscribe(node_id=node_id, boxes=boxes)))

        async def follow() -> None:
            while (message := await call.read()) is not grpc.aio.EOF:
                node.take(message)
                results = answer(message) if message.cursor else None
                if results is not None:
                    ack = stream_pb2.Ack(cursor=message.cursor, results=results)
                    await call.write(Request(ack=ack))
                if message.cursor:
                    node.in_sync.set()

        task = tasks.create_task(follow())
        async with asyncio.timeout(20):
            await node.in_sync.wait()
        yield node
        task.cancel()
