"""Thousands of nodes that come back at once after the server was killed."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import grpc
import pytest

from boxwall.v1 import (
    box_service_pb2,
    box_service_pb2_grpc,
    enforcement_service_pb2,
    enforcement_service_pb2_grpc,
    stream_pb2,
)
from boxwall.wire.errors import ErrorReason, error_from_rpc
from fakes.server_process import ServerProcess

NODES = 5_000
CHANNELS = 25
IN_SYNC_WITHIN = 30.0
"""Seconds; a promise of the project, not of this machine."""

Request = enforcement_service_pb2.StreamPoliciesRequest


class Fleet:
    """Many nodes in one process, a few connections, a stream and a box for each node."""

    def __init__(self, target: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
        self._channels = [
            grpc.aio.insecure_channel(target, options=options) for _ in range(CHANNELS)
        ]
        self.cursors: dict[int, str] = {}
        self.deferred = 0
        self.in_sync = asyncio.Semaphore(0)

    async def live(self, number: int) -> None:
        """Be one node, over every loss of its stream."""
        while True:
            try:
                await self._stream(number)
            except grpc.aio.AioRpcError as exc:
                error = error_from_rpc(exc)
                self.deferred += error.reason is ErrorReason.OVERLOADED
                await asyncio.sleep(0.1 if error.retry_after is None else error.retry_after)

    async def _stream(self, number: int) -> None:
        channel = self._channels[number % CHANNELS]
        call = enforcement_service_pb2_grpc.EnforcementServiceStub(channel).StreamPolicies()
        boxes = [stream_pb2.HostedBox(box_id=f"b{number}")]
        subscribe = stream_pb2.Subscribe(
            node_id=f"n{number}", boxes=boxes, cursor=self.cursors.get(number, "")
        )
        await call.write(Request(subscribe=subscribe))
        first = True
        while (message := await call.read()) is not grpc.aio.EOF:
            if not message.cursor:
                continue
            self.cursors[number] = message.cursor
            await call.write(Request(ack=stream_pb2.Ack(cursor=message.cursor)))
            if first:
                self.in_sync.release()
                first = False
        await call  # raises what ended the stream

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_five_thousand_nodes_are_back_in_sync_and_none_is_lost(server: ServerProcess) -> None:
    fleet = Fleet(server.target)
    async with asyncio.TaskGroup() as tasks:
        nodes = [tasks.create_task(fleet.live(number)) for number in range(NODES)]
        await within(IN_SYNC_WITHIN, lambda: all_in_sync(fleet))
        server.kill()
        await asyncio.to_thread(server.start)
        began = time.monotonic()
        await within(IN_SYNC_WITHIN, lambda: all_in_sync(fleet))
        print(f"{NODES} nodes in sync after {time.monotonic() - began:.1f} s")
        assert fleet.deferred > 0, "nobody was asked to come back later: this was no storm"
        await check_that_changes_arrive(server)
        for node in nodes:
            node.cancel()
    await fleet.close()


async def within(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(seconds):
        await work()


async def all_in_sync(fleet: Fleet) -> None:
    for _ in range(NODES):
        await fleet.in_sync.acquire()


async def check_that_changes_arrive(server: ServerProcess) -> None:
    """One of the nodes is told of its box, and acknowledges."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = box_service_pb2_grpc.BoxServiceStub(channel)
        await stub.CreateBox(box_service_pb2.CreateBoxRequest(box_id="b4321"))
        wait = box_service_pb2.WaitEnforcedRequest(box_id="b4321")
        wait.timeout.FromSeconds(20)
        box = await stub.WaitEnforced(wait)
        assert [node.node_id for node in box.enforcement.nodes] == ["n4321"]
        assert box.enforcement.state == box.enforcement.STATE_ENFORCED
