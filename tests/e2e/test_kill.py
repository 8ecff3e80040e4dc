"""kill -9 of the server, again and again, in the middle of a storm of writes."""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

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
from fakes.server_process import ServerProcess

KILLS = 50
BOXES = [f"box-{number}" for number in range(16)]
RETRY = 0.02
"""Seconds between tries while the server is down."""


@dataclass
class Truth:
    """What the server has acknowledged: it must be found again after every kill."""

    acknowledged: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    writes: int = 0
    _wanted: int = 0
    _reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def grown_by(self, number: int) -> None:
        """Wait for so many more acknowledged writes."""
        self._wanted = self.writes + number
        self._reached.clear()
        await self._reached.wait()

    def take(self, box: box_pb2.Box) -> None:
        policy = box.network_policy.SerializeToString(deterministic=True)
        self.acknowledged.setdefault(box.id, []).append((box.policy_revision, policy))
        self.writes += 1
        if self.writes >= self._wanted:
            self._reached.set()


@dataclass
class Observed:
    """What a resuming subscriber holds, and whether its streams kept their promises."""

    entries: dict[str, stream_pb2.PolicyEntry] = field(default_factory=dict)
    cursor: str = ""
    resumed: int = 0
    resets: int = 0
    repeats: list[str] = field(default_factory=list)

    def take(self, message: enforcement_service_pb2.StreamPoliciesResponse) -> None:
        match message.WhichOneof("message"):
            case "reset":
                self.resets += 1
                self.entries = {entry.box_id: entry for entry in message.reset.boxes}
            case "changes":
                for entry in message.changes.entries:
                    held = self.entries.get(entry.box_id)
                    if held is not None and held.policy_revision >= entry.policy_revision:
                        self.repeats.append(f"{entry.box_id} at {entry.policy_revision}")
                    self.entries[entry.box_id] = entry
        if message.cursor:
            self.cursor = message.cursor


@asynccontextmanager
async def channel_to(server: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50)]
    async with grpc.aio.insecure_channel(server.target, options=options) as channel:
        yield channel


async def write_for_ever(server: ServerProcess, truth: Truth, box_id: str) -> None:
    """Write new policies to one box, each different, for as long as the server answers."""
    async with channel_to(server) as channel:
        stub = box_service_pb2_grpc.BoxServiceStub(channel)
        number = 0
        while True:
            number += 1
            cidr = f"104.{number >> 8 & 255}.{number & 255}.0/24"
            policy = policy_pb2.NetworkPolicy(custom=policy_pb2.CustomPolicy(allowed_cidrs=[cidr]))
            request = box_service_pb2.UpdateNetworkPolicyRequest(
                box_id=box_id, network_policy=policy
            )
            try:
                truth.take(await stub.UpdateNetworkPolicy(request, timeout=5))
            except grpc.aio.AioRpcError:
                await asyncio.sleep(RETRY)


async def observe_for_ever(server: ServerProcess, observed: Observed) -> None:
    """Follow every box, over all restarts, from the last cursor."""
    async with channel_to(server) as channel:
        stub = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
        while True:
            call = stub.StreamPolicies()
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call.write(subscription(observed.cursor))
                async for message in call:
                    observed.take(message)
            observed.resumed += 1
            await asyncio.sleep(RETRY)


def subscription(cursor: str) -> enforcement_service_pb2.StreamPoliciesRequest:
    return enforcement_service_pb2.StreamPoliciesRequest(
        subscribe=stream_pb2.Subscribe(node_id="observer", all_boxes=True, cursor=cursor)
    )


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_over_fifty_kills(server: ServerProcess) -> None:
    truth, observed = Truth(), Observed()
    async with channel_to(server) as channel:
        stub = box_service_pb2_grpc.BoxServiceStub(channel)
        for box_id in BOXES:
            await stub.CreateBox(box_service_pb2.CreateBoxRequest(box_id=box_id))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(write_for_ever(server, truth, box_id)) for box_id in BOXES]
        running.append(tasks.create_task(observe_for_ever(server, observed)))
        for _ in range(KILLS):
            await truth.grown_by(20)
            await asyncio.sleep(random.uniform(0, 0.05))
            server.kill()
            await asyncio.to_thread(server.start)
        for task in running[:-1]:
            task.cancel()
        state = await settled_state(server, observed)
        running[-1].cancel()
    check_boxes(truth, state)
    check_log(truth, server)
    assert observed.repeats == []
    assert observed.resumed >= KILLS
    assert observed.resets == 1, "a resumed stream was reset although its history goes on"


async def settled_state(server: ServerProcess, observed: Observed) -> dict[str, box_pb2.Box]:
    """Return the boxes, once the subscriber holds exactly them."""
    async with channel_to(server) as channel:
        stub = box_service_pb2_grpc.BoxServiceStub(channel)
        async with asyncio.timeout(30):
            while True:
                answer = await stub.ListBoxes(
                    box_service_pb2.ListBoxesRequest(page_size=1000), wait_for_ready=True
                )
                boxes = {box.id: box for box in answer.boxes}
                held = {key: e.policy_revision for key, e in observed.entries.items()}
                if held == {key: box.policy_revision for key, box in boxes.items()}:
                    assert all(
                        observed.entries[key].network_policy == box.network_policy
                        for key, box in boxes.items()
                    )
                    return boxes
                await asyncio.sleep(RETRY)


def check_boxes(truth: Truth, state: dict[str, box_pb2.Box]) -> None:
    """Every box is at least as new as the last write that was acknowledged for it."""
    for box_id, writes in truth.acknowledged.items():
        revision, policy = max(writes)
        box = state[box_id]
        assert box.policy_revision >= revision
        if box.policy_revision == revision:
            assert box.network_policy.SerializeToString(deterministic=True) == policy


def check_log(truth: Truth, server: ServerProcess) -> None:
    """Revisions have no gaps, none was given twice, and every acknowledged one is there."""
    with contextlib.closing(sqlite3.connect(server.database)) as database:
        revisions = [row[0] for row in database.execute("SELECT revision FROM changes ORDER BY 1")]
    assert revisions == list(range(1, len(revisions) + 1))
    acknowledged = [revision for writes in truth.acknowledged.values() for revision, _ in writes]
    assert len(acknowledged) == len(set(acknowledged))
    assert set(acknowledged) <= set(revisions)
