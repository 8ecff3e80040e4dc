"""Three servers on one PostgreSQL, two hundred nodes, a storm of writes, and kills at random.

Everything is looked at in it: each stream by the checkers of the seven guarantees, each box by what
its readers saw at whatever server, each ENFORCED by what the nodes themselves have noted.

    make test ARGS="tests/e2e/test_storm_of_faults.py --storm 120 -s"
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from boxwall.v1 import box_service_pb2_grpc, enforcement_service_pb2_grpc
from boxwall_server.clock import SystemClock
from fakes.postgres_server import PostgresServer, logged_revisions
from fakes.server_processes import ServerProcesses, channel_to
from guarantees.claims import Claims, Reader
from guarantees.follower import Follower
from guarantees.linearizable import check_linearizable
from guarantees.truth import Truth
from guarantees.writer import Writer, check_all, paused

SERVERS = 3
BOXES = [f"box-{number}" for number in range(24)]
NODES = 200
CHANNELS = 10
"""Connections of the nodes to each server."""
READERS = 4
WRITES = 30
"""Acknowledged before and after each kill, at the least."""
GROWN_WITHIN = 60
"""Seconds for that."""


def hosted_by(number: int) -> Sequence[str]:
    """Two boxes; each box is on sixteen nodes or so."""
    return [BOXES[number % len(BOXES)], BOXES[(number * 7 + 1) % len(BOXES)]]


class Storm:
    """All that takes part."""

    def __init__(self, servers: ServerProcesses, database: PostgresServer) -> None:
        self.servers = servers
        self.database = database
        self.truth = Truth()
        clock = SystemClock()
        self.observer = Follower(clock, "observer")
        self.nodes = {f"n{n}": Follower(clock, f"n{n}", hosted_by(n)) for n in range(NODES)}
        self.claims = Claims(self.nodes)
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []

    @property
    def followers(self) -> Sequence[Follower]:
        """Everybody who has a stream."""
        return (self.observer, *self.nodes.values())

    async def begin(
        self, stack: AsyncExitStack, tasks: asyncio.TaskGroup
    ) -> list[grpc.aio.Channel]:
        """Let everybody come; return the channels to all servers."""
        target = f"ipv4:{self.servers.addresses}"
        every = [await stack.enter_async_context(channel_to(target)) for _ in range(CHANNELS)]
        for number, follower in enumerate(self.followers):
            channel = every[number % CHANNELS]
            stub = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
            stack.callback(tasks.create_task(follower.follow(stub)).cancel)
        await asyncio.gather(*(one.settle(self.truth.history) for one in self.followers))
        boxes = box_service_pb2_grpc.BoxServiceStub(every[0])
        self.writers = [
            Writer(boxes, box_id, self.truth, self.observer, self.claims.hear, (0, 0, 1_000))
            for box_id in BOXES
        ]
        for writer in self.writers:
            stack.callback(tasks.create_task(writer.write_for_ever()).cancel)
        each = [
            box_service_pb2_grpc.BoxServiceStub(await stack.enter_async_context(channel_to(target)))
            for target in (f"ipv4:{server.target}" for server in self.servers.servers)
        ]
        self.readers = [Reader(each, BOXES, self.claims) for _ in range(READERS)]
        for reader in self.readers:
            stack.callback(tasks.create_task(reader.read_for_ever(0.05)).cancel)
        return every

    async def grow(self) -> None:
        """Wait for some more writes."""
        async with asyncio.timeout(GROWN_WITHIN):
            await self.truth.grown_by(WRITES)

    async def check(self, channel: grpc.aio.Channel) -> None:
        """Hold the writers, and put everything before the checkers."""
        async with paused(self.writers):
            streams = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
            await check_all(self.truth, self.followers, self.writers, streams)
            for writer in self.writers:
                seen = [saw for reader in self.readers for saw in reader.seen[writer.box_id]]
                check_linearizable([*writer.operations, *seen])


async def kill_one_server(storm: Storm) -> None:
    await _kill(storm, 1)


async def kill_two_servers(storm: Storm) -> None:
    await _kill(storm, 2)


async def _kill(storm: Storm, count: int) -> None:
    """The others go on alone for a while."""
    killed = random.sample(storm.servers.servers, count)
    for server in killed:
        server.kill()
    await storm.grow()
    await asyncio.gather(*(asyncio.to_thread(server.start) for server in killed))


async def kill_the_database(storm: Storm) -> None:
    await asyncio.to_thread(storm.database.kill)
    await asyncio.to_thread(storm.database.start)


STRIKES: Sequence[Callable[[Storm], Awaitable[None]]] = (
    kill_one_server,
    kill_the_database,
    kill_two_servers,
)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nothing_is_lost_and_no_promise_broken_in_a_storm_of_kills(
    tmp_path: Path, mortal: PostgresServer, pytestconfig: pytest.Config
) -> None:
    servers = ServerProcesses(tmp_path, await mortal.database(), SERVERS)
    storm, struck = Storm(servers, mortal), Counter[str]()
    async with AsyncExitStack() as stack:
        stack.callback(servers.close)
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers.servers))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        ending = await stack.enter_async_context(AsyncExitStack())
        channels = await storm.begin(ending, tasks)
        until = time.monotonic() + pytestconfig.getoption("--storm")
        while time.monotonic() < until or len(struck) < len(STRIKES):
            await storm.grow()
            await asyncio.sleep(random.uniform(0, 0.1))
            missing = [strike for strike in STRIKES if strike.__name__ not in struck]
            strike = random.choice(missing or STRIKES)
            struck[strike.__name__] += 1
            await strike(storm)
            await storm.grow()
            await storm.check(channels[0])
    await check_the_end(storm)
    print(dict(struck), said_of(storm))


async def check_the_end(storm: Storm) -> None:
    moves = sum(one.streams - 1 for one in storm.followers)
    assert moves > NODES / SERVERS / 2, "hardly a stream was at a server that was killed"
    assert storm.claims.checked > len(BOXES), "hardly anything was said to be enforced"
    assert all(one.resets == 1 for one in storm.followers), "reset though history goes on"
    logged = await logged_revisions(storm.servers.url)
    assert logged == list(range(1, storm.truth.history.head + 1)), "a gap, or lost, or invented"
    assert '"internal_error"' not in storm.servers.logs


def said_of(storm: Storm) -> str:
    """What the storm was, for people."""
    seen = sum(len(saws) for reader in storm.readers for saws in reader.seen.values())
    return (
        f"{storm.truth.history.head} revisions, {storm.truth.found} answers were lost, "
        f"{sum(one.streams - 1 for one in storm.followers)} streams moved, "
        f"{seen} reads, {storm.claims.checked} times ENFORCED"
    )
