"""Thousands of nodes that come back at once after the server was killed."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from boxwall.v1 import (
    box_pb2,
    box_service_pb2,
    box_service_pb2_grpc,
    enforcement_service_pb2,
    enforcement_service_pb2_grpc,
    policy_pb2,
    stream_pb2,
)
from boxwall.wire.errors import ErrorReason, error_from_rpc
from fakes.server_process import ServerProcess

NODES = 5_000
CHANNELS = 25
CALLERS = 32
"""Writes under way at once."""
MISSED = range(0, NODES, 10)
"""Boxes that are changed while their nodes apply nothing, just before the crash."""
CHANGED_MEANWHILE = range(5, NODES, 10)
"""Boxes that are changed while the nodes come back."""
IN_SYNC_WITHIN = 30.0
"""Seconds; a promise of the project, not of this machine."""
NODE_MEMORY = 52_000
"""Bytes for each node with its box, beside those of a server that serves nobody: 50 KB and 2 KB
are promised."""

Request = enforcement_service_pb2.StreamPoliciesRequest
Response = enforcement_service_pb2.StreamPoliciesResponse


class Node:
    """One node, with one box: what it has in force, and up to where."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.box_id = f"b{number}"
        self.cursor = ""
        self.entry = stream_pb2.PolicyEntry()

    def subscribe(self) -> Request:
        """Return the first message of a stream."""
        held = stream_pb2.HostedBox(
            box_id=self.box_id,
            uid=self.entry.uid,
            policy_revision=self.entry.policy_revision,
        )
        node_id = f"n{self.number}"
        return Request(
            subscribe=stream_pb2.Subscribe(node_id=node_id, boxes=[held], cursor=self.cursor)
        )

    def apply(self, message: Response) -> Request | None:
        """Put a message in force; return the acknowledgement, if one is due."""
        for entry in (*message.reset.boxes, *message.changes.entries):
            assert entry.box_id == self.box_id, f"n{self.number} was told of {entry.box_id}"
            self.entry = entry
        if not message.cursor:
            return None
        self.cursor = message.cursor
        return Request(ack=stream_pb2.Ack(cursor=message.cursor))

    def holds(self, box: box_pb2.Box) -> bool:
        """Whether what is in force is what the server has stored."""
        stored = (box.uid, box.policy_revision, box.network_policy)
        return stored == (self.entry.uid, self.entry.policy_revision, self.entry.network_policy)


