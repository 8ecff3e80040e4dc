"""Two servers on one PostgreSQL, of which one after the other is killed in a storm of writes."""

import asyncio
import contextlib
import json
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from boxwall.v1 import (
    box_pb2,
    box_service_pb2,
    box_service_pb2_grpc,
    enforcement_service_pb2_grpc,
    policy_pb2,
)
from boxwall_server.clock import SystemClock
from fakes.postgres_server import PASSWORD, PostgresServer, logged_revisions
from fakes.server_process import boxwall, environment
from fakes.server_processes import ServerProcesses, channel_to
from guarantees.follower import Follower
from guarantees.truth import Truth
from guarantees.writer import TIMEOUT, Writer, check_all, paused

KILLS = 10
BOXES = [f"box-{number}" for number in range(12)]
HOSTED = {"n1": BOXES[:4], "n2": BOXES[4:8], "n3": BOXES[2:6]}
WRITES = 30
"""Acknowledged before each kill, at the least."""
MOVED_WITHIN = 15
"""Seconds until the nodes of a server that died are in force at the other."""

State = box_pb2.Enforcement.State


@pytest.fixture
def pair(tmp_path: Path, postgres: PostgresServer) -> Iterator[ServerProcesses]:
    """Two servers that run."""
    made = ServerProcesses(tmp_path, asyncio.run(postgres.database()), 2)
    with ExitStack() as stack:
        for server in made.servers:
            stack.callback(server.close)
            server.start()
        yield made


def update(box_id: str, mode: policy_pb2.NetworkPolicy, seconds: float) -> Any:
    request = box_service_pb2.UpdateNetworkPolicyRequest(box_id=box_id, network_policy=mode)
    request.wait_timeout.FromMilliseconds(round(seconds * 1000))
    return request


DENY_ALL = policy_pb2.NetworkPolicy(deny_all=policy_pb2.DenyAll())


async def test_an_update_at_one_server_waits_for_a_node_at_the_other(pair: ServerProcesses) -> None:
    here, there = (server.target for server in pair.servers)
    node = Follower(SystemClock(), "n1", ["b1"])
    async with (
        grpc.aio.insecure_channel(here) as near,
        grpc.aio.insecure_channel(there) as far,
        asyncio.TaskGroup() as tasks,
    ):
        boxes: Any = box_service_pb2_grpc.BoxServiceStub(near)
        following = tasks.create_task(
            node.follow(enforcement_service_pb2_grpc.EnforcementServiceStub(far))
        )
        await boxes.CreateBox(box_service_pb2.CreateBoxRequest(box_id="b1"))
        async with asyncio.timeout(TIMEOUT):
            await node.until(lambda: "b1" in node.entries)
        for _ in range(5):
            box = await boxes.UpdateNetworkPolicy(update("b1", DENY_ALL, 10))
            assert box.enforcement.state == State.STATE_ENFORCED
            assert box.enforcement.applied_revision == box.policy_revision
            assert node.entries["b1"].policy_revision == box.policy_revision
        node.may_connect.clear()
        following.cancel()
        await asyncio.wait([following])
        box = await boxes.UpdateNetworkPolicy(update("b1", DENY_ALL, 1))
        assert box.enforcement.state == State.STATE_STALE, "nobody knows what it enforces"


def test_the_command_line_goes_on_with_the_server_that_is_left(pair: ServerProcesses) -> None:
    for killed in pair.servers:
        for number in range(4):
            made = run(pair, "box", "create", "--id", f"{killed.pid}-{number}")
            assert made["id"] == f"{killed.pid}-{number}"
        killed.kill()
        assert len(run(pair, "box", "list")["boxes"]) >= 4
        killed.start()


