"""kill -9 of the server, again and again, in the middle of a storm of writes.

Writers never stop, but for the moment after each restart in which everything is checked: then each
knows what became of its last write, so the history is complete.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from boxwall.v1 import (
    box_pb2,
    box_service_pb2,
    box_service_pb2_grpc,
    enforcement_service_pb2_grpc,
)
from boxwall_server.clock import SystemClock
from fakes.server_process import ServerProcess
from guarantees.follower import Follower
from guarantees.truth import Truth
from guarantees.writer import TIMEOUT, Writer, check_a_newcomer, paused

KILLS = 50
BOXES = [f"box-{number}" for number in range(16)]
HOSTED = BOXES[:12]
"""Those that node n1 hosts, from before they exist. The others are hosted nowhere."""
WRITES = 20
"""Acknowledged before each kill, at the least."""

State = box_pb2.Enforcement.State


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_over_fifty_kills(server: ServerProcess) -> None:
    truth, clock = Truth(), SystemClock()
    observer, node = Follower(clock, "observer"), Follower(clock, "n1", HOSTED)
    async with channel_to(server) as channel, asyncio.TaskGroup() as tasks:
        boxes = box_service_pb2_grpc.BoxServiceStub(channel)
        streams = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
        running = [tasks.create_task(one.follow(streams)) for one in (observer, node)]
        await asyncio.gather(*(one.settle(truth.history, streams=1) for one in (observer, node)))
        writers = [Writer(boxes, box_id, truth, observer) for box_id in BOXES]
        running += [tasks.create_task(writer.write_for_ever()) for writer in writers]
        for kill in range(KILLS):
            await truth.grown_by(WRITES)
            await asyncio.sleep(random.uniform(0, 0.05))
            node.may_connect.clear()
            server.kill()
            await asyncio.to_thread(server.start)
            check_that_the_node_is_missed(await enforcement(boxes))
            node.may_connect.set()
            async with paused(writers):
                truth.complete()
                for one in (observer, node):
                    await one.settle(truth.history, streams=kill + 2)
                await check_a_newcomer(streams, truth.history)
                await asyncio.gather(*(writer.check() for writer in writers))
                await check_that_all_is_enforced(boxes)
        for task in running:
            task.cancel()
    print(f"{truth.history.head} revisions; {truth.found} had happened though nobody was told")
    assert truth.found > 0, "no kill hit a write: this was no storm"
    assert observer.resets == node.resets == 1, "a stream was reset although its history goes on"
    assert logged_revisions(server) == list(range(1, truth.history.head + 1))


@asynccontextmanager
async def channel_to(server: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50)]
    async with grpc.aio.insecure_channel(server.target, options=options) as channel:
        yield channel


def check_that_the_node_is_missed(found: dict[str, box_pb2.Enforcement]) -> None:
    """The server remembers which boxes the node hosts, though it has not come back."""
    for box_id, one in found.items():
        hosted = box_id in HOSTED
        assert one.state == (State.STATE_STALE if hosted else State.STATE_NOT_ATTACHED), box_id
        assert [node.node_id for node in one.nodes] == (["n1"] if hosted else [])


async def check_that_all_is_enforced(stub: Any) -> None:
    """The node is back, and has acknowledged the newest policy of each box."""
    found = await enforcement(stub)
    for box_id in found.keys() & set(HOSTED):
        wait = box_service_pb2.WaitEnforcedRequest(box_id=box_id)
        wait.timeout.FromSeconds(TIMEOUT)
        box = await stub.WaitEnforced(wait)
        assert box.enforcement.state == State.STATE_ENFORCED
        assert box.enforcement.applied_revision == box.policy_revision


async def enforcement(stub: Any) -> dict[str, box_pb2.Enforcement]:
    """Return how far each living box is."""
    request = box_service_pb2.ListBoxesRequest(page_size=1000)
    answer = await stub.ListBoxes(request, timeout=TIMEOUT, wait_for_ready=True)
    return {box.id: box.enforcement for box in answer.boxes}


def logged_revisions(server: ServerProcess) -> list[int]:
    with contextlib.closing(sqlite3.connect(server.database)) as database:
        return [row[0] for row in database.execute("SELECT revision FROM changes ORDER BY 1")]