class Fleet:
    """Many nodes in one process, on a few connections; each has a stream of its own."""

    def __init__(self, target: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
        self._channels = [
            grpc.aio.insecure_channel(target, options=options) for _ in range(CHANNELS)
        ]
        self.nodes = {f"b{number}": Node(number) for number in range(NODES)}
        """By the box that they host."""
        self.deferred = 0
        self.all_in_touch = asyncio.Event()
        """Set once every node has applied something that came on a stream that still lasts."""
        self._out_of_touch = set(self.nodes)
        self._deafened = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run every node for as long as this lasts."""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._live(node)) for node in self.nodes.values()]
            yield
            for task in running:
                task.cancel()
        for channel in self._channels:
            await channel.close()

    def deafen(self) -> None:
        """Lose all that comes on the streams there are, as nodes do that are about to crash."""
        self._deafened += 1

    def behind(self, boxes: Iterable[box_pb2.Box]) -> list[str]:
        """Return the boxes that are not in force as the server has stored them."""
        return [box.id for box in boxes if not self.nodes[box.id].holds(box)]

    async def _live(self, node: Node) -> None:
        """Be one node, over every loss of its stream."""
        while True:
            try:
                await self._stream(node)
            except grpc.aio.AioRpcError as exc:
                self._out_of_touch.add(node.box_id)
                self.all_in_touch.clear()
                error = error_from_rpc(exc)
                self.deferred += error.reason is ErrorReason.OVERLOADED
                await asyncio.sleep(0.1 if error.retry_after is None else error.retry_after)

    async def _stream(self, node: Node) -> None:
        channel = self._channels[node.number % CHANNELS]
        call = enforcement_service_pb2_grpc.EnforcementServiceStub(channel).StreamPolicies()
        deafened = self._deafened
        await call.write(node.subscribe())
        while (message := await call.read()) is not grpc.aio.EOF:
            acknowledgement = node.apply(message) if deafened == self._deafened else None
            if acknowledgement is not None:
                with contextlib.suppress(asyncio.InvalidStateError):  # the next read says why
                    await call.write(acknowledgement)
                self._in_touch(node)
        await call  # raises what ended the stream

    def _in_touch(self, node: Node) -> None:
        self._out_of_touch.discard(node.box_id)
        if not self._out_of_touch:
            self.all_in_touch.set()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_five_thousand_nodes_are_back_in_sync_and_none_is_lost(server: ServerProcess) -> None:
    memory = peak_memory(server) + NODES * NODE_MEMORY
    fleet = Fleet(server.target)
    await create(server, fleet.nodes)
    async with fleet.running():
        await all_in_sync(server, fleet)
        fleet.deafen()
        await change(server, MISSED)
        assert len(fleet.behind(await stored(server))) == len(MISSED)
        assert peak_memory(server) <= memory
        fleet.deferred = 0
        server.kill()
        await asyncio.to_thread(server.start)
        began = time.monotonic()
        await change(server, CHANGED_MEANWHILE)
        await all_in_sync(server, fleet)
        print(f"{NODES} nodes in sync after {time.monotonic() - began:.1f} s")
        assert fleet.deferred > 0, "nobody was asked to come back later: this was no storm"
    print(f"{peak_memory(server) / 1e6:.0f} MB at most, of {memory / 1e6:.0f}")
    assert peak_memory(server) <= memory


async def all_in_sync(server: ServerProcess, fleet: Fleet) -> None:
    """Wait until each node has in force what is stored, and the server knows that."""
    async with asyncio.timeout(IN_SYNC_WITHIN):
        await fleet.all_in_touch.wait()
        while True:
            boxes = await stored(server)
            states = {box.enforcement.state for box in boxes}
            if states == {box_pb2.Enforcement.STATE_ENFORCED} and not fleet.behind(boxes):
                break
            await asyncio.sleep(0.1)
    assert len(boxes) == NODES


async def create(server: ServerProcess, box_ids: Iterable[str]) -> None:
    requests = [box_service_pb2.CreateBoxRequest(box_id=box_id) for box_id in box_ids]
    async with boxes_of(server) as stub:
        await call_each(stub.CreateBox, requests)


async def change(server: ServerProcess, numbers: Iterable[int]) -> None:
    """Allow something else to each of these boxes; returns when all is acknowledged."""
    custom = policy_pb2.CustomPolicy(allowed_domains=["example.com"])
    policy = policy_pb2.NetworkPolicy(custom=custom)
    requests = [
        box_service_pb2.UpdateNetworkPolicyRequest(box_id=f"b{number}", network_policy=policy)
        for number in numbers
    ]
    async with boxes_of(server) as stub:
        await call_each(stub.UpdateNetworkPolicy, requests)


async def call_each(method: Any, requests: list[Any]) -> None:
    """Make calls, some at a time."""
    left = iter(requests)

    async def caller() -> None:
        for request in left:
            await insist(method, request)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def insist(method: Any, request: Any) -> None:
    """Make a call, again if gRPC lost it (CANCELLED): among thousands of new streams it can."""
    while True:
        try:
            await method(request, wait_for_ready=True)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is not grpc.StatusCode.CANCELLED:
                raise
            print("a call was lost:", exc.debug_error_string())
        else:
            return


async def stored(server: ServerProcess) -> list[box_pb2.Box]:
    """Return every box."""
    request = box_service_pb2.ListBoxesRequest(page_size=1000)
    found: list[box_pb2.Box] = []
    async with boxes_of(server) as stub:
        while True:
            page = await stub.ListBoxes(request, wait_for_ready=True)
            found += page.boxes
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found


@asynccontextmanager
async def boxes_of(server: ServerProcess) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(server.target) as channel:
        yield box_service_pb2_grpc.BoxServiceStub(channel)


def peak_memory(server: ServerProcess) -> int:
    """Return the most bytes that the server has had in memory. 0: this system does not say."""
    status = Path(f"/proc/{server.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