def run(pair: ServerProcesses, *arguments: str) -> Any:
    done = subprocess.run(
        boxwall("--server", pair.addresses, "--output", "json", *arguments),
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(),
    )
    assert done.returncode == 0, done
    return json.loads(done.stdout)


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_while_servers_are_killed_in_turn(
    pair: ServerProcesses,
) -> None:
    truth, clock = Truth(), SystemClock()
    observer = Follower(clock, "observer")
    nodes = [Follower(clock, node_id, hosted) for node_id, hosted in HOSTED.items()]
    followers = [observer, *nodes]
    async with channel_to(f"ipv4:{pair.addresses}") as channel, asyncio.TaskGroup() as tasks:
        boxes = box_service_pb2_grpc.BoxServiceStub(channel)
        streams = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
        running = [tasks.create_task(one.follow(streams)) for one in followers]
        await asyncio.gather(*(one.settle(truth.history) for one in followers))
        writers = [Writer(boxes, box_id, truth, observer) for box_id in BOXES]
        running += [tasks.create_task(writer.write_for_ever()) for writer in writers]
        for kill in range(KILLS):
            await truth.grown_by(WRITES)
            await asyncio.sleep(random.uniform(0, 0.05))
            killed = pair.servers[kill % 2]
            killed.kill()
            await truth.grown_by(WRITES)
            async with paused(writers):
                await check_all(truth, followers, writers, streams)
                await check_that_all_is_enforced(boxes)
            await asyncio.to_thread(killed.start)
        for task in running:
            task.cancel()
    moves = sum(one.streams - 1 for one in followers)
    print(f"{truth.history.head} revisions, {moves} moves, {truth.found} answers were lost")
    assert moves > 0, "no stream was at a server that was killed: nothing was tried"
    assert all(one.resets == 1 for one in followers), "a stream was reset though history goes on"
    logged = await logged_revisions(pair.url)
    assert logged == list(range(1, len(logged) + 1)), "revisions have a gap"
    assert len(logged) >= truth.history.head, "acknowledged and lost"
    for secret in (PASSWORD, "se%3Acr"):
        assert secret not in pair.logs


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_while_the_database_is_killed_and_paused(
    tmp_path: Path, mortal: PostgresServer
) -> None:
    truth, clock = Truth(), SystemClock()
    pair = ServerProcesses(tmp_path, await mortal.database(), 2)
    observer, node = Follower(clock, "observer"), Follower(clock, "n1", HOSTED["n1"])
    async with contextlib.AsyncExitStack() as stack:
        for server in pair.servers:
            stack.callback(server.close)
            await asyncio.to_thread(server.start)
        channel = await stack.enter_async_context(channel_to(f"ipv4:{pair.addresses}"))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        boxes = box_service_pb2_grpc.BoxServiceStub(channel)
        streams = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
        running = [tasks.create_task(one.follow(streams)) for one in (observer, node)]
        writers = [Writer(boxes, box_id, truth, observer) for box_id in BOXES]
        running += [tasks.create_task(writer.write_for_ever()) for writer in writers]
        for strike in (kill, pause, kill, pause):
            await truth.grown_by(WRITES)
            await strike(mortal)
            await truth.grown_by(WRITES)
            async with paused(writers):
                await check_all(truth, (observer, node), writers, streams)
        for task in running:
            task.cancel()
    assert observer.resets == node.resets == 1, "a stream was reset though history goes on"


async def kill(database: PostgresServer) -> None:
    """kill -9 of the database, and start it again."""
    await asyncio.to_thread(database.kill)
    await asyncio.to_thread(database.start)


async def pause(database: PostgresServer) -> None:
    """Let nothing of the database run for a while."""
    database.signal_all(signal.SIGSTOP)
    await asyncio.sleep(2)
    database.signal_all(signal.SIGCONT)


async def check_that_all_is_enforced(stub: Any) -> None:
    """Asked at whatever server: each node has acknowledged the newest policy of its boxes."""
    hosted = {box_id for box_ids in HOSTED.values() for box_id in box_ids}
    listed = await stub.ListBoxes(box_service_pb2.ListBoxesRequest(), timeout=TIMEOUT)
    for box in listed.boxes:
        if box.id not in hosted:
            assert box.enforcement.state == State.STATE_NOT_ATTACHED
            continue
        wait = box_service_pb2.WaitEnforcedRequest(box_id=box.id)
        wait.timeout.FromSeconds(MOVED_WITHIN)
        enforcement = (await stub.WaitEnforced(wait, timeout=TIMEOUT)).enforcement
        assert enforcement.state == State.STATE_ENFORCED, enforcement
        assert enforcement.applied_revision == box.policy_revision
        assert [node.node_id for node in enforcement.nodes] == [
            node_id for node_id, box_ids in HOSTED.items() if box.id in box_ids
        ]
